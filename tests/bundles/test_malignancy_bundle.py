"""The malignancy bundle as a user runs it: phantom nodules, MedMNIST, unseen nodules, regimes, a kill."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, roc_auc_score

from monai_staging.cohort.nodules.phantom import write_phantom_nodules
from monai_staging.networks.pretrained import read_checkpoint

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "malignancy"
SMALL = ["--network", "resnet10", "--width", "0.125", "--size", "32", "--spacing_mm", "1.125", "--views", "central"]
SMALL += ["--system_metrics", "false", "--resamples", "50"]
RunBundle = Callable[..., subprocess.CompletedProcess[str]]
Rows = Callable[[Path], list[dict[str, str]]]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of this module's own."""
    folder = tmp_path_factory.mktemp("cache")
    os.environ["MONAI_STAGING_CACHE"] = str(folder)
    yield folder
    del os.environ["MONAI_STAGING_CACHE"]


@pytest.fixture(scope="module")
def nodules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty phantom nodules."""
    return write_phantom_nodules(tmp_path_factory.mktemp("nodules"), 40, seed=3)


@pytest.fixture(scope="module")
def trained(nodules: Path, run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of two epochs on phantoms; its folder also holds the MLflow database."""
    folder = tmp_path_factory.mktemp("trained")
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--dataset_dir", nodules, "--epochs", "2", "--folds", "3"),
        *("--output_dir", folder / "run", *SMALL),
        folder=folder,
    )
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


def test_training_ends_with_network_ruler_and_forest_in_one_table(trained: Path, rows_of: Rows) -> None:
    text = (trained / "stdout.txt").read_text()
    assert "phantom nodules (synthetic), test part" in text
    for name in ("this network", "ruler", "forest"):
        assert f"| {name}" in text
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert set(metrics["auroc"]) == {"value", "low", "high", "n"} and "forest_auroc" in metrics
    rows = rows_of(trained / "run")
    truth = [row["label"] == "malignant" for row in rows]
    assert metrics["auroc"]["value"] == pytest.approx(roc_auc_score(truth, [float(row["p_malignant"]) for row in rows]))
    ruler = [float(row["p_malignant_ruler"]) for row in rows]
    assert metrics["ruler_auroc"]["value"] == pytest.approx(roc_auc_score(truth, ruler))
    assert {path.name for path in (trained / "run" / "figures").iterdir()} == {
        "roc.png",
        "reliability.png",
        "nodules.png",
        "maps.png",
    }


def test_the_run_is_in_mlflow_with_model_metrics_and_backbone(trained: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{trained}/mlruns.db")
    run = client.search_runs([client.get_experiment_by_name("malignancy").experiment_id])[0]
    assert run.info.status == "FINISHED"
    assert "test/auroc" in run.data.metrics and "val/auroc" in run.data.metrics
    assert "backbone.pt" in {item.path for item in client.list_artifacts(run.info.run_id)}
    drawn = {f"figures/{path.name}" for path in (trained / "run" / "figures").iterdir()}
    assert {item.path for item in client.list_artifacts(run.info.run_id, "figures")} == drawn
    checkpoint = read_checkpoint(trained / "run" / "backbone.pt")
    assert checkpoint.source["run_id"] == run.info.run_id and checkpoint.source["network"] == "resnet10"


def test_a_training_starts_from_another_ones_backbone(
    trained: Path, nodules: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--dataset_dir", nodules, "--epochs", "1", "--folds", "3"),
        *("--output_dir", tmp_path / "run", "--backbone_weights", trained / "run" / "backbone.pt", *SMALL),
        *("--regime", "linear", "--figures", "false", "--log_model", "false"),
        folder=tmp_path,
    )
    assert "100" in result.stderr + result.stdout  # the report of what matched
    start = read_checkpoint(trained / "run" / "backbone.pt").state
    end = read_checkpoint(tmp_path / "run" / "backbone.pt").state
    assert all(torch.equal(start[name], end[name]) for name in start)
    assert not (tmp_path / "run" / "figures").exists()
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db")
    (run,) = client.search_runs([client.get_experiment_by_name("malignancy").experiment_id])
    source = read_checkpoint(trained / "run" / "backbone.pt").source
    assert run.data.tags["start.run_id"] == source["run_id"] and float(run.data.tags["start.matched"]) == 1


def test_weights_trained_on_all_predict_unseen_nodules(
    nodules: Path, run_bundle: RunBundle, tmp_path: Path, rows_of: Rows
) -> None:
    run_bundle(
        *("run", "--config_file", f"['{BUNDLE}/train.json','{BUNDLE}/final.json']", "--dataset_dir", nodules),
        *("--epochs", "2", "--output_dir", tmp_path / "final", "--log_model", "false", *SMALL),
        folder=tmp_path,
    )
    assert not (tmp_path / "final" / "metrics.json").exists()
    unseen = write_phantom_nodules(tmp_path / "unseen", 12, seed=9)
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "evaluate.json", "--dataset_dir", unseen),
        *(
            "--weights",
            tmp_path / "final" / "model.pt",
            "--output_dir",
            tmp_path / "out",
            *SMALL[:-4],
            "--resamples",
            "50",
        ),
        folder=tmp_path,
    )
    assert "12 nodules of" in result.stdout and "| this network" in result.stdout
    assert (tmp_path / "out" / "figures" / "maps.png").is_file()
    rows = rows_of(tmp_path / "out")
    with open(unseen / "nodules.csv", newline="") as file:
        expected = [row["nodule_index"] for row in csv.DictReader(file)]
    assert [row["nodule"] for row in rows] == expected
    assert not any("phantom-" in row["patient"] for row in rows)


def test_a_network_for_transfer_is_trained_on_phantoms(nodules: Path, run_bundle: RunBundle, tmp_path: Path) -> None:
    run_bundle(
        *("run", "--config_file", f"['{BUNDLE}/train.json','{BUNDLE}/phantom.json']", "--dataset_dir", nodules),
        *("--epochs", "1", "--output_dir", tmp_path / "run", "--figures", "false", "--log_model", "false", *SMALL),
        folder=tmp_path,
    )
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "auroc" in metrics and "ruler_auroc" not in metrics
    assert read_checkpoint(tmp_path / "run" / "backbone.pt").source["network"] == "resnet10"


@pytest.mark.parametrize(("kind", "shape"), [("nodulemnist3d", (28, 28, 28)), ("pathmnist", (28, 28, 3))])
def test_a_medmnist_file_trains_and_evaluates_with_one_command(
    run_bundle: RunBundle,
    tmp_path: Path,
    kind: str,
    shape: tuple[int, ...],
    rows_of: Rows,
) -> None:
    random = np.random.default_rng(0)
    classes = 2 if kind == "nodulemnist3d" else 3
    arrays = {}
    for part, count in (("train", 48), ("val", 12), ("test", 24)):
        labels = random.integers(classes, size=(count, 1))
        images = random.integers(0, 60, size=(count, *shape))
        for image, label in zip(images, labels[:, 0], strict=True):
            image[4 : 8 + 6 * label, 4 : 8 + 6 * label] += 150
        arrays |= {f"{part}_images": images.astype(np.uint8), f"{part}_labels": labels.astype(np.uint8)}
    path = tmp_path / f"{kind}.npz"
    np.savez(path, **arrays)
    views = "3d" if kind == "nodulemnist3d" else "central"
    run_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--dataset_dir", path, "--epochs", "1"),
        *("--output_dir", tmp_path / "run", *SMALL, "--views", views, "--measured", "false", "--log_model", "false"),
        folder=tmp_path,
    )
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    rows = rows_of(tmp_path / "run")
    assert [row["nodule"] for row in rows] == [f"test-{index}" for index in range(24)]
    assert (tmp_path / "run" / "figures" / "maps.png").is_file() == (classes == 2)
    truth = arrays["test_labels"][:, 0].astype(int)
    # As MedMNIST's evaluator: binary at .5, else the largest; one class against the rest.
    if classes == 2:
        score = np.array([float(row["p_malignant"]) for row in rows])
        auc, acc = roc_auc_score(truth, score), accuracy_score(truth, score > 0.5)
    else:
        score = np.array([[float(row[f"p_{name}"]) for name in range(classes)] for row in rows])
        auc = np.mean([roc_auc_score(truth == name, score[:, name]) for name in range(classes)])
        acc = accuracy_score(truth, score.argmax(axis=1))
    assert metrics["auroc"]["value"] == pytest.approx(auc) and metrics["accuracy"]["value"] == pytest.approx(acc)


def test_a_killed_training_goes_on_and_ends_as_one_that_was_not(
    nodules: Path, run_bundle: RunBundle, start_bundle: Callable[..., Any], tmp_path: Path
) -> None:
    def arguments(name: str, *more: str) -> list[str]:
        own = ["run", "--config_file", str(BUNDLE / "train.json"), "--dataset_dir", str(nodules), "--epochs", "4"]
        own += ["--output_dir", str(tmp_path / name), "--figures", "false", "--log_model", "false", *SMALL, *more]
        return own

    run_bundle(*arguments("whole"), folder=tmp_path)
    process = start_bundle(*arguments("killed"), folder=tmp_path)
    end = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("checkpoint-*.pt")) and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()
    assert not (tmp_path / "killed" / "predictions.csv").exists()
    run_bundle(*arguments("killed", "--resume", "true"), folder=tmp_path)
    assert (tmp_path / "killed" / "predictions.csv").read_text() == (tmp_path / "whole" / "predictions.csv").read_text()
