"""From the journal to MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from mlflow.exceptions import MlflowException

from monai_staging.tracking.catch_up import replay
from monai_staging.tracking.delivery import KEY_TAG, Delivery
from monai_staging.tracking.journal import Journal
from monai_staging.tracking.model import save_model


def start(folder: Path, uri: str) -> Journal:
    header = {"key": "abc", "experiment": "exp", "run_name": "first", "start_ms": 1000, "tracking_uri": uri}
    return Journal(folder / "out" / "tracking-spool.jsonl", header)


def only_run(uri: str) -> Any:
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("exp")
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def test_every_kind_of_fact_arrives(tmp_path: Path, database: str) -> None:
    journal = start(tmp_path, database)
    figure = tmp_path / "out" / "figure.png"
    figure.write_bytes(b"png")
    save_model(torch.nn.Linear(3, 2), [torch.ones(2, 3)], tmp_path / "out" / ".model")
    journal.append("params", params={f"p{i}": str(i) for i in range(150)})  # more than one request takes
    journal.append("tags", tags={"colour": "red"})
    for step in (1, 2):
        journal.append("metrics", metrics={"train/loss": 1.0 / step, "bad": float("nan")}, step=step, time_ms=step)
    journal.append("metrics", metrics={f"m{i}": i for i in range(1500)}, step=1, time_ms=1)
    journal.append("artifact", path=str(figure), to="figures")
    journal.append("text", text="hello", to="notes/a.txt")
    journal.append("model", path=".model", name="net", step=2, temporary=True)
    journal.append("dataset", name="d", digest="x" * 32, source="{}", profile=json.dumps({"n": 3}), context="training")
    journal.append("status", status="FINISHED", time_ms=5000)
    delivery = Delivery(journal, database)
    assert delivery.pending == delivery.deliver() == 10
    assert delivery.pending == delivery.deliver() == 0

    run = only_run(database)
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert (run.info.start_time, run.info.end_time) == (1000, 5000)
    assert len(run.data.params) == 150 and run.data.params["p149"] == "149"
    assert run.data.tags["colour"] == "red" and run.data.tags[KEY_TAG] == "abc"
    assert run.data.metrics["m1499"] == 1499
    client = mlflow.MlflowClient(database)
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5)]
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {"figures", "notes"}
    assert (tmp_path / "mlruns" / run.info.run_id / "artifacts" / "figures" / "figure.png").read_bytes() == b"png"
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, json.loads(dataset.dataset.profile)) == ("d", {"n": 3})


def test_logged_model_loads_and_has_signature_and_example(tmp_path: Path, database: str) -> None:
    journal = start(tmp_path, database)
    network = torch.nn.Linear(3, 2)
    save_model(network, [torch.ones(2, 3)], tmp_path / "out" / ".model")
    journal.append("model", path=".model", name="net", step=2, temporary=True)
    Delivery(journal, database).deliver()
    (output,) = only_run(database).outputs.model_outputs
    model = mlflow.MlflowClient(database).get_logged_model(output.model_id)
    assert (model.name, str(model.status)) == ("net", "READY")
    mlflow.set_tracking_uri(database)
    info = mlflow.models.get_model_info(f"models:/{output.model_id}")
    assert info.model_id == output.model_id
    assert info.signature.inputs.inputs[0].shape == (-1, 3)
    assert info.saved_input_example_info is not None
    loaded = mlflow.pytorch.load_model(f"models:/{output.model_id}")
    assert torch.allclose(loaded(torch.full((4, 3), 2.0)), network(torch.full((4, 3), 2.0)))


def test_delivered_facts_are_known_after_a_restart(tmp_path: Path, database: str) -> None:
    journal = start(tmp_path, database)
    journal.append("metrics", metrics={"a": 1}, step=1, time_ms=1)
    Delivery(journal, database).deliver()
    journal.close()
    again = Journal(journal.path)
    again.append("metrics", metrics={"a": 2}, step=2, time_ms=2)
    delivery = Delivery(again, database)
    assert delivery.pending == 1
    delivery.deliver()
    run = only_run(database)
    assert run.data.metrics == {"a": 2}


def test_facts_may_arrive_twice(tmp_path: Path, database: str) -> None:
    """A kill between a request and its note in the journal repeats the request."""
    journal = start(tmp_path, database)
    journal.append("params", params={"a": "1"})
    journal.append("metrics", metrics={"m": 1.0}, step=1, time_ms=1)
    Delivery(journal, database).deliver()
    journal.close()
    lines = [line for line in journal.path.read_text().splitlines() if '"delivered"' not in line]
    journal.path.write_text("\n".join(line for line in lines if '"run_id"' not in line) + "\n")
    assert replay(journal.path, database).delivered == 2
    run = only_run(database)  # the same run, found by its key
    assert len(mlflow.MlflowClient(database).get_metric_history(run.info.run_id, "m")) == 1


def test_changed_parameter_of_a_resumed_run_becomes_a_tag(tmp_path: Path, database: str) -> None:
    journal = start(tmp_path, database)
    journal.append("params", params={"epochs": "5", "lr": "1"})
    journal.append("params", params={"epochs": "9", "lr": "1", "new": "x"})
    Delivery(journal, database).deliver()
    run = only_run(database)
    assert run.data.params == {"epochs": "5", "lr": "1", "new": "x"}
    assert run.data.tags["resumed.epochs"] == "9" and "resumed.lr" not in run.data.tags


def test_what_a_server_will_never_take_is_told_and_passed_over(
    tmp_path: Path, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    journal = start(tmp_path, database)
    journal.append("metrics", metrics={"bad\nname": 1.0}, step=1, time_ms=1)
    journal.append("artifact", path=str(tmp_path / "gone.png"), to=None)
    journal.append("metrics", metrics={"good": 1.0}, step=1, time_ms=1)
    delivery = Delivery(journal, database)
    assert (delivery.deliver(), delivery.pending, delivery.missed) == (2, 0, ["gone.png"])
    assert "MLflow refused metrics" in caplog.text and "gone.png is gone" in caplog.text
    assert only_run(database).data.metrics == {"good": 1.0}


def test_finished_run_is_open_again_while_a_resumed_training_goes_on(tmp_path: Path, database: str) -> None:
    journal = start(tmp_path, database)
    journal.append("status", status="KILLED", time_ms=1)
    Delivery(journal, database).deliver()
    assert only_run(database).info.status == "KILLED"
    journal.append("status", status="RUNNING", time_ms=2)
    Delivery(journal, database).deliver()
    assert only_run(database).info.status == "RUNNING"


def test_run_that_is_gone_from_the_server_is_made_anew_with_all_of_it(
    tmp_path: Path, database: str, empty_database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = start(tmp_path, database)
    journal.append("metrics", metrics={"a": 1}, step=1, time_ms=1)
    Delivery(journal, database).deliver()
    (tmp_path / "other").mkdir()
    moved = tmp_path / "other" / "mlruns.db"
    moved.write_bytes(empty_database.read_bytes())
    # Another database behind the same address.
    journal.append("metrics", metrics={"b": 2}, step=1, time_ms=1)
    delivery = Delivery(journal, database, client=mlflow.MlflowClient(f"sqlite:///{moved}"))
    delivery.deliver()
    assert "is made anew" in caplog.text
    assert only_run(f"sqlite:///{moved}").data.metrics == {"a": 1, "b": 2}


def test_replay_to_another_server_brings_the_whole_run(tmp_path: Path, database: str, empty_database: Path) -> None:
    journal = start(tmp_path, database)
    journal.append("metrics", metrics={"a": 1}, step=1, time_ms=1)
    Delivery(journal, database).deliver()
    journal.close()
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "mlruns.db"
    other.write_bytes(empty_database.read_bytes())
    assert replay(journal.path).delivered == 0  # the run's own server has it all
    report = replay(journal.path, f"sqlite:///{other}")
    assert report.delivered == 1
    assert only_run(f"sqlite:///{other}").info.run_id == report.run_id


def test_deleted_experiment_is_restored(tmp_path: Path, database: str, caplog: pytest.LogCaptureFixture) -> None:
    client = mlflow.MlflowClient(database)
    client.delete_experiment(client.create_experiment("exp"))
    journal = start(tmp_path, database)
    journal.append("tags", tags={"a": "1"})
    Delivery(journal, database).deliver()
    assert "is restored" in caplog.text
    assert only_run(database).data.tags["a"] == "1"


class Failing:
    """A client every call of which fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            raise self.error

        return call


def test_unreachable_server_raises_and_keeps_everything(tmp_path: Path) -> None:
    journal = start(tmp_path, "http://127.0.0.1:9")
    journal.append("tags", tags={"a": "1"})
    delivery = Delivery(journal, "http://127.0.0.1:9", client=Failing(MlflowException("down")))
    with pytest.raises(MlflowException, match="down"):
        delivery.deliver()
    assert delivery.pending == 1
