"""Weights that are in MLflow: artifacts of runs, and models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import torch

from monai_staging.errors import DataError
from monai_staging.networks.backbones import Backbone, build_backbone
from monai_staging.networks.pretrained import load_pretrained, write_checkpoint
from monai_staging.tracking.model import save_model


def network() -> Backbone:
    return build_backbone("alexnet", width=0.125, in_channels=1)


class Logged:
    """A database with one run: a checkpoint of ours, and the network as a registered model."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder, f"sqlite:///{folder / 'mlruns.db'}"
        self.client = client = mlflow.MlflowClient(self.uri)
        experiment = client.create_experiment("pretrain", (folder / "artifacts").as_uri())
        self.run_id = client.create_run(experiment).info.run_id
        torch.manual_seed(9)
        self.network = network().eval()
        write_checkpoint(folder / "backbone.pt", self.network, {"network": "alexnet", "run_id": self.run_id})
        client.log_artifact(self.run_id, str(folder / "backbone.pt"), "checkpoints")
        client.log_artifact(self.run_id, str(folder / "backbone.pt"), "two")
        shutil.copy(folder / "backbone.pt", folder / "other.pt")
        client.log_artifact(self.run_id, str(folder / "other.pt"), "two")
        # As the tracking handler does it: the exported network, then the run that it is of.
        save_model(self.network, [torch.rand(2, 1, 63, 63)], folder / "model")
        logged = client.create_logged_model(experiment, name="net", source_run_id=self.run_id)
        client.log_model_artifacts(logged.model_id, str(folder / "model"))
        self.model_id = client.finalize_logged_model(logged.model_id, "READY").model_id
        client.create_registered_model("chest")
        client.create_model_version("chest", logged.artifact_location, run_id=self.run_id, model_id=self.model_id)
        client.set_registered_model_alias("chest", "best", 1)
        # A version that does not know its run, of a model that does.
        shutil.copytree(folder / "model", folder / "known")
        model = mlflow.models.Model.load(str(folder / "known" / "MLmodel"))
        model.run_id = self.run_id
        model.save(str(folder / "known" / "MLmodel"))
        client.create_model_version("chest", (folder / "known").as_uri())
        # And a checkpoint as a model: nothing but a file.
        (folder / "bare").mkdir()
        write_checkpoint(folder / "bare" / "backbone.pt", self.network, {"run_id": "of the file"})
        client.create_model_version("chest", (folder / "bare").as_uri())


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    return Logged(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder without a database, and no server set."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "where",
    [
        "runs:/{run}/checkpoints/backbone.pt",
        "runs:/{run}/checkpoints",
        "models:/chest@best",
        "models:/chest/1",
        "models:/chest/1/data/model.pt2",
        "models:/chest/2",
        "models:/{model}",
    ],
)
def test_weights_come_from_mlflow_with_the_run_that_trained_them(where: str, logged: Logged) -> None:
    mlflow.set_tracking_uri(logged.uri)
    backbone = network()
    uri = where.format(run=logged.run_id, model=logged.model_id)
    report = load_pretrained(backbone, uri)
    assert report.share == 1.0
    assert report.source.where == uri
    assert report.source.run_id == logged.run_id
    assert all(torch.equal(value, backbone.state_dict()[key]) for key, value in logged.network.state_dict().items())


def test_where_mlflow_knows_no_run_the_file_may(logged: Logged) -> None:
    mlflow.set_tracking_uri(logged.uri)
    assert load_pretrained(network(), "models:/chest/3").source.run_id == "of the file"
    assert load_pretrained(network(), "models:/chest/latest").source.run_id == "of the file"


def test_where_no_server_is_set_it_is_the_database_of_the_folder(
    logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(logged.folder)
    assert build_backbone("alexnet", width=0.125, in_channels=1, weights="models:/chest@best").network == "alexnet"
    assert not mlflow.is_tracking_uri_set()


def test_what_is_not_there_is_refused_with_the_server(logged: Logged) -> None:
    mlflow.set_tracking_uri(logged.uri)
    for uri in ("models:/chest@worst", "models:/other/1", f"runs:/{logged.run_id}/none.pt", "runs:/none/a.pt"):
        with pytest.raises(DataError, match=f"Weights {uri}: cannot be had from MLflow at sqlite:///"):
            load_pretrained(network(), uri)


def test_several_files_of_weights_are_refused_with_their_names(logged: Logged) -> None:
    mlflow.set_tracking_uri(logged.uri)
    with pytest.raises(DataError, match=r"one file of weights is needed, found 2: backbone\.pt, other\.pt"):
        load_pretrained(network(), f"runs:/{logged.run_id}/two")


def test_a_local_model_folder_is_as_good_as_its_file(logged: Logged, tmp_path: Path) -> None:
    assert load_pretrained(network(), logged.folder / "model").source.file == "model.pt2"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="one file of weights is needed, found 0"):
        load_pretrained(network(), tmp_path / "empty")
