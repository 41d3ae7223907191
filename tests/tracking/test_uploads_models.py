"""Models on their way to a server: made once however often they are sent, and there for the next server too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from mlflow.exceptions import MlflowException

from monai_staging.tracking import TrackingHandler
from monai_staging.tracking.delivery import Delivery
from monai_staging.tracking.journal import Journal
from monai_staging.tracking.model import save_model
from monai_staging.tracking.sync import main

Upload = Callable[[Any, str, str], None]


def models(uri: str) -> list[tuple[str, str]]:
    """Id and status of every model of the experiment."""
    client = mlflow.MlflowClient(uri)
    found = client.search_logged_models([client.get_experiment_by_name("exp").experiment_id])
    return [(model.model_id, str(model.status)) for model in found]


def outputs(uri: str) -> list[str]:
    """Ids of the models that the only run lists."""
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    return [output.model_id for output in run.outputs.model_outputs] if run.outputs else []


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """A run that is one model."""
    header = {"key": "abc", "experiment": "exp", "run_name": "first", "start_ms": 1000, "tracking_uri": "x"}
    journal = Journal(tmp_path / "out" / "tracking-spool.jsonl", header)
    save_model(torch.nn.Linear(3, 2), [torch.ones(2, 3)], tmp_path / "out" / ".model")
    journal.append("model", path=".model", name="net", step=2, temporary=True)
    return journal


@pytest.fixture
def other(tmp_path: Path, empty_database: Path) -> str:
    """The URI of another empty database."""
    (tmp_path / "other").mkdir()
    shutil.copy(empty_database, tmp_path / "other" / "mlruns.db")
    return f"sqlite:///{tmp_path / 'other' / 'mlruns.db'}"


def track(folder: Path, uri: str) -> torch.nn.Linear:
    network = torch.nn.Linear(2, 1)
    with TrackingHandler(folder / "out", uri, experiment_name="exp", system_metrics=False) as tracking:
        assert tracking.log_model(network, torch.ones(1, 2))
    return network


def test_server_that_goes_away_during_the_upload_has_one_model_in_the_end(
    server: Any, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    server.start()
    upload: Upload = mlflow.MlflowClient.log_model_artifacts

    def dropped(self: Any, model_id: str, folder: str) -> None:
        server.kill()
        upload(self, model_id, folder)

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "log_model_artifacts", dropped)
        with pytest.raises(MlflowException, match="refused"):
            Delivery(journal, server.uri).deliver()
    assert Delivery(journal, server.uri).pending == 1
    server.start()
    assert [status for _, status in models(server.uri)] == ["PENDING"]
    # Another process: what it knows is what the journal says.
    again = Delivery(Journal(journal.path), server.uri)
    assert (again.deliver(), again.missed) == (1, [])
    ((model_id, status),) = models(server.uri)
    assert status == "READY" and outputs(server.uri) == [model_id]


@pytest.mark.parametrize("forgotten", [("model_id", "delivered"), ("delivered",)])
def test_kill_before_the_note_in_the_journal_makes_no_second_model(
    journal: Journal, database: str, forgotten: tuple[str, ...]
) -> None:
    Delivery(journal, database).deliver()
    first = models(database)
    lines = [line for line in journal.path.read_text().splitlines() if json.loads(line)["op"] not in forgotten]
    journal.path.write_text("\n".join(lines) + "\n")
    delivery = Delivery(Journal(journal.path), database)
    assert (delivery.deliver(), delivery.missed) == (1, [])
    assert models(database) == first and outputs(database) == [first[0][0]]


def test_model_that_cannot_be_stored_is_failed_until_it_can(
    journal: Journal, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Any, model_id: str, folder: str) -> None:
        raise PermissionError(13, "denied")

    delivery = Delivery(journal, database)
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "log_model_artifacts", denied)
        assert (delivery.deliver(), delivery.missed) == (0, ["model 'net'"])
    ((model_id, status),) = models(database)
    assert status == "FAILED" and outputs(database) == []
    assert delivery.deliver_missed() == 1
    assert models(database) == [(model_id, "READY")] and outputs(database) == [model_id]


def test_run_is_brought_to_another_server_with_its_model(tmp_path: Path, database: str, other: str) -> None:
    network = track(tmp_path, database)
    for uri in (other, other, database):
        assert main([str(tmp_path / "out"), "--tracking-uri", uri]) == 0
    mlflow.set_tracking_uri(other)
    (model_id,) = outputs(other)
    loaded = mlflow.pytorch.load_model(f"models:/{model_id}")
    assert torch.equal(loaded(torch.ones(3, 2)), network(torch.ones(3, 2)))
    assert mlflow.models.get_model_info(f"models:/{model_id}").model_id == model_id
    # The first server still has its own.
    assert models(database) == [(outputs(database)[0], "READY")] and outputs(database) != [model_id]


def test_model_that_is_gone_is_said_loudly_and_can_still_come(
    tmp_path: Path, database: str, other: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    track(tmp_path, database)
    (folder,) = (tmp_path / "out").glob(".mlflow-model-*")
    folder.rename(tmp_path / "moved")
    for _ in range(2):
        assert main([str(tmp_path / "out"), "--tracking-uri", other]) == 1
        assert f"{other} still lacks" in (said := capsys.readouterr().err) and "model 'model'" in said
    assert f"{folder} is gone" in caplog.text
    (tmp_path / "moved").rename(folder)
    assert main([str(tmp_path / "out"), "--tracking-uri", other]) == 0
    assert len(outputs(other)) == 1


def test_each_stretch_of_a_resumed_run_keeps_its_model(tmp_path: Path, database: str, other: str) -> None:
    networks = [torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)]
    for resume, network in enumerate(networks):
        with TrackingHandler(
            tmp_path / "out", database, experiment_name="exp", system_metrics=False, resume=bool(resume)
        ) as tracking:
            tracking.log_model(network, torch.ones(1, 2))
    assert main([str(tmp_path / "out"), "--tracking-uri", other]) == 0
    mlflow.set_tracking_uri(other)
    found = {float(mlflow.pytorch.load_model(f"models:/{m}")(torch.ones(1, 2))) for m in outputs(other)}
    assert found == {float(network(torch.ones(1, 2))) for network in networks}


def test_next_training_in_the_folder_removes_the_model_of_a_run_that_is_delivered(
    tmp_path: Path, database: str
) -> None:
    track(tmp_path, database)
    (first,) = (tmp_path / "out").glob(".mlflow-*")
    track(tmp_path, database)
    (second,) = (tmp_path / "out").glob(".mlflow-*")
    assert first != second
