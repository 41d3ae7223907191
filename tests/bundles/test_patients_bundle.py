"""The patient score as a user runs it: train, evaluate, submit, go on after a stop, and the pools side by side."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest

from monai_staging.cohort import load_cohort
from monai_staging.cohort.default import default_cohort
from monai_staging.networks.pretrained import read_checkpoint
from monai_staging.workflows import arms
from monai_staging.workflows.patients_arms import PoolExperiment, joined, pool_arms

BUNDLE = Path(__file__).parents[2] / "bundles" / "malignancy"
# Coarse slices, so that the shipped detector needs a second a scan; nodules of few voxels.
SMALL = {
    "width": 0.125,
    "size": 16,
    "spacing_mm": 3.0,
    "most": 3,
    "detector_keys": {"spacing_mm": [3.0, 3.0, 4.0], "most": 20},
    "resamples": 20,
}
TRAINING = {**SMALL, "batch_size": 4, "system_metrics": False}
RunBundle = Callable[..., subprocess.CompletedProcess[str]]
Rows = Callable[[Path], list[dict[str, str]]]


def arguments(settings: dict) -> list[str]:
    return [part for name, value in settings.items() for part in (f"--{name}", str(value).replace(" ", ""))]


@pytest.fixture(scope="module")
def screened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten tiny phantoms, of which half have a cancer."""
    path = tmp_path_factory.mktemp("screened") / "cohort"
    return default_cohort(path, 10, seed=5, resolution="tiny", workers=2, test=0.4, disease="screening")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nodules")


@pytest.fixture(scope="module")
def trained(screened: Path, cache: Path, run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of two epochs; its folder also holds the MLflow database."""
    folder = tmp_path_factory.mktemp("patients")
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "patients.json", "--dataset_dir", screened, "--cache_dir", cache),
        *("--output_dir", folder / "run", "--epochs", "2", *arguments(TRAINING)),
        folder=folder,
    )
    (folder / "stdout.txt").write_text(result.stdout + result.stderr)
    return folder


def test_training_ends_with_metrics_rows_and_pictures(trained: Path, screened: Path, rows_of: Rows) -> None:
    text = (trained / "stdout.txt").read_text()
    assert "phantoms (synthetic CT), test part: 4 patients" in text and "| noisy_or, this network" in text
    assert "Chosen on phantoms (synthetic CT), validation part: 2 patients" in text
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert set(metrics["auroc"]) == {"value", "low", "high", "n"}
    assert {"log_loss", "accuracy", "brier", "ece", "calibrated_log_loss", "ruler_auroc"} <= set(metrics)
    rows = rows_of(trained / "run")
    assert len(rows) == 4 and all(0 < float(row["p_cancer"]) < 1 for row in rows)
    for name in ("roc", "reliability", "patients", "losses"):
        assert (trained / "run" / "figures" / f"{name}.png").stat().st_size > 10_000
    # Nobody's name is in what it left, or said.
    written = [path.read_text() for path in (trained / "run").glob("*.*") if path.suffix in (".json", ".csv", ".jsonl")]
    for case in load_cohort(screened).cases:
        assert not any(case.patient in one for one in (*written, text))


def test_the_run_is_in_mlflow_with_its_model_and_the_weights_say_what_they_are(trained: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{trained}/mlruns.db")
    experiment = client.get_experiment_by_name("patients")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert {"test/auroc", "test/log_loss", "val/auroc", "train/loss"} <= set(run.data.metrics)
    assert "cannot export" not in (trained / "stdout.txt").read_text()
    source = read_checkpoint(trained / "run" / "model.pt").source
    assert (source["task"], source["pool"], source["most"]) == ("patients", "noisy_or", 3)


def test_weights_evaluate_as_their_training_did_and_submit(
    trained: Path, screened: Path, cache: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    held_out = [case.patient for case in load_cohort(screened).test]
    (tmp_path / "sample.csv").write_text("id,cancer\n" + "".join(f"{name},0.5\n" for name in held_out[::-1]))
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "patients_evaluate.json", "--dataset_dir", screened, "--cache_dir", cache),
        *("--weights", trained / "run" / "model.pt", "--output_dir", tmp_path / "out", *arguments(SMALL)),
        *("--submission", tmp_path / "submission.csv", "--sample", tmp_path / "sample.csv", "--figures", "false"),
        folder=tmp_path,
    )
    # The nodules are those of the training, which were kept.
    assert "finding nodules" not in result.stderr
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == (trained / "run" / "predictions.csv").read_bytes()
    metrics, before = (json.loads((path / "metrics.json").read_text()) for path in (tmp_path / "out", trained / "run"))
    assert metrics == {name: value for name, value in before.items() if not name.startswith("ruler")}
    with open(tmp_path / "submission.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == held_out[::-1]
    assert not any(name in path.read_text() for name in held_out for path in (tmp_path / "out").glob("*.*"))


def test_a_training_goes_on_where_it_was_stopped(
    screened: Path, cache: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    common = ["run", "--config_file", BUNDLE / "patients.json", "--dataset_dir", screened, "--cache_dir", cache]
    common += ["--output_dir", tmp_path / "run", "--figures", "false", "--log_model", "false", *arguments(TRAINING)]
    run_bundle(*common, "--pool", "max", "--measured", "false", "--epochs", "1", folder=tmp_path)
    run_bundle(*common, "--pool", "max", "--measured", "false", "--epochs", "2", "--resume", "true", folder=tmp_path)
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2]


def test_pools_are_trained_on_the_same_nodules_under_one_run(
    screened: Path,
    cache: Path,
    repository: Path,
    empty_database: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(repository)
    shutil.copy(empty_database, tmp_path / "mlruns.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlruns.db")
    monkeypatch.setattr(arms, "run_in_workers", lambda run, tasks, workers: ((task, run(task)) for task in tasks))
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*.pt")}
    settings = {**SMALL, "batch_size": 4, "epochs": 1, "cache_dir": str(cache), "turns": 1}
    with PoolExperiment("pools", screened, tmp_path / "out", settings) as experiment:
        results = experiment.run(pool_arms(("noisy_or", "attention"), [0]))
    assert set(results) == {"noisy_or seed 0", "attention seed 0"}
    one, other = (joined([result]) for result in results.values())
    assert one.patients == other.patients and not np.array_equal(one.probabilities, other.probabilities)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.pt")} == files
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db")
    runs = client.search_runs([client.get_experiment_by_name("patients").experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "pools"]
    assert sum(run.data.tags.get("mlflow.parentRunId") == parent.info.run_id for run in runs) == 2


@pytest.mark.parametrize(("name", "kind"), [("patients", "train"), ("patients_evaluate", "infer")])
def test_every_config_has_the_properties_of_a_bundle(
    name: str, kind: str, check_properties: Callable[..., object], trained: Path, screened: Path, cache: Path
) -> None:
    weights = {} if kind == "train" else {"weights": str(trained / "run" / "model.pt")}
    keys = {**SMALL, "dataset_dir": str(screened), "cache_dir": str(cache), **weights}
    check_properties(kind, BUNDLE / f"{name}.json", **keys)
