"""What a packaged nodule classifier is, as plain values: nothing in them is run, and weights are named by digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monai_staging.cohort.nodules.nodule import TASKS
from monai_staging.errors import DataError, UsageError
from monai_staging.networks.backbones import NETWORKS
from monai_staging.networks.nodule import NoduleNetwork
from monai_staging.transforms.nodule_features import FEATURES
from monai_staging.transforms.nodule_views import NoduleViews
from monai_staging.workflows.nodule_data import VERSION

FORMAT = 1
"""Of the settings; a loader refuses what is newer."""
SETTINGS = "settings.json"
NETWORK_KEYS: dict[str, type] = {
    "network": str,
    "outputs": int,
    "in_channels": int,
    "views": int,
    "branches": str,
    "spatial_dims": int,
    "width": float,
    "features": int,
    "attributes": int,
    "trees": int,
    "landmarks": int,
}
"""Arguments of :class:`~monai_staging.networks.nodule.NoduleNetwork`; never ``weights``, which could name any place."""
VIEW_KEYS: dict[str, type] = {name: type(value) for name, value in vars(NoduleViews()).items()}
"""Arguments of :class:`~monai_staging.transforms.nodule_views.NoduleViews`, every one: a default may change."""
_FILE = re.compile(r"[\w-]+\.pt")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Member:
    """One network of an ensemble: its weights' file name, and the SHA-256 of that file."""

    file: str
    sha256: str


@dataclass(frozen=True)
class NoduleModelSettings:
    """How a nodule classifier's networks and views are made.

    Attributes:
        task: one of :data:`monai_staging.cohort.nodules.nodule.TASKS`.
        classes: one name for each probability; of ``binary`` the second class alone.
        network: see :data:`NETWORK_KEYS`.
        views: see :data:`VIEW_KEYS`.
        turns: quarter turns that a prediction is averaged over.
        data_digest: SHA-256 of what it was trained on.
        members: the networks, whose probabilities are averaged; empty before they are packaged.

    Raises:
        DataError: a value that is missing, unknown or of another kind, or two that do not fit each other.
    """

    task: str
    classes: tuple[str, ...]
    network: Mapping[str, Any]
    views: Mapping[str, Any]
    turns: int
    data_digest: str
    members: tuple[Member, ...] = ()

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise DataError(f"Nodule model: task must be one of {', '.join(TASKS)}; found {self.task!r}")
        object.__setattr__(self, "network", _checked(self.network, NETWORK_KEYS, "network"))
        object.__setattr__(self, "views", _checked(self.views, VIEW_KEYS, "views"))
        if self.network["network"] not in NETWORKS:
            raise DataError(
                f"Nodule model: network must be one of {', '.join(NETWORKS)}; found {self.network['network']!r}"
            )
        try:
            views = self.make_views()
        except UsageError as error:
            raise DataError(f"Nodule model: {error}") from error
        fits = {
            "classes": (len(self.classes), self.network["outputs"]),
            "views": (views.views, self.network["views"]),
            "spatial_dims": (views.spatial_dims, self.network["spatial_dims"]),
        }
        wrong = [f"{name} {found} and {wanted}" for name, (found, wanted) in fits.items() if found != wanted]
        if wrong:
            raise DataError(f"Nodule model: settings and network must fit each other; found {'; '.join(wrong)}")
        if self.network["features"] not in (0, len(FEATURES)):
            raise DataError(
                f"Nodule model: the network was trained with {self.network['features']} measured features; this "
                f"version measures {len(FEATURES)}"
            )
        if self.turns not in (1, 2, 4):
            raise DataError(f"Nodule model: turns must be 1, 2 or 4; found {self.turns!r}")
        for member in self.members:
            if not _FILE.fullmatch(member.file) or not _SHA256.fullmatch(member.sha256):
                raise DataError(f"Nodule model: a member is a file name NAME.pt and a SHA-256; found {member}")

    # -- what they make ---------------------------------------------------------------------------------------------

    def make_views(self) -> NoduleViews:
        """What the networks see of a nodule."""
        return NoduleViews(**self.views)

    def make_network(self) -> NoduleNetwork:
        """A network with random weights, in evaluation mode."""
        try:
            return NoduleNetwork(**self.network).eval()
        except UsageError as error:
            raise DataError(f"Nodule model: {error}") from error

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(V, C, \\*spatial) of one nodule's views."""
        size = (self.views["size"],) * int(self.network["spatial_dims"])
        return (self.network["views"], self.network["in_channels"], *size)

    @property
    def features(self) -> int:
        """Measured features that go with the views; 0 for none."""
        return int(self.network["features"])

    @property
    def columns(self) -> list[str]:
        """Names of the probabilities in a table of predictions."""
        return [f"p_{name}" for name in self.classes]

    # -- as a file --------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Plain values; names of the measured features are among them, since their order matters."""
        document = asdict(self)
        made_by = {"format": FORMAT, "kind": "nodules", "views_version": VERSION}
        return {**made_by, **document, "features": list(FEATURES[: self.features])}

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides a prediction: the settings, and through their digests the weights."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    @classmethod
    def of(cls, document: Any) -> NoduleModelSettings:
        """From what :meth:`to_json` gave, after a journey through JSON.

        Raises:
            DataError: it is not such a document, or of a newer format.
        """
        if not isinstance(document, Mapping) or document.get("kind") != "nodules":
            raise DataError("Nodule model: settings of kind 'nodules' are needed, found none")
        if document.get("format") != FORMAT:
            raise DataError(
                f"Nodule model: settings of format {FORMAT} are needed, found {document.get('format')!r}: made by "
                "another version of monai-staging"
            )
        known = {*cls.__dataclass_fields__, "features", "format", "kind", "views_version"}
        if set(document) != known:
            wrong = ", ".join(sorted(set(document) ^ known))
            raise DataError(f"Nodule model: settings missing or unknown: {wrong}")
        if document["views_version"] != VERSION:
            raise DataError(
                f"Nodule model: views of version {VERSION} are cut here, it was registered with version "
                f"{document['views_version']!r}: register it again, trained by this version"
            )
        features, network = document["features"], document["network"]
        if not isinstance(network, Mapping) or list(features) != list(FEATURES[: len(features)]):
            raise DataError("Nodule model: the measured features are not those that this version measures")
        if len(features) != network.get("features"):
            raise DataError(
                f"Nodule model: {len(features)} measured features named, the network takes {network.get('features')}"
            )
        try:
            members = tuple(Member(str(one["file"]), str(one["sha256"])) for one in document["members"])
            classes = tuple(str(name) for name in document["classes"])
        except (TypeError, KeyError) as error:
            raise DataError(f"Nodule model: members or classes are not in order: {error!r}") from error
        return cls(
            task=str(document["task"]),
            classes=classes,
            network=network,
            views=document["views"],
            turns=document["turns"],
            data_digest=str(document["data_digest"]),
            members=members,
        )


def read_settings(folder: Path) -> NoduleModelSettings:
    """The settings of a packaged model's folder.

    Raises:
        DataError: no file, no JSON, or not a model's settings.
    """
    path = folder / SETTINGS
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: settings of a nodule model are needed: {error}") from error
    return NoduleModelSettings.of(document)


def _checked(values: Any, kinds: Mapping[str, type], whose: str) -> dict[str, Any]:
    """The values, each of its kind; whole numbers pass for fractions, lists for tuples."""
    if not isinstance(values, Mapping) or set(values) != set(kinds):
        found = ", ".join(sorted(values)) if isinstance(values, Mapping) else repr(values)
        raise DataError(f"Nodule model: {whose} needs {', '.join(sorted(kinds))}; found {found}")
    checked: dict[str, Any] = {}
    for name, kind in kinds.items():
        value = values[name]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        elif kind is tuple and isinstance(value, list):
            value = tuple(value)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DataError(f"Nodule model: {whose}.{name} must be {kind.__name__}; found {value!r}")
        checked[name] = value
    return checked
