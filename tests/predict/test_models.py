from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from monai_staging.errors import DataError, UsageError
from monai_staging.networks.pretrained.source import file_sha256
from monai_staging.predict.models import STEPS, load_model

BUNDLES = Path(__file__).parents[2] / "bundles"
SHIPPED = BUNDLES / "staging" / "models" / "model.pt"


def test_shipped_weights_say_what_they_have_seen() -> None:
    found = load_model("staging")
    assert found.model.name == "staging" and found.model.digest == f"sha256:{file_sha256(SHIPPED)}"
    assert "phantoms" in found.learned_from


@pytest.mark.parametrize("name", STEPS)
def test_every_step_has_weights(name: str) -> None:
    assert load_model(name).learned_from


def test_a_file_and_a_folder_of_weights(tmp_path: Path) -> None:
    shutil.copy(SHIPPED, tmp_path / "model.pt")
    for source in (tmp_path, tmp_path / "model.pt"):
        found = load_model("staging", str(source))
        assert found.bundle.weights == tmp_path / "model.pt"
        assert found.learned_from == "" and found.folder == tmp_path


@pytest.mark.parametrize("packed", [False, True])
def test_a_package(packed: bool, tmp_path: Path) -> None:
    package = tmp_path / "staging"
    (package / "configs").mkdir(parents=True)
    for path in (BUNDLES / "staging").glob("*.json"):
        shutil.copy(path, package / "configs")
    shutil.copytree(BUNDLES / "staging" / "models", package / "models")
    source = package
    if packed:
        source = tmp_path / "staging.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for path in package.rglob("*"):
                archive.write(path, path.relative_to(tmp_path))
        shutil.rmtree(package)
    found = load_model("staging", str(source))
    assert found.bundle.weights_sha256 == file_sha256(SHIPPED)
    assert "phantoms" in found.learned_from


def test_a_run_of_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    try:
        with mlflow.start_run() as run:
            mlflow.log_artifact(str(SHIPPED))
        found = load_model("staging", f"runs:/{run.info.run_id}/model.pt")
        assert found.bundle.weights_sha256 == file_sha256(SHIPPED)
        with pytest.raises(DataError, match="MLflow has no runs:/0123/model.pt"):
            load_model("staging", "runs:/0123/model.pt")
    finally:
        mlflow.set_tracking_uri(None)


def test_no_weights_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found none in .*Train some: python -m monai.bundle run --config_file"):
        load_model("detection", str(tmp_path))
    with pytest.raises(DataError, match="nowhere.pt are not there"):
        load_model("staging", "nowhere.pt")
    with pytest.raises(UsageError, match="a bundle is one of detection, segmentation"):
        load_model("slices")


def test_a_card_that_says_nothing(tmp_path: Path) -> None:
    shutil.copy(SHIPPED, tmp_path / "model.pt")
    (tmp_path / "model.json").write_text(json.dumps({"learned_from": "patients of ours"}))
    assert load_model("staging", str(tmp_path)).learned_from == "patients of ours"
    (tmp_path / "model.json").write_text("no json")
    assert load_model("staging", str(tmp_path)).learned_from == ""
