"""The box regressor's configs as a user runs them."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import torch
from monai.bundle import ConfigParser

from monai_staging.networks.box_regressor import PlainBoxRegressor
from monai_staging.networks.pretrained import read_checkpoint
from monai_staging.workflows.boxes import BoxPrepareBatch

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "detection"
SMALL = ["--size", "64", "--system_metrics", "false", "--resamples", "20", "--log_model", "false"]
NARROW = ["--width", "0.125", "--features", "16", "--coarse", "64", "--close", "64"]
RunBundle = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def trained(tiny_cohort: Path, run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training on the cohort's own parts; its folder also holds the MLflow database."""
    folder = tmp_path_factory.mktemp("boxes")
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "boxes.json", "--dataset_dir", tiny_cohort, "--epochs", "2"),
        *("--output_dir", folder / "run", *SMALL, *NARROW),
        folder=folder,
    )
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


def test_training_ends_with_metrics_rows_and_pictures(trained: Path) -> None:
    text = (trained / "stdout.txt").read_text()
    assert "phantoms (synthetic CT), slices of held-out patients" in text and "LEAKS" not in text
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert set(metrics["iou"]) == {"value", "low", "high", "n"} and metrics["leaking_patients"]["value"] == 0
    with open(trained / "run" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows and {row["leaks"] for row in rows} == {"no"}
    for name in ("best", "median", "worst", "losses"):
        assert (trained / "run" / "figures" / f"{name}.png").stat().st_size > 10_000
    assert not (trained / "run" / "untouched").exists()


def test_the_run_is_in_mlflow_and_the_weights_say_what_they_are(trained: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{trained}/mlruns.db")
    experiment = client.get_experiment_by_name("boxes")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.data.tags["split.leaks"] == "false"
    assert {"test/iou", "val/iou", "val/loss", "train/loss"} <= set(run.data.metrics)
    source = read_checkpoint(trained / "run" / "model.pt").source
    assert source["task"] == "boxes" and source["size"] == 64


def test_a_training_from_weights_says_what_they_did_untouched_and_goes_on_where_it_was_killed(
    trained: Path, tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    arguments = ["run", "--config_file", BUNDLE / "boxes.json", "--dataset_dir", tiny_cohort, "--figures", "false"]
    arguments += ["--weights", trained / "run" / "model.pt", "--output_dir", tmp_path / "run", *SMALL, *NARROW]
    run_bundle(*arguments, "--epochs", "1", folder=tmp_path)
    before = (trained / "run" / "predictions.csv").read_text()
    assert (tmp_path / "run" / "untouched" / "predictions.csv").read_text() == before
    run_bundle(*arguments, "--epochs", "2", "--resume", "true", folder=tmp_path)
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2]
    assert (tmp_path / "run" / "untouched" / "predictions.csv").read_text() == before


def test_the_faithful_config_is_the_published_network(tiny_cohort: Path) -> None:
    config = ConfigParser(
        ConfigParser.load_config_files([str(BUNDLE / "boxes.json"), str(BUNDLE / "boxes_faithful.json")])
    )
    assert (config["size"], config["epochs"], config["split"]) == (512, 1000, "slice")
    config.update({"dataset_dir": str(tiny_cohort), "size": 64})
    network = config.get_parsed_content("network_def")
    assert isinstance(network, PlainBoxRegressor) and network.layers[0].in_channels == 1
    assert isinstance(config.get_parsed_content("loss"), torch.nn.MSELoss)
    optimizer = config.get_parsed_content("optimizer")
    assert type(optimizer) is torch.optim.Adam and optimizer.defaults["weight_decay"] == 0
    prepare = config.get_parsed_content("train#prepare_batch")
    assert isinstance(prepare, BoxPrepareBatch) and prepare.augment is None and not prepare.details
    trainer = config.get_parsed_content("train#trainer")
    assert trainer.state.max_epochs == 1000
    assert not any("LrSchedule" in str(handler) for handler in config.get_parsed_content("train#handlers"))


def test_the_faithful_config_trains_to_its_end(tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path) -> None:
    both = [str(BUNDLE / "boxes.json"), str(BUNDLE / "boxes_faithful.json")]
    result = run_bundle(
        *("run", "--config_file", str(both), "--dataset_dir", tiny_cohort, "--epochs", "1", "--val_interval", "1"),
        *("--output_dir", tmp_path / "run", "--figures", "false", "--slices_per_case", "4", *SMALL),
        folder=tmp_path,
    )
    assert "two convolutions, MSE" in result.stdout and "LEAKS" in result.stdout
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["iou"]["n"] and metrics["leaking_patients"]["value"] > 0
    assert len(json.loads((tmp_path / "run" / "history.json").read_text())) == 1
