"""Writes a nodule classifier as an MLflow model: weights, settings, signature and code, no pickle."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import monai_staging
from monai_staging.errors import DataError
from monai_staging.files import write_json_atomic
from monai_staging.tracking.pyfunc.model import ARTIFACT, FEATURES, NODULE, PATH, ROW, VIEWS
from monai_staging.tracking.pyfunc.predictor import NodulePredictor, sha256
from monai_staging.tracking.pyfunc.settings import SETTINGS, Member, NoduleModelSettings

REQUIREMENTS = (
    *("torch", "monai", "pytorch-ignite", "numpy", "scipy", "pandas", "threadpoolctl", "nibabel", "mlflow"),
    *("requests", "safetensors", "scikit-image", "scikit-learn", "tqdm"),
)
"""What a prediction imports. Not this package, which travels with the model: a name that an index may give to anybody
else is no requirement."""


def package_nodule_model(
    weights: Sequence[str | os.PathLike[str]],
    settings: NoduleModelSettings,
    out: str | os.PathLike[str],
    *,
    facts: Mapping[str, Any] | None = None,
) -> NoduleModelSettings:
    """Writes an MLflow model whose prediction is the mean probability of all networks.

    The model carries the package's source, so that ``mlflow models serve`` needs nothing that is not on an index; it
    has a signature of three columns, all optional: ``views``, ``features`` and ``path``.

    Args:
        weights: state dicts, one a network, all of the same settings.
        settings: without members.
        out: folder; replaced where it exists.
        facts: plain values that are written into the model's description.

    Returns:
        The settings with their members, whose digest names the model.

    Raises:
        DataError: a weights file is missing, or of another network.
    """
    import mlflow.pyfunc
    import pandas as pd

    folder = Path(out)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".nodule-model-", dir=folder.parent) as made:
        place = Path(made) / ARTIFACT
        place.mkdir()
        settings = with_members(weights, settings)
        for source, member in zip(weights, settings.members, strict=True):
            shutil.copyfile(source, place / member.file)
        write_json_atomic(place / SETTINGS, settings.to_json())
        NodulePredictor.load(place, "cpu")  # says what is wrong before anything is registered
        shutil.rmtree(folder, ignore_errors=True)
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(Path(__file__).with_name("script.py")),
            artifacts={ARTIFACT: str(place)},
            signature=signature(settings),
            input_example=pd.DataFrame({PATH: ["data/phantom-nodules"]}),
            pip_requirements=[f"{package}=={_version(package)}" for package in REQUIREMENTS],
            code_paths=[str(Path(monai_staging.__file__).parent)],
            metadata={**(facts or {}), "monai_staging.kind": "nodules", "monai_staging.digest": settings.digest},
        )
        _forget_places(folder / "MLmodel")
    return settings


def with_members(weights: Sequence[str | os.PathLike[str]], settings: NoduleModelSettings) -> NoduleModelSettings:
    """The settings of a model of these weights.

    Raises:
        DataError: none, or a file is missing.
    """
    if not weights:
        raise DataError("Nodule model: at least 1 weights file is needed, found 0")
    missing = [str(path) for path in weights if not Path(path).is_file()]
    if missing:
        raise DataError(f"Nodule model: {missing[0]}: no such file")
    members = (Member(f"weights-{number}.pt", sha256(Path(path))) for number, path in enumerate(weights))
    return replace(settings, members=tuple(members))


def signature(settings: NoduleModelSettings) -> Any:
    """Columns of requests and answers. MLflow has no optional tensors, so shapes are checked by the model itself."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType

    names = [VIEWS, FEATURES, PATH] if settings.features else [VIEWS, PATH]
    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), name, required=False) for name in names]),
        outputs=Schema(
            [
                ColSpec(DataType.long, ROW, required=False),
                ColSpec(DataType.string, NODULE, required=False),
                *(ColSpec(DataType.double, name) for name in settings.columns),
            ]
        ),
    )


def _forget_places(path: Path) -> None:
    """Takes out of MLflow's description where the parts lay on this machine; a loader goes by their names."""
    from mlflow.models import Model

    model = Model.load(str(path))
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    model.save(str(path))


def _version(package: str) -> str:
    # A local build's suffix (2.7.0+cpu) is no version that an index knows.
    return metadata.version(package).partition("+")[0]
