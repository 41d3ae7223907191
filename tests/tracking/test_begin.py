"""A run that begins in a bundle's ``initialize``: how it ends when no engine ever starts, and when one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from monai_staging.tracking import TrackingHandler
from monai_staging.tracking.journal import Journal

Wait = Callable[[Callable[[], bool]], None]
Start = Callable[..., Any]
TRACKING = {
    "_target_": "monai_staging.tracking.TrackingHandler",
    "output_dir": "@output_dir",
    "tracking_uri": "@uri",
    "experiment_name": "exp",
    "system_metrics": False,
}
TRAINER = {
    "_target_": "SupervisedTrainer",
    "max_epochs": 2,
    "device": "cpu",
    "train_data_loader": "@loader",
    "network": "@network",
    "optimizer": "$torch.optim.SGD(@network.parameters(), lr=0.1)",
    "loss_function": "$torch.nn.MSELoss()",
    "train_handlers": ["@tracking"],
}


LOADER = "$[{'image': torch.ones(1, 2), 'label': torch.ones(1, 1)}]"
WAIT = "(pathlib.Path('ready').touch(), time.sleep(60))"


def write_bundle(folder: Path, uri: str, loader: str, after: str = "$0", **tracking: str) -> str:
    """A bundle that trains on ``loader`` and then does ``after``; gives its file."""
    config = {
        "imports": ["$import torch", "$import time", "$import pathlib"],
        "output_dir": str(folder / "out"),
        "uri": uri,
        "half": "$1 / 2",
        "network": "$torch.nn.Linear(2, 1)",
        "loader": loader,
        "tracking": {**TRACKING, **tracking},
        "trainer": TRAINER,
        "initialize": ["$@half", "$@tracking.begin()", "$@tracking.begin()"],
        "run": ["$@trainer.run()", after],
        "finalize": ["$@tracking.finish()"],
    }
    (folder / "train.json").write_text(json.dumps(config))
    return str(folder / "train.json")


@pytest.fixture
def start(warm_python: Any, tmp_path: Path, database: str) -> Start:
    """``python -m monai.bundle run`` of such a bundle."""

    def run(loader: str, after: str = "$0", **tracking: str) -> Any:
        config = write_bundle(tmp_path, database, loader, after, **tracking)
        return warm_python.start("monai.bundle", "run", "--config_file", config, cwd=tmp_path)

    return run


def only_run(uri: str) -> Any:
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    return run


def test_failure_before_the_engine_starts_is_a_failed_run_with_its_traceback(tmp_path: Path, database: str) -> None:
    # A Python of its own, to its very end.
    config = write_bundle(tmp_path, database, "$open('no-such-scan.nii')")
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", config]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120, check=False
    )
    assert "no-such-scan.nii" in process.stderr and process.returncode == 1
    run = only_run(database)
    assert run.info.status == "FAILED"
    assert run.data.tags["failure"].startswith("FileNotFoundError") and "no-such-scan" in run.data.tags["failure"]
    client = mlflow.MlflowClient(database)
    text = Path(client.download_artifacts(run.info.run_id, "failure.txt")).read_text()
    assert "Traceback" in text and "no-such-scan.nii" in text
    # The config as far as it has come.
    assert run.data.params["half"] == "0.5" and run.data.params["trainer.max_epochs"] == "2"
    assert "config.json" in {file.path for file in client.list_artifacts(run.info.run_id)}
    assert run.data.tags["version.monai"]


def test_training_is_the_run_that_was_begun(tmp_path: Path, database: str, start: Start) -> None:
    process = start(LOADER)
    assert process.wait(120) == 0, process.stderr.read_text()
    run = only_run(database)
    assert run.info.status == "FINISHED"
    # Logged when the engine has started: its own settings too, and what the references have come to.
    assert run.data.params["max_epochs"] == "2" and run.data.params["epoch_length"] == "1"
    history = mlflow.MlflowClient(database).get_metric_history(run.info.run_id, "train/loss")
    assert [point.step for point in history] == [1, 2]
    facts = [json.loads(line) for line in (tmp_path / "out" / "tracking-spool.jsonl").read_text().splitlines()]
    assert sum(fact["op"] == "params" for fact in facts) == 1


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_stopped_before_or_after_its_training_is_killed(
    tmp_path: Path, database: str, start: Start, number: int, trained: bool, wait_until: Wait
) -> None:
    process = start(LOADER, f"${WAIT}") if trained else start(f"${WAIT}")
    wait_until((tmp_path / "ready").exists)
    process.signal(number, group=False)
    process.wait(60)
    run = only_run(database)
    assert run.info.status == "KILLED"
    assert run.data.tags["failure"] == ("SIGTERM" if number == signal.SIGTERM else "KeyboardInterrupt")


@pytest.mark.parametrize("cohort", ['{"training": [{"study": "1.2.840.7"}]}', '{"training": [{"patient": "DOE^JANE", '])
def test_damaged_cohort_is_a_failed_run_with_its_config(
    tmp_path: Path, database: str, start: Start, cohort: str
) -> None:
    (tmp_path / "cohort.json").write_text(cohort)
    start("$[][0 * len('DOE^JANE 1.2.840.7')]", cohort=str(tmp_path)).wait(120)
    run = only_run(database)
    assert (run.info.status, run.data.tags["failure"]) == ("FAILED", "IndexError: list index out of range")
    client = mlflow.MlflowClient(database)
    text = Path(client.download_artifacts(run.info.run_id, "failure.txt")).read_text()
    assert "IndexError" in text
    assert ("JANE" if "JANE" in cohort else "1.2.840.7") not in text
    assert "config.json" in {file.path for file in client.list_artifacts(run.info.run_id)}


@pytest.mark.parametrize("end", ["fail", "exit"])
def test_reason_that_cannot_be_written_down_does_not_keep_a_run_open(
    tmp_path: Path, database: str, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    def scrub(text: str) -> str:
        raise KeyError("DOE^JANE")

    tracking = TrackingHandler(tmp_path / "out", database, experiment_name="exp", scrub=scrub, system_metrics=False)
    tracking.begin()
    tracking.fail(ValueError("oh")) if end == "fail" else tracking._at_exit()
    assert only_run(database).info.status == "FAILED"
    assert "why the run ended is not logged, for a KeyError" in caplog.text


def test_config_that_cannot_be_read_does_not_hide_how_the_run_ended(
    tmp_path: Path, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracking = TrackingHandler(
        tmp_path / "out", database, experiment_name="exp", config=tmp_path / "none.json", system_metrics=False
    )
    tracking.begin()
    tracking.fail(ValueError("oh"))
    assert only_run(database).info.status == "FAILED"
    assert "config and cohort of the run are not logged" in caplog.text


def test_begin_does_nothing_on_other_ranks(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    tracking = TrackingHandler(tmp_path / "out", database, system_metrics=False)
    tracking.begin()
    tracking.start()
    assert not (tmp_path / "out").exists()


def test_metrics_logged_before_the_engine_starts_do_not_cost_the_config(tmp_path: Path, database: str) -> None:
    tracking = TrackingHandler(
        tmp_path / "out", database, experiment_name="exp", config={"width": 4}, system_metrics=False
    )
    tracking.log_metrics({"cases": 3})
    tracking.start()
    tracking.finish()
    assert only_run(database).data.params == {"width": "4"}
    assert Journal(tmp_path / "out" / "tracking-spool.jsonl").facts[-1]["status"] == "FINISHED"
