"""Two runs of one process in one folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mlflow
import pytest

from monai_staging.tracking import TrackingHandler
from monai_staging.tracking.journal import Journal


def handler(folder: Path, uri: str, name: str, **arguments: Any) -> TrackingHandler:
    return TrackingHandler(folder, uri, experiment_name="exp", run_name=name, system_metrics=False, **arguments)


def statuses(uri: str) -> dict[str, str]:
    client = mlflow.MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    return {run.info.run_name: run.info.status for run in found}


@pytest.mark.parametrize("link", [False, True])
def test_run_that_was_left_open_fails_when_the_next_begins_in_its_folder(
    tmp_path: Path, database: str, link: bool
) -> None:
    out = tmp_path / "out"
    first = handler(out, database, "first")
    first.begin()  # then the cohort is refused, and the exception caught
    if link:
        (tmp_path / "link").symlink_to(out)
    second = handler(tmp_path / "link" if link else out, database, "second")
    second.begin()
    second.log_metrics({"loss": 1.0}, step=1)
    second.finish()
    first._at_exit()
    first.finish()
    assert statuses(database) == {"first": "FAILED", "second": "FINISHED"}
    client = mlflow.MlflowClient(database)
    (failed,) = client.search_runs([client.get_experiment_by_name("exp").experiment_id], "attributes.status = 'FAILED'")
    assert failed.data.tags["failure"] == "another run began in its folder"
    journal = Journal(out / "tracking-spool.jsonl")
    assert journal.header["run_name"] == "second"
    assert [fact["status"] for fact in journal.facts if fact["op"] == "status"] == ["FINISHED"]


def test_run_that_was_left_open_can_be_resumed(tmp_path: Path, database: str) -> None:
    handler(tmp_path / "out", database, "first").begin()
    with handler(tmp_path / "out", database, "second", resume=True):
        pass
    assert statuses(database) == {"first": "FINISHED"}


def test_evaluation_beside_a_training_leaves_it_open(tmp_path: Path, database: str) -> None:
    with handler(tmp_path / "out", database, "training"):
        with handler(tmp_path / "out", database, "evaluation", evaluator_prefix="test"):
            pass
        with handler(tmp_path / "elsewhere", database, "other"):
            pass
    assert statuses(database) == {"training": "FINISHED", "evaluation": "FINISHED", "other": "FINISHED"}


def test_forked_process_does_not_end_its_parents_run(tmp_path: Path, database: str) -> None:
    from monai_staging.tracking import open_runs

    class Run:
        def abandon(self, why: str) -> None:
            (tmp_path / "ended").touch()

    run = Run()
    open_runs.take(tmp_path / "j.jsonl", run)
    child = os.fork()
    if child == 0:
        open_runs.take(tmp_path / "j.jsonl", Run())
        os._exit(0)
    os.waitpid(child, 0)
    assert not (tmp_path / "ended").exists()
    open_runs.take(tmp_path / "j.jsonl", Run())
    assert (tmp_path / "ended").exists()
    # The one that was ended is not open any more, and takes nothing with it.
    open_runs.release(tmp_path / "j.jsonl", run)
    (tmp_path / "ended").unlink()
    open_runs.take(tmp_path / "j.jsonl", run)
    assert (tmp_path / "ended").exists()
