from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

from monai_staging.errors import DataError, UsageError
from monai_staging.networks.pretrained.source import file_sha256
from monai_staging.networks.segmentation import build_segmenter
from monai_staging.outputs.findings import Model
from monai_staging.predict.models import STEPS, load_model
from monai_staging.predict.pipeline import Predictor
from monai_staging.predict.stages import StageReader

BUNDLES = Path(__file__).parents[2] / "bundles"
SHIPPED = BUNDLES / "staging" / "models" / "model.pt"


def test_shipped_weights_say_what_they_have_seen() -> None:
    found = load_model("staging")
    assert found.models == (Model("staging", f"sha256:{file_sha256(SHIPPED)}"),)
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


def test_outline_weights_without_channels_for_clicks_name_the_command(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save(build_segmenter("attention_unet", spatial_dims=3, in_channels=2).state_dict(), file)
    models = {name: load_model(name, str(file) if name == "segmentation" else None) for name in STEPS}
    wanted = (
        r"^Segmentation: Weights .*model.pt: are for images of 2 channels; 4 are needed\. Train some: python .*outline"
    )
    with pytest.raises(DataError, match=wanted):
        Predictor(models)


def test_a_card_that_says_nothing(tmp_path: Path) -> None:
    shutil.copy(SHIPPED, tmp_path / "model.pt")
    (tmp_path / "model.json").write_text(json.dumps({"learned_from": "patients of ours"}))
    assert load_model("staging", str(tmp_path)).learned_from == "patients of ours"
    (tmp_path / "model.json").write_text("no json")
    assert load_model("staging", str(tmp_path)).learned_from == ""


def test_an_ensemble_says_what_the_mean_of_its_members_says(tmp_path: Path) -> None:
    """Of staging alone; each member is named, and a calibration of one of them is not the ensemble's."""
    other = tmp_path / "other.pt"
    state = torch.load(SHIPPED, weights_only=True)
    torch.save({name: value * 0.9 for name, value in state.items()}, other)
    shutil.copy(SHIPPED.with_name("model.json"), tmp_path)
    found = load_model("staging", [str(SHIPPED), str(other)])
    assert [own.name for own in found.models] == ["staging-1-of-2", "staging-2-of-2"]
    assert len({own.digest for own in found.models}) == 2
    assert StageReader.beside(found).calibration is None
    assert "phantoms" in found.learned_from and ";" not in found.learned_from
    single = [load_model("staging", str(path)).bundle.part("net").eval() for path in (SHIPPED, other)]
    image = torch.rand(1, 3, *found.bundle.part("size"))
    with torch.inference_mode():
        both = found.bundle.part("net").eval()(image)
        letters = single[0].classes.values()
        each = [network(image).split([len(names) for names in letters], dim=1) for network in single]
        means = [(one.softmax(1) + two.softmax(1)) / 2 for one, two in zip(*each, strict=True)]
    torch.testing.assert_close(both.exp(), torch.cat(means, dim=1), atol=1e-5, rtol=1e-4)


def test_only_staging_has_several() -> None:
    with pytest.raises(UsageError, match="are of staging; found 2 weights and 0 passes of malignancy"):
        load_model("malignancy", ["a.pt", "b.pt"])
    with pytest.raises(UsageError, match="found 1 weights and 3 passes of detection"):
        load_model("detection", passes=3)
