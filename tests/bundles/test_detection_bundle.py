"""The detection bundle as a user runs it: train, evaluate, infer, resume."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser

from monai_staging.detection import OperatingPoints, read_detections
from monai_staging.networks.pretrained import read_checkpoint

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "detection"
CONFIGS = ("train", "evaluate", "inference")
NETWORK = {"width": 0.125, "channels": 8, "spacing_mm": 4.0, "anchors_mm": [12.0, 20.0], "size": 32}
# What evaluation and inference know nothing of.
TRAINING = ("--patches", "2", "--jitter_mm", "24")
SMALL = [part for name, value in NETWORK.items() for part in (f"--{name}", str(value).replace(" ", ""))]
RunBundle = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def trained(tiny_cohort: Path, run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of one epoch; its folder also holds the MLflow database."""
    folder = tmp_path_factory.mktemp("trained")
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--dataset_dir", tiny_cohort, "--epochs", "1"),
        *("--val_interval", "1", "--system_metrics", "false", "--resamples", "20", "--score", "0.001"),
        *("--output_dir", folder / "run", *SMALL, *TRAINING),
        folder=folder,
    )
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


def test_training_ends_with_froc_boxes_and_operating_points(trained: Path) -> None:
    text = (trained / "stdout.txt").read_text()
    assert "phantoms (synthetic CT), test part" in text and "| CPM " in text and "AP, IoU .5" in text
    assert "operating point, chosen on phantoms (synthetic CT), validation part" in text
    assert "mlflow ui --backend-store-uri" in text
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert all(
        set(metrics[name]) == {"value", "low", "high", "n"} for name in ("cpm", "ap_50", "frozen_1_fp_sensitivity")
    )
    points = OperatingPoints.load(trained / "run" / "operating_points.json")
    assert len(points.points) == 7 and points.chosen_on == "phantoms (synthetic CT), validation part"
    found = read_detections(trained / "run" / "detections.csv")
    assert len(found) and all(case.startswith("case-") for case in found.cases)
    # There is a lesion that was found, or one that was not.
    for name in ("froc", "lesion_1"):
        assert (trained / "run" / "figures" / f"{name}.png").stat().st_size > 10_000


def test_the_run_is_in_mlflow_and_the_weights_say_what_they_are(trained: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{trained}/mlruns.db")
    (run,) = client.search_runs([client.get_experiment_by_name("detection").experiment_id])
    assert run.info.status == "FINISHED"
    assert {
        "train/loss",
        "train/loss_boxes",
        "train/loss_classification",
        "train/loss_lesion_map",
        "val/cpm",
        "test/cpm",
    } <= set(run.data.metrics)
    assert {"model.pt", "operating_points.json"} <= {item.path for item in client.list_artifacts(run.info.run_id)}
    drawn = {f"figures/{path.name}" for path in (trained / "run" / "figures").iterdir()}
    assert {item.path for item in client.list_artifacts(run.info.run_id, "figures")} == drawn
    source = read_checkpoint(trained / "run" / "model.pt").source
    assert (source["detector"], source["network"], source["spacing_mm"]) == ("retinanet", "resnet10", 4.0)


def test_weights_evaluate_as_their_training_did(
    trained: Path, tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    run_bundle(
        *("run", "--config_file", BUNDLE / "evaluate.json", "--dataset_dir", tiny_cohort, "--resamples", "20"),
        *("--weights", trained / "run" / "model.pt", "--output_dir", tmp_path, "--score", "0.001", *SMALL),
        *("--figures", "false"),
        folder=tmp_path,
    )
    assert not (tmp_path / "figures").exists()
    for name in ("detections.csv", "metrics.json"):
        assert (tmp_path / name).read_bytes() == (trained / "run" / name).read_bytes()


def test_inference_needs_no_labels_and_keeps_what_counts(
    trained: Path, tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    cohort = tmp_path / "unlabelled"
    cohort.mkdir()
    document = json.loads((tiny_cohort / "cohort.json").read_text())
    cases = [{**case, "lesions": []} for case in document["test"]]
    (cohort / "cohort.json").write_text(json.dumps({**document, "training": cases, "validation": [], "test": []}))
    (cohort / "volumes").symlink_to(tiny_cohort / "volumes")
    (cohort / "masks").symlink_to(tiny_cohort / "masks")
    (cohort / ".case_key").write_bytes((tiny_cohort / ".case_key").read_bytes())
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "inference.json", "--dataset_dir", cohort, "--point", "4 fp/scan"),
        *("--weights", trained / "run" / "model.pt", "--output_dir", tmp_path, "--score", "0.001", *SMALL),
        folder=tmp_path,
    )
    assert not any(case["patient"] in result.stdout for case in cases)
    points = OperatingPoints.load(trained / "run" / "operating_points.json")
    every = read_detections(trained / "run" / "detections.csv")
    expected = points.apply(every, "4 fp/scan")
    found = read_detections(tmp_path / "detections.csv")
    assert found.cases == expected.cases and found.boxes_mm.tolist() == expected.boxes_mm.tolist()


def test_a_stopped_training_goes_on_as_if_it_had_not(
    tiny_cohort: Path, tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)

    def train(folder: str, stop_after: int | None = None, resume: bool = False) -> dict[str, torch.Tensor]:
        parser = ConfigParser()
        parser.read_config(BUNDLE / "train.json")
        settings = {**NETWORK, "epochs": 3, "limit": 3, "val_interval": 100, "system_metrics": False}
        parser.update({**settings, "dataset_dir": str(tiny_cohort), "output_dir": folder, "resume": resume})
        parser.get_parsed_content("initialize")
        trainer = parser.get_parsed_content("train#trainer")
        if stop_after is not None:
            trainer.add_event_handler(Events.EPOCH_STARTED(once=stop_after + 1), lambda engine: engine.terminate())
        trainer.run()
        parser.get_parsed_content("tracker").finish()
        return parser.get_parsed_content("net").state_dict()

    whole = train(str(tmp_path / "whole"))
    train(str(tmp_path / "stopped"), stop_after=1)
    # What a kill in the second epoch would leave.
    for path in (tmp_path / "stopped").glob("checkpoint-*.pt"):
        if path.name != "checkpoint-0001.pt":
            path.unlink()
    again = train(str(tmp_path / "stopped"), resume=True)
    for name, value in whole.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)


def test_the_configs_agree_on_network_and_scan() -> None:
    train, *others = (ConfigParser.load_config_file(str(BUNDLE / f"{name}.json")) for name in CONFIGS)
    names = ("network", "width", "levels", "channels", "spacing_mm", "size", "windows", "anchors_mm")
    for other in others:
        for name in (*names, "scanner", "region", "overlap", "score", "iou", "most"):
            assert other[name] == train[name], name
        given = {"weights": train["network_def"]["weights"]}
        assert {**other["network_def"], **given} == train["network_def"]
        assert other["detector"]["anchor_sizes"] == train["detector"]["anchor_sizes"]
