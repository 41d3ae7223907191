"""The MLflow model's folder: signature, nothing pickled, nothing of this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow.models import Model

from monai_staging.errors import DataError
from monai_staging.tracking.pyfunc.package import package_nodule_model
from monai_staging.tracking.pyfunc.settings import NoduleModelSettings

Maker = Callable[..., NoduleModelSettings]


@pytest.fixture
def weights(make_settings: Maker, tmp_path: Path) -> list[Path]:
    paths = []
    for number in range(2):
        torch.manual_seed(number)
        paths.append(tmp_path / f"run-{number}" / "model.pt")
        paths[-1].parent.mkdir()
        torch.save(make_settings().make_network().state_dict(), paths[-1])
    return paths


def test_model_is_loaded_by_mlflow_alone(make_settings: Maker, weights: list[Path], tmp_path: Path) -> None:
    settings = package_nodule_model(weights, make_settings(), tmp_path / "m", facts={"network": "tiny"})
    model = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    views = torch.rand(2, 1, 2, 32, 32)
    found = model.predict({"views": views.numpy()})
    expected = np.zeros((2, 1))
    for path in weights:
        network = settings.make_network()
        network.load_state_dict(torch.load(path, weights_only=True))
        with torch.no_grad():
            expected += network(views).sigmoid().numpy() / 2
    np.testing.assert_allclose(found.to_numpy(), expected, atol=1e-6)
    assert model.metadata.metadata["monai_staging.digest"] == settings.digest
    assert model.metadata.metadata["network"] == "tiny"


def test_folder_holds_no_pickle_and_no_place_of_this_machine(
    make_settings: Maker, weights: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    package_nodule_model(weights, make_settings(), folder)
    names = [path.name for path in folder.rglob("*") if path.is_file()]
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pyc"))]
    described = "".join((folder / name).read_text() for name in ("MLmodel", "conda.yaml", "requirements.txt"))
    assert str(tmp_path) not in described and str(Path.home()) not in described
    assert str(Path(__file__).parents[3]) not in described
    lines = (folder / "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in lines) and "monai-staging" not in described
    assert (folder / "code" / "monai_staging" / "version.py").is_file()


@pytest.mark.parametrize("features", [False, True])
def test_signature_names_what_the_networks_take(make_settings: Maker, tmp_path: Path, features: bool) -> None:
    settings = make_settings(features=features)
    torch.save(settings.make_network().state_dict(), tmp_path / "model.pt")
    package_nodule_model([tmp_path / "model.pt"], settings, tmp_path / "m")
    signature = Model.load(str(tmp_path / "m" / "MLmodel")).signature
    assert signature.inputs.input_names() == (["views", "features", "path"] if features else ["views", "path"])
    assert signature.inputs.required_input_names() == []
    assert signature.outputs.input_names() == ["row", "nodule", "p_malignant"]


def test_older_model_in_the_folder_is_replaced(make_settings: Maker, weights: list[Path], tmp_path: Path) -> None:
    for count in (2, 1):
        package_nodule_model(weights[:count], make_settings(), tmp_path / "m")
    assert sorted(path.name for path in (tmp_path / "m" / "artifacts" / "nodule_model").iterdir()) == [
        "settings.json",
        "weights-0.pt",
    ]


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(
    make_settings: Maker, weights: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="at least 1 weights file"):
        package_nodule_model([], make_settings(), tmp_path / "m")
    with pytest.raises(DataError, match="no such file"):
        package_nodule_model([*weights, tmp_path / "none.pt"], make_settings(), tmp_path / "m")
    with pytest.raises(DataError, match="of another network"):
        package_nodule_model(weights, make_settings(features=True), tmp_path / "m")
    assert not (tmp_path / "m").exists()
