"""The bundles that a prediction is made with: where each lies, which weights it takes, and what these have seen."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monai_staging.errors import DataError, UsageError
from monai_staging.outputs.findings import Model
from monai_staging.workflows.configured import ConfiguredBundle

WEIGHTS, CARD = "model.pt", "model.json"
_SCHEMES = ("models:/", "runs:/", "mlflow-artifacts:/")


@dataclass(frozen=True)
class Step:
    """One of the bundles that a prediction goes through.

    Attributes:
        bundle: its folder's name.
        configs: of it, the later over the first.
        weights: shipped with it, under ``models``.
        train: the configs that train such weights.
        kept: keys of the first config that the result depends on.
        keys: with other values than the configs'.
    """

    bundle: str
    configs: tuple[str, ...]
    weights: str
    train: tuple[str, ...]
    kept: tuple[str, ...]
    keys: Mapping[str, Any]

    @property
    def command(self) -> str:
        """That trains its weights."""
        files = [f"bundles/{self.bundle}/{name}" for name in self.train]
        listed = files[0] if len(files) == 1 else '"[' + ",".join(f"'{file}'" for file in files) + ']"'
        return f"python -m monai.bundle run --config_file {listed}"


STEPS: dict[str, Step] = {
    "detection": Step(
        "detection",
        ("inference.json", "two_stage.json"),
        "two_stage",
        ("train.json", "two_stage.json", "two_stage_train.json"),
        ("windows", "region", "iou"),
        {},
    ),
    "segmentation": Step(
        "segmentation",
        ("chest_inference.json",),
        "outline",
        ("chest.json", "outline.json"),
        ("network", "width", "pyramid", "spacing_mm", "windows", "place", "threshold", "smallest_mm3"),
        {},
    ),
    "malignancy": Step(
        "malignancy",
        ("evaluate.json",),
        "",
        ("train.json", "final.json"),
        ("network", "width", "views", "branches", "size", "spacing_mm", "channels", "padding", "measured", "turns"),
        {},
    ),
    "staging": Step(
        "staging",
        ("inference.json",),
        "",
        ("train.json",),
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
    place = None if source is None else _local(source, name)
    if place is not None and (place / "configs").is_dir():
        configs, root = place / "configs", place
        place = None
    else:
        root = find_bundle(step.bundle)
        configs = root
    weights = _weights_file(root / "models" / step.weights if place is None else place, step, source)
    bundle = ConfiguredBundle(
        [configs / file for file in step.configs],
        weights,
        {"bundle_root": str(root), **step.keys},
        device,
        step.kept,
        name.capitalize(),
    )
    return LoadedModel(name, bundle, weights.parent, _learned_from(weights))


def find_bundle(name: str) -> Path:
    """The folder of a bundle: ``bundles/<name>`` in the working directory, else beside the package.

    Raises:
        DataError: it is in neither.
    """
    places = [Path("bundles") / name, Path(__file__).resolve().parents[2] / "bundles" / name]
    for place in places:
        if place.is_dir():
            return place
    raise DataError(
        f"Bundle {name}: needed in bundles/{name}, found none there. Run this in the project's folder, or give a "
        "packaged bundle."
    )


def _weights_file(place: Path, step: Step, source: str | None) -> Path:
    path = place / WEIGHTS if place.is_dir() else place
    if path.is_file():
        return path
    whose = f"bundles/{step.bundle}/models" if source is None else source
    raise DataError(
        f"{step.bundle.capitalize()}: weights are needed, found none in {whose}. Train some: {step.command}, then give "
        f"--{step.bundle} OUT/{WEIGHTS}."
    )


def _local(source: str, name: str) -> Path:
    """A source of weights as a path of this machine."""
    if source.startswith(_SCHEMES):
        import mlflow

        try:
            found = Path(mlflow.artifacts.download_artifacts(source))
        except Exception as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{name.capitalize()}: MLflow has no {source} ({reason}).") from None
        inside = sorted(found.rglob(WEIGHTS)) if found.is_dir() else [found]
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
