"""The segmentation bundle as a user runs it: phantom nodules, other networks and views, weights evaluated again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest

from monai_staging.cohort.nodules.phantom import write_phantom_nodules
from monai_staging.networks.pretrained import read_checkpoint
from monai_staging.outputs.segmentation import read_segmentations, segmentation_metrics

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "segmentation"
SIZE = ["--width", "0.5", "--size", "32", "--spacing_mm", "1.3"]
SMALL = [*SIZE, "--system_metrics", "false", "--resamples", "50", "--log_model", "false"]
RunBundle = Callable[..., subprocess.CompletedProcess[str]]
Rows = Callable[[Path], list[dict[str, str]]]


@pytest.fixture(scope="module")
def nodules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four phantom nodules."""
    return write_phantom_nodules(tmp_path_factory.mktemp("nodules"), 24, seed=3)


@pytest.fixture(scope="module")
def trained(nodules: Path, run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of a few epochs; its folder also holds the MLflow database."""
    folder = tmp_path_factory.mktemp("trained")
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--dataset_dir", nodules, "--epochs", "4", "--folds", "3"),
        *("--val_interval", "2", "--batch_size", "16", "--output_dir", folder / "run", *SMALL),
        folder=folder,
    )
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


def test_training_ends_with_network_and_readers_side_by_side(trained: Path, rows_of: Rows) -> None:
    text = (trained / "stdout.txt").read_text()
    assert "phantom nodules (synthetic), test part" in text
    for words in ("this network", "a reader", "network - reader"):
        assert f"| {words}" in text
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert set(metrics["dice"]) == {"value", "low", "high", "n"}
    rows = rows_of(trained / "run")
    assert metrics["dice"]["value"] == pytest.approx(np.mean([float(row["dice"]) for row in rows]), abs=1e-5)
    assert metrics["dice"]["value"] > 0.2  # it has learned something
    several = [row for row in rows if int(row["readers"]) > 1]
    assert all(bool(row["reader_dice"]) == (int(row["readers"]) > 1) for row in rows)
    readers = np.mean([float(row["reader_dice"]) for row in several])
    assert metrics["reader_dice"]["value"] == pytest.approx(readers, abs=1e-5)
    assert not any("phantom-" in row["patient"] for row in rows)
    for name in ("nodules", "gates"):
        assert (trained / "run" / "figures" / f"{name}.png").stat().st_size > 10_000


def test_the_rows_give_the_metrics_again(trained: Path) -> None:
    nodules = read_segmentations([trained / "run" / "predictions.csv"])
    again = segmentation_metrics(nodules, n_boot=50)
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert set(again) == set(metrics)
    for name, estimate in again.items():
        assert estimate.value == pytest.approx(metrics[name]["value"], rel=1e-4, abs=1e-4)


def test_the_run_is_in_mlflow_and_the_weights_say_what_they_are(trained: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{trained}/mlruns.db")
    (run,) = client.search_runs([client.get_experiment_by_name("segmentation").experiment_id])
    assert run.info.status == "FINISHED"
    assert "test/dice" in run.data.metrics and "val/dice" in run.data.metrics
    drawn = {item.path for item in client.list_artifacts(run.info.run_id, "figures")}
    assert drawn == {"figures/nodules.png", "figures/gates.png"}
    checkpoint = read_checkpoint(trained / "run" / "model.pt")
    assert checkpoint.source["network"] == "attention_unet" and checkpoint.source["views"] == "2.5d"


def test_weights_evaluate_a_fold_as_its_training_did(
    trained: Path,
    nodules: Path,
    run_bundle: RunBundle,
    tmp_path: Path,
    rows_of: Rows,
) -> None:
    run_bundle(
        *("run", "--config_file", BUNDLE / "evaluate.json", "--dataset_dir", nodules, *SIZE),
        *("--weights", trained / "run" / "model.pt", "--folds", "3", "--resamples", "50", "--output_dir", tmp_path),
        *("--figures", "false"),
        folder=tmp_path,
    )
    assert rows_of(tmp_path) == rows_of(trained / "run")
    assert not (tmp_path / "figures").exists()


def test_a_cube_is_segmented_by_another_network(
    nodules: Path, run_bundle: RunBundle, tmp_path: Path, rows_of: Rows
) -> None:
    run_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--dataset_dir", nodules, "--epochs", "1", "--folds", "3"),
        *("--network", "dynunet", "--pyramid", "true", "--views", "3d", "--size", "24", "--spacing_mm", "2"),
        *("--loss_name", "tversky", "--soft_labels", "true", "--flips", "2", "--balance", "0", "--batch_size", "4"),
        *("--output_dir", tmp_path / "run", "--figures", "false", *SMALL[:2], *SMALL[6:]),
        folder=tmp_path,
    )
    rows = rows_of(tmp_path / "run")
    assert len(rows) >= 6 and all(float(row["volume_mm3"]) > 0 for row in rows)
