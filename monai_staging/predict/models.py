"""The bundles that a prediction is made with: where each lies, which weights it takes, and what these have seen."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from monai_staging.errors import DataError, UsageError
from monai_staging.networks.pretrained.source import file_sha256
from monai_staging.outputs.findings import Model
from monai_staging.packaging.networks import MODEL, Packaged, networks_of
from monai_staging.packaging.source import find_bundle
from monai_staging.workflows.configured import ConfiguredBundle

CARD = "model.json"
_SCHEMES = ("models:/", "runs:/", "mlflow-artifacts:/")


@dataclass(frozen=True)
class Step:
    """One of the bundles that a prediction goes through.

    Attributes:
        network: of the bundle whose name is the step's, see `monai_staging.packaging.networks`.
        kept: keys of the first config that the result depends on.
        keys: with other values than the configs'.
    """

    network: str
    kept: tuple[str, ...]
    keys: Mapping[str, Any] = field(default_factory=dict)


STEPS: dict[str, Step] = {
    "detection": Step("two_stage", ("windows", "region", "iou")),
    "segmentation": Step(
        "outline",
        ("network", "width", "pyramid", "spacing_mm", "windows", "place", "threshold", "smallest_mm3"),
    ),
    "malignancy": Step(
        "model",
        ("network", "width", "views", "branches", "size", "spacing_mm", "channels", "padding", "measured", "turns"),
    ),
    "staging": Step(
        "model",
        ("network", "width", "spatial_dims", "neighbours", "cubes", "windows", "spacing_mm", "size", "groups"),
        {"num_workers": 0},
    ),
}
"""In the order in which they run."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A bundle with its weights.

    Attributes:
        name: of the step.
        bundle: its configs.
        folder: that the weights lie in, with what was chosen for them.
        learned_from: what the weights have seen, where their card says so.
        training: the command that makes such weights.
        passes: with dropout, whose mean is what is said; 0 for one without.
    """

    name: str
    bundle: ConfiguredBundle
    folder: Path
    learned_from: str
    training: str
    passes: int = 0

    @property
    def models(self) -> tuple[Model, ...]:
        """Name and digest of each network, for outputs."""
        members = self.bundle.members
        name = self.name if not self.passes else f"{self.name}-{self.passes}-passes"
        return tuple(
            Model(name if len(members) == 1 else f"{name}-{place}-of-{len(members)}", f"sha256:{file_sha256(path)}")
            for place, path in enumerate(members, start=1)
        )


def load_model(
    name: str, source: str | Sequence[str] | None = None, device: str | torch.device = "cpu", passes: int = 0
) -> LoadedModel:
    """The bundle of a step with its weights.

    Args:
        name: one of :data:`STEPS`.
        source: the weights: a file, a folder with ``model.pt``, a packaged bundle (folder or ``.zip``), or an MLflow
            URI (``runs:/...``, ``models:/...``); those that the bundle ships where it is ``None``. Several of staging
            are an ensemble, with the configs of the first.
        device: where it runs.
        passes: of staging, with dropout.

    Raises:
        UsageError: no such step, or an ensemble or passes of another than staging.
        DataError: no weights; the message names the command that trains some.
    """
    if name not in STEPS:
        raise UsageError(f"Predict: a bundle is one of {', '.join(STEPS)}; found {name!r}")
    sources: list[str | None] = [source] if source is None or isinstance(source, str) else list(source) or [None]
    if (len(sources) > 1 or passes) and name != "staging":
        raise UsageError(
            "Predict: an ensemble or passes with dropout are of staging; "
            f"found {len(sources)} weights and {passes} passes of {name}."
        )
    step = STEPS[name]
    network = next(own for own in networks_of(name) if own.name == step.network)
    roots, weights = zip(*(_found(name, network, own) for own in sources), strict=True)
    root = roots[0]
    configs = root / "configs" if (root / "configs").is_dir() else root
    bundle = ConfiguredBundle(
        [configs / f"{file}.json" for file in network.configs],
        weights[0] if len(weights) == 1 else weights,
        {"bundle_root": str(root), **step.keys, **({"passes": passes} if passes else {})},
        device,
        step.kept,
        name.capitalize(),
    )
    every = dict.fromkeys(text for path in weights if (text := _learned_from(path)))
    return LoadedModel(name, bundle, weights[0].parent, "; ".join(every), network.command(f"bundles/{name}"), passes)


def _found(name: str, network: Packaged, source: str | None) -> tuple[Path, Path]:
    """The folder of a bundle, and weights of it."""
    place = None if source is None else _local(source, name)
    if place is not None and (place / "configs").is_dir():
        root, place = place, None
    else:
        root = find_bundle(name)
    weights = (root / network.weights) if place is None else place / MODEL if place.is_dir() else place
    if not weights.is_file():
        raise DataError(
            f"{name.capitalize()}: weights are needed, found none in {source or weights.parent}. Train some: "
            f"{network.command(f'bundles/{name}')}, then give --{name} OUT/{MODEL}."
        )
    return root, weights


def _local(source: str, name: str) -> Path:
    """A source of weights as a path of this machine."""
    if source.startswith(_SCHEMES):
        import mlflow

        try:
            found = Path(mlflow.artifacts.download_artifacts(source))
        except Exception as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{name.capitalize()}: MLflow has no {source} ({reason}).") from None
        inside = sorted(found.rglob(MODEL)) if found.is_dir() else [found]
        return inside[0] if inside else found
    path = Path(source)
    if path.suffix == ".zip" and path.is_file():
        folder = Path(tempfile.mkdtemp(prefix="monai-staging-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)
        inside = [own.parent for own in folder.rglob("configs") if own.is_dir()]
        return inside[0] if inside else folder
    if not path.exists():
        raise DataError(f"{name.capitalize()}: weights {os.fspath(path)} are not there.")
    return path


def _learned_from(weights: Path) -> str:
    try:
        card = json.loads((weights.parent / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(card.get("learned_from", ""))
