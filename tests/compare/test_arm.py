"""An arm as its worker runs it: done once, in one run of MLflow, or anew where it is another one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
import torch

from monai_staging.cohort.nodules.phantom import write_phantom_nodules
from monai_staging.compare.arm import BEGUN, LOG, RECORD, Task, finished, run_task

ROOT = Path(__file__).parents[2]


@pytest.fixture
def task(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """The ruler on phantom nodules: an arm without any checkpoint."""
    shutil.copy(empty_database, tmp_path / "mlruns.db")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns.db")
    monkeypatch.setenv("MONAI_STAGING_CACHE", str(tmp_path / "cache"))
    write_phantom_nodules(tmp_path / "nodules", 30, seed=4)
    overrides = {"dataset_dir": str(tmp_path / "nodules"), "baseline": "ruler", "folds": 2, "resamples": 20}
    overrides |= {"experiment": "arms", "run_name": "ruler", "figures": False, "log_model": False}
    config = (str(ROOT / "bundles/malignancy/train.json"),)
    return Task("ruler", tmp_path / "arm", config, "run_baseline", overrides, "first", torch.get_num_threads())


def runs(tmp_path: Path) -> list[str]:
    """What became of the experiment's runs."""
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db")
    experiment = client.get_experiment_by_name("arms")
    return [run.info.status for run in client.search_runs([experiment.experiment_id])]


def test_one_killed_before_its_record_is_the_same_mlflow_run(task: Task, tmp_path: Path) -> None:
    done = run_task(task)
    assert done.error is None, (task.folder / LOG).read_text()
    assert finished(task.folder, "first") == done
    before = (task.folder / "predictions.csv").read_text()
    (task.folder / RECORD).unlink()  # as a kill between the run's end and the record leaves it
    assert run_task(task).error is None
    assert (task.folder / "predictions.csv").read_text() == before
    assert runs(tmp_path) == ["FINISHED"]


def test_other_settings_in_its_folder_are_another_run(task: Task, tmp_path: Path) -> None:
    assert run_task(task).error is None
    other = replace(task, identity="second", overrides={**task.overrides, "seed": 3})
    assert finished(task.folder, "second") is None
    broken = replace(other, overrides={**other.overrides, "baseline": "compass"})
    error = run_task(broken).error
    assert error is not None and "compass" in error
    # The first one's files may be overwritten by now: it is not done any more.
    assert finished(task.folder, "first") is None and '"second"' in (task.folder / BEGUN).read_text()
    assert run_task(other).error is None
    assert finished(task.folder, "second") is not None
    assert sorted(runs(tmp_path)) == ["FINISHED", "FINISHED"]
