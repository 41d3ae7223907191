"""Files that a server's artifact store does not take; the run is there without them, and whole once it does."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch

from monai_staging.tracking import TrackingHandler
from monai_staging.tracking.sync import main

Wait = Callable[[Callable[[], bool]], None]


def only_run(uri: str) -> Any:
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    return run


def files(uri: str, folder: str | None = None) -> set[str]:
    return {file.path for file in mlflow.MlflowClient(uri).list_artifacts(only_run(uri).info.run_id, folder)}


def track(folder: Path, uri: str) -> None:
    """A run with every kind of file in it."""
    figures = folder / "figures"
    figures.mkdir()
    for name in ("a.png", "b.png"):
        (figures / name).write_bytes(b"png")
    with TrackingHandler(
        folder / "out", uri, experiment_name="exp", config={"width": 4}, system_metrics=False, drain_s=60
    ) as tracking:
        tracking.log_metrics({"loss": 1.0}, step=1, prefix="train")
        tracking.log_figures(figures)
        assert tracking.log_model(torch.nn.Linear(2, 1), torch.ones(1, 2))
        tracking.log_metrics({"loss": 0.5}, step=2, prefix="train")


@pytest.mark.parametrize("store", ["a folder of the server's", "a folder that the server cannot write", "S3"])
def test_store_that_takes_nothing_costs_the_files_and_nothing_else(
    tmp_path: Path,
    server: Any,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    # Where a folder should be lies a file: even root cannot write there.
    obstacle = tmp_path / "store"
    obstacle.write_text("")
    if store == "S3":
        monkeypatch.setitem(sys.modules, "boto3", None)
        server.artifacts = ["--no-serve-artifacts", "--default-artifact-root", "s3://bucket/mlflow"]
    elif store == "a folder of the server's":
        server.artifacts = ["--no-serve-artifacts", "--default-artifact-root", (obstacle / "artifacts").as_uri()]
    else:
        server.artifacts = ["--artifacts-destination", str(obstacle / "artifacts")]
    server.start()
    track(tmp_path, server.uri)

    run = only_run(server.uri)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"width": "4"} and run.data.metrics == {"train/loss": 0.5}
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    told = [message for message in told if message.upper().startswith("MLFLOW:")]
    # The reason, once, and at the end what is missing.
    reason = {"S3": "boto3", "a folder of the server's": str(obstacle)}.get(store, "500")
    assert "config.json cannot be stored" in told[0] and reason in told[0]
    assert "could not store" in told[-1] and ": config.json, figures/a.png, figures/b.png, model 'model'." in told[-1]
    assert f"sync {tmp_path}" in told[-1]
    # A server that answers 500 may hang up in the middle of the next file, which is another reason.
    assert len(told) == 2 or (reason == "500" and len(told) == 3)
    assert "NOT REACHABLE" not in caplog.text

    # The store is still the same: said, and the run stays as it is.
    assert main([str(tmp_path / "out")]) == 1
    assert "still lacks" in capsys.readouterr().err
    assert only_run(server.uri).info.status == "FINISHED"
    if store == "S3":
        return
    # It can be written to: the files come after.
    obstacle.unlink()
    assert main([str(tmp_path / "out")]) == 0
    assert "4 records delivered" in capsys.readouterr().out
    assert files(server.uri) == {"config.json", "figures"}
    assert files(server.uri, "figures") == {"figures/a.png", "figures/b.png"}
    run = only_run(server.uri)
    assert run.info.status == "FINISHED" and len(run.outputs.model_outputs) == 1
    assert main([str(tmp_path / "out")]) == 0
    assert "0 records delivered" in capsys.readouterr().out


def test_store_that_does_not_answer_is_tried_twice_and_costs_the_files_only(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[str] = []

    def log_text(self: Any, run_id: str, text: str, to: str) -> None:
        tries.append(to)
        raise ConnectionResetError("store away")

    monkeypatch.setattr(mlflow.MlflowClient, "log_text", log_text)
    with TrackingHandler(
        tmp_path / "out", database, experiment_name="exp", config={"width": 4}, system_metrics=False
    ) as tracking:
        tracking.log_metrics({"loss": 1.0})
    assert tries == ["config.json"] * 2
    run = only_run(database)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 1.0})
    assert "store away" in caplog.text and "NOT REACHABLE" not in caplog.text


def test_next_training_in_the_folder_keeps_the_run_that_lacks_files(tmp_path: Path, database: str) -> None:
    figure = tmp_path / "figure.png"
    for _ in range(2):
        with TrackingHandler(tmp_path / "out", database, experiment_name="exp", system_metrics=False) as tracking:
            tracking.log_artifact(figure)
    assert len(list((tmp_path / "out").glob("tracking-spool-*.jsonl"))) == 1
    figure.write_bytes(b"png")
    assert main([str(tmp_path / "out")]) == 0
    client = mlflow.MlflowClient(database)
    for run in client.search_runs([client.get_experiment_by_name("exp").experiment_id]):
        assert "figure.png" in {file.path for file in client.list_artifacts(run.info.run_id)}


def test_journal_says_what_is_missed_and_why(tmp_path: Path, database: str) -> None:
    with TrackingHandler(tmp_path / "out", database, experiment_name="exp", system_metrics=False) as tracking:
        tracking.log_artifact(tmp_path / "gone.png", "figures")
    spool = tmp_path / "out" / "tracking-spool.jsonl"
    records = [json.loads(line) for line in spool.read_text().splitlines()]
    (missed,) = [record for record in records if record["op"] == "missed"]
    facts = [record for record in records if record["op"] not in ("run", "run_id", "delivered", "missed")]
    assert facts[missed["fact"]]["op"] == "artifact"
    assert missed["uri"] == database and "gone.png is gone" in missed["reason"]
