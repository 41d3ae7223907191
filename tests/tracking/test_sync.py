"""The tracking server is killed, frozen and absent; the training goes on, and the run is complete in the end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from monai_staging.tracking import TrackingHandler
from monai_staging.tracking.sync import main

Wait = Callable[[Callable[[], bool]], None]


def history(uri: str, name: str) -> list[int]:
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("exp")
    (run,) = client.search_runs([experiment.experiment_id])
    return [point.step for point in client.get_metric_history(run.info.run_id, name)]


def status(uri: str) -> str:
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    return str(run.info.status)


def test_server_killed_frozen_and_back(
    tmp_path: Path,
    server: Any,
    wait_until: Wait,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.start()
    tracking = TrackingHandler(tmp_path / "out", server.uri, experiment_name="exp", system_metrics=False, drain_s=10)
    tracking.start()
    assert tracking._background is not None
    tracking._background.retry_s = 0.2
    tracking.log_metrics({"loss": 1.0}, step=1, prefix="train")
    figure = tmp_path / "figure.png"
    figure.write_bytes(b"png")
    tracking.log_figures([figure])
    wait_until(lambda: tracking._background is not None and tracking._background.delivery.pending == 0)

    # Frozen: it takes connections and does not answer.
    server.signal(signal.SIGSTOP)
    start = time.monotonic()
    for step in range(2, 50):
        tracking.log_metrics({"loss": 1.0 / step}, step=step, prefix="train")
    assert time.monotonic() - start < 1
    wait_until(lambda: "NOT REACHABLE" in caplog.text)
    server.signal(signal.SIGCONT)
    wait_until(lambda: "reachable again" in caplog.text)

    # Killed: the rest of the run, its end included, stays here.
    server.kill()
    tracking.log_metrics({"loss": 0.0}, step=50, prefix="train")
    tracking.finish()
    assert "records of run" in caplog.text and "monai_staging.tracking.sync" in caplog.text
    assert main([str(tmp_path / "out")]) == 1  # still nobody there

    server.start()
    assert main([str(tmp_path / "out" / "tracking-spool.jsonl")]) == 0  # to the run's own server
    assert "2 records delivered to http://127.0.0.1" in capsys.readouterr().out
    assert history(server.uri, "train/loss") == list(range(1, 51))
    assert status(server.uri) == "FINISHED"
    client = mlflow.MlflowClient(server.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    assert [a.path for a in client.list_artifacts(run.info.run_id, "figures")] == ["figures/figure.png"]
    assert main([str(tmp_path / "out"), "--tracking-uri", server.uri]) == 0  # nothing left, and no error


def test_server_down_from_the_start(
    tmp_path: Path, database: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrackingHandler(
        tmp_path / "out", "http://127.0.0.1:9", experiment_name="exp", system_metrics=False
    ) as tracking:
        tracking.log_metrics({"loss": 1.0}, step=1, prefix="train")
    assert "NOT REACHABLE at http://127.0.0.1:9" in caplog.text
    assert main([str(tmp_path / "out"), "--tracking-uri", database]) == 0
    assert "delivered to sqlite" in capsys.readouterr().out
    assert history(database, "train/loss") == [1]
    assert status(database) == "FINISHED"


def test_wrong_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.jsonl")]) == 1
    assert main([str(tmp_path)]) == 1
    assert "no tracking journal" in capsys.readouterr().err
    (tmp_path / "bad.jsonl").write_text("x\n")
    assert main([str(tmp_path / "bad.jsonl")]) == 1
    assert "not a tracking record" in capsys.readouterr().err
