"""The bundles that a prediction is made with: where each lies, which weights it takes, and what these have seen."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from monai_staging.errors import DataError, UsageError
from monai_staging.outputs.findings import Model
from monai_staging.packaging.networks import MODEL, networks_of
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
    """

    name: str
    bundle: ConfiguredBundle
    folder: Path
    learned_from: str

    @property
    def model(self) -> Model:
        """Name and digest, for outputs."""
        return Model(self.name, f"sha256:{self.bundle.weights_sha256}")


def load_model(name: str, source: str | None = None, device: str | torch.device = "cpu") -> LoadedModel:
    """The bundle of a step with its weights.

    Args:
        name: one of :data:`STEPS`.
        source: the weights: a file, a folder with ``model.pt``, a packaged bundle (folder or ``.zip``), or an MLflow
            URI (``runs:/...``, ``models:/...``); those that the bundle ships where it is ``None``.
        device: where it runs.

    Raises:
        UsageError: no such step.
        DataError: no weights; the message names the command that trains some.
    """
    if name not in STEPS:
        raise UsageError(f"Predict: a bundle is one of {', '.join(STEPS)}; found {name!r}")
    step = STEPS[name]
    network = next(own for own in networks_of(name) if own.name == step.network)
    place = None if source is None else _local(source, name)
    if place is not None and (place / "configs").is_dir():
        configs, root, place = place / "configs", place, None
    else:
        configs = root = find_bundle(name)
    weights = (root / network.weights) if place is None else place / MODEL if place.is_dir() else place
    if not weights.is_file():
        raise DataError(
            f"{name.capitalize()}: weights are needed, found none in {source or weights.parent}. Train some: "
            f"{network.command(f'bundles/{name}')}, then give --{name} OUT/{MODEL}."
        )
    bundle = ConfiguredBundle(
        [configs / f"{file}.json" for file in network.configs],
        weights,
        {"bundle_root": str(root), **step.keys},
        device,
        step.kept,
        name.capitalize(),
    )
    return LoadedModel(name, bundle, weights.parent, _learned_from(weights))


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
