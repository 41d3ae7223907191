"""The mitosis bundle as a user runs it: both networks are trained, ours evaluated and run on files."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from monai.bundle import ConfigParser

from monai_staging.histology.phantom import HistologyConfig, default_slides
from monai_staging.networks.pretrained import read_checkpoint

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "mitosis"
RunBundle = Callable[..., subprocess.CompletedProcess[str]]
NETWORK = {"network": "resnet10", "width": 0.25, "channels": 16}
FAITHFUL = {"filters": [8, 8], "affine": 16}


def arguments(settings: dict) -> list[str]:
    return [part for name, value in settings.items() for part in (f"--{name}", str(value).replace(" ", ""))]


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = HistologyConfig(patients=8, size=384, mitoses=80)
    return default_slides(tmp_path_factory.mktemp("slides") / "phantom-mitosis", config)


@pytest.fixture(scope="module")
def trained(slides: Path, run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of a few epochs; its folder also holds the MLflow database."""
    folder = tmp_path_factory.mktemp("mitosis")
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--dataset_dir", slides, "--output_dir", folder / "run"),
        *("--epochs", "30", "--val_interval", "15", "--tile", "96", "--tiles", "16", "--batch_size", "16"),
        *("--system_metrics", "false", "--resamples", "20", *arguments(NETWORK)),
        folder=folder,
    )
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


def test_a_training_ends_with_points_of_held_out_slides(trained: Path) -> None:
    assert "phantom slides (drawn, no tissue), test part" in (trained / "stdout.txt").read_text()
    run = trained / "run"
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics) == {"f1", "precision", "recall", "average_precision"} and metrics["f1"]["value"] > 0.05
    assert json.loads((run / "threshold.json").read_text())["chosen_on"].startswith("phantom slides")
    history = json.loads((run / "history.json").read_text())
    assert history[-1]["loss"] < history[0]["loss"] and "val_f1" in history[-1]
    client = mlflow.MlflowClient(f"sqlite:///{trained}/mlruns.db")
    (tracked,) = client.search_runs([client.get_experiment_by_name("mitosis").experiment_id])
    assert tracked.info.status == "FINISHED" and tracked.data.metrics["test/f1"] == metrics["f1"]["value"]
    assert read_checkpoint(run / "model.pt").source["network"] == "resnet10"


def test_weights_evaluate_as_their_training_did(
    trained: Path, slides: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    run_bundle(
        *("run", "--config_file", BUNDLE / "evaluate.json", "--dataset_dir", slides, *arguments(NETWORK)),
        *("--weights", trained / "run" / "model.pt", "--resamples", "20", "--output_dir", tmp_path / "out"),
        folder=tmp_path,
    )
    for name in ("metrics.json", "points.csv"):
        assert (tmp_path / "out" / name).read_text() == (trained / "run" / name).read_text()


def test_files_give_points_and_maps(trained: Path, slides: Path, run_bundle: RunBundle, tmp_path: Path) -> None:
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "inference.json", "--dataset_dir", slides / "images", *arguments(NETWORK)),
        *("--weights", trained / "run" / "model.pt", "--output_dir", tmp_path / "out"),
        *("--slide_microns_per_pixel", "0.25"),
        folder=tmp_path,
    )
    assert "8 slides:" in result.stdout
    assert len(list((tmp_path / "out" / "maps").iterdir())) == 8
    with open(tmp_path / "out" / "points.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows and all(0 <= float(row["x_px"]) < 384 and row["right"] == "" for row in rows)


def test_weights_that_are_not_there_are_named(slides: Path, run_bundle: RunBundle, tmp_path: Path) -> None:
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "inference.json", "--dataset_dir", slides / "images"),
        *("--weights", tmp_path / "none.pt", "--output_dir", tmp_path / "out"),
        folder=tmp_path,
        check=False,
    )
    assert result.returncode != 0 and "none.pt" in result.stderr


def test_the_published_network_is_trained_with_negative_feed(
    slides: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    both = [str(BUNDLE / "train.json"), str(BUNDLE / "faithful.json")]
    result = run_bundle(
        *("run", "--config_file", str(both), "--dataset_dir", slides, "--output_dir", tmp_path / "run"),
        *("--epochs", "2", "--feed", "true", "--positive_fraction", "0.333", "--system_metrics", "false"),
        *("--resamples", "20", *arguments(FAITHFUL)),
        folder=tmp_path,
    )
    assert "negative feed:" in result.stdout + result.stderr
    tiles = json.loads((tmp_path / "run" / "tiles.json").read_text())
    assert set(tiles) == {"accuracy", "balanced_accuracy", "f1", "precision", "recall"}
    assert (tmp_path / "run" / "figures" / "tiles.png").is_file() and (tmp_path / "run" / "metrics.json").is_file()


def test_two_stages_are_trained_evaluated_and_run(slides: Path, run_bundle: RunBundle, tmp_path: Path) -> None:
    def configs(*names: str) -> str:
        return str([str(BUNDLE / f"{name}.json") for name in names])

    small = arguments({**NETWORK, "judge_width": 0.25, "judge_tile": 32})
    run_bundle(
        *("run", "--config_file", configs("train", "two_stage", "two_stage_train"), "--dataset_dir", slides),
        *("--epochs", "8", "--val_interval", "8", "--tile", "96", "--tiles", "8", "--batch_size", "16"),
        *("--judge_epochs", "3", "--system_metrics", "false", "--resamples", "20", "--figures", "false"),
        *("--output_dir", tmp_path / "run", *small),
        folder=tmp_path,
    )
    weights = ("--weights", tmp_path / "run" / "model.pt", "--output_dir", tmp_path / "out", *small)
    run_bundle(
        *("run", "--config_file", configs("evaluate", "two_stage"), "--dataset_dir", slides, "--resamples", "20"),
        *("--figures", "false", *weights),
        folder=tmp_path,
    )
    assert (tmp_path / "out" / "points.csv").read_text() == (tmp_path / "run" / "points.csv").read_text()
    result = run_bundle(
        *("run", "--config_file", configs("inference", "two_stage"), "--dataset_dir", slides / "images" / "000.tif"),
        *("--slide_microns_per_pixel", "0.25", *weights),
        folder=tmp_path,
    )
    assert "1 slides:" in result.stdout


def test_a_map_is_learned_against_a_discriminator(slides: Path, run_bundle: RunBundle, tmp_path: Path) -> None:
    both = [str(BUNDLE / "train.json"), str(BUNDLE / "pix2pix.json")]
    run_bundle(
        *("run", "--config_file", str(both), "--dataset_dir", slides, "--output_dir", tmp_path / "run"),
        *("--epochs", "6", "--val_interval", "6", "--tile", "64", "--tiles", "8", "--discriminator_channels", "8"),
        *("--system_metrics", "false", "--resamples", "20", "--figures", "false", *arguments(NETWORK)),
        folder=tmp_path,
    )
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert {"loss_adversarial", "loss_distance", "loss_discriminator"} <= set(history[-1])
    assert history[-1]["loss_distance"] < history[0]["loss_distance"]
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_the_configs_agree_on_network_and_slide() -> None:
    train, *others = (
        ConfigParser.load_config_file(str(BUNDLE / f"{name}.json")) for name in ("train", "evaluate", "inference")
    )
    names = ("network", "width", "channels", "tile", "filters", "kernel", "affine", "dropout", "stain", "normalize")
    for other in others:
        for name in (*names, "microns_per_pixel", "window", "smooth_um", "floor", "regions", "stains", "slide_pass"):
            assert other[name] == train[name], name
        assert {**other["network_def"], "weights": train["network_def"]["weights"]} == train["network_def"]
        assert other["inferer"] == train["slide_inferer"]
