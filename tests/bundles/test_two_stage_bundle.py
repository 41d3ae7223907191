"""The two-stage detector as a user runs it: train, evaluate, infer, and a stage that was stopped goes on."""

from __future__ import annotations

import hashlib
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

BUNDLE = Path(__file__).parents[2] / "bundles" / "detection"
NETWORK = {
    "threshold": 0.01,
    "width": 0.125,
    "spacing_mm": [4.0, 4.0, 4.0],
    "classifier_width": 0.0625,
    "cube": 16,
    "cube_spacing_mm": 4.0,
}
TRAINING = {"size": 32, "patches": 4, "epochs": 3, "classifier_epochs": 2, "rounds": 2, "copies": 4, "batch_size": 8}
RunBundle = Callable[..., subprocess.CompletedProcess[str]]


def configs(*names: str) -> list[str]:
    return [str(BUNDLE / f"{name}.json") for name in names]


def arguments(settings: dict) -> list[str]:
    return [part for name, value in settings.items() for part in (f"--{name}", str(value).replace(" ", ""))]


TRAIN = configs("train", "two_stage", "two_stage_train")


@pytest.fixture(scope="module")
def trained(tiny_cohort: Path, run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of a few steps; its folder also holds the MLflow database."""
    folder = tmp_path_factory.mktemp("two-stage")
    result = run_bundle(
        *("run", "--config_file", str(TRAIN), "--dataset_dir", tiny_cohort, "--output_dir", folder / "run"),
        *("--system_metrics", "false", "--resamples", "20", "--val_interval", "3"),
        *arguments({**NETWORK, **TRAINING}),
        folder=folder,
    )
    (folder / "stdout.txt").write_text(result.stdout + result.stderr)
    return folder


def test_one_command_trains_both_stages_and_scores_them(trained: Path) -> None:
    text = (trained / "stdout.txt").read_text()
    assert "hard negatives: " in text and "| CPM " in text
    assert "operating point, chosen on phantoms (synthetic CT), validation part" in text
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert {"cpm", "ap_50", "frozen_1_fp_sensitivity"} <= set(metrics)
    found = read_detections(trained / "run" / "detections.csv")
    assert len(found) and ((found.scores > 0) & (found.scores < 1)).all()
    for name, epochs in (("history", 3), ("classifier_history", 2)):
        assert len(json.loads((trained / "run" / f"{name}.json").read_text())) == epochs


def test_both_stages_are_one_run_and_one_file_of_weights(trained: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{trained}/mlruns.db")
    (run,) = client.search_runs([client.get_experiment_by_name("detection").experiment_id])
    assert run.info.status == "FINISHED"
    assert {"train/loss", "val/cpm", "classifier/loss", "classifier/val_cpm", "test/cpm"} <= set(run.data.metrics)
    weights = read_checkpoint(trained / "run" / "model.pt")
    assert {name.split(".")[0] for name in weights.state} == {"segmenter", "classifier"}
    assert (weights.source["detector"], weights.source["network"]) == ("two-stage", "attention_unet")


def test_weights_evaluate_as_their_training_did_and_infer_without_labels(
    trained: Path, tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    common = ("--dataset_dir", tiny_cohort, "--weights", trained / "run" / "model.pt", *arguments(NETWORK))
    run_bundle(
        *("run", "--config_file", str(configs("evaluate", "two_stage")), "--output_dir", tmp_path / "evaluation"),
        *("--resamples", "20", *common),
        folder=tmp_path,
    )
    for name in ("detections.csv", "metrics.json"):
        assert (tmp_path / "evaluation" / name).read_bytes() == (trained / "run" / name).read_bytes()
    run_bundle(
        *("run", "--config_file", str(configs("inference", "two_stage")), "--output_dir", tmp_path / "inference"),
        *("--part", "test", "--point", "8 fp/scan", *common),
        folder=tmp_path,
    )
    points = OperatingPoints.load(trained / "run" / "operating_points.json")
    expected = points.apply(read_detections(trained / "run" / "detections.csv"), "8 fp/scan")
    found = read_detections(tmp_path / "inference" / "detections.csv")
    assert found.cases == expected.cases and found.boxes_mm.tolist() == expected.boxes_mm.tolist()


def test_a_training_stopped_in_either_stage_goes_on_as_if_it_had_not(
    tiny_cohort: Path, tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri)

    def train(folder: Path, stopped: str | None = None, resume: bool = False) -> dict[str, torch.Tensor]:
        """Both stages, or up to what a kill in the second epoch of one would leave."""
        parser = ConfigParser()
        parser.read_config(TRAIN)
        settings = {**NETWORK, **TRAINING, "limit": 3, "val_interval": 100, "system_metrics": False}
        settings |= {"epochs": 2, "dataset_dir": str(tiny_cohort), "output_dir": str(folder), "resume": resume}
        parser.update(settings)
        parser.get_parsed_content("initialize")
        for stage in ("train", "classify"):
            trainer = parser.get_parsed_content(f"{stage}#trainer")
            if stage == stopped:
                trainer.add_event_handler(Events.EPOCH_STARTED(once=2), lambda engine: engine.terminate())
            trainer.run()
            if stage == stopped:
                (left,) = folder.glob("checkpoint-*.pt" if stage == "train" else "classifier-*/checkpoint-*.pt")
                assert left.name == "checkpoint-0001.pt"
                break
        parser.get_parsed_content("tracker").finish()
        return parser.get_parsed_content("net").state_dict()

    whole = train(tmp_path / "whole")
    for stopped, resume in (("train", False), ("classify", True), (None, True)):
        again = train(tmp_path / "stopped", stopped, resume)
    for name, value in whole.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)


def test_the_second_stage_learns_from_another_cohort_while_the_first_stays(
    trained: Path, tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    run_bundle(
        *("run", "--config_file", str([*TRAIN, *configs("second_stage_train")])),
        *("--dataset_dir", tiny_cohort, "--output_dir", tmp_path / "run", "--limit", "3", "--resamples", "20"),
        *("--start_weights", trained / "run" / "model.pt", "--system_metrics", "false", "--figures", "false"),
        *arguments({**NETWORK, **TRAINING}),
        folder=tmp_path,
    )
    before, after = (read_checkpoint(folder / "run" / "model.pt").state for folder in (trained, tmp_path))
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert {name for name in before if name.startswith("segmenter.")} <= same
    assert not {name for name in before if name.startswith("classifier.") and name.endswith("weight")} <= same
    assert "cpm" in json.loads((tmp_path / "run" / "metrics.json").read_text())


def test_what_the_overlay_turns_off_is_what_it_names() -> None:
    train = ConfigParser.load_config_file(str(BUNDLE / "train.json"))
    overlay = ConfigParser.load_config_file(str(BUNDLE / "two_stage_train.json"))
    handlers = train["train"]["handlers"]
    assert overlay["train#handlers#4"]["_disabled_"]
    assert overlay["train#handlers#4"]["_target_"] == handlers[4]["_target_"]
    assert "network" in handlers[5] and handlers[5]["_target_"].endswith("GradientNorm")


def test_the_shipped_weights_are_whole_and_find_phantom_nodules_without_being_named(
    tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    shipped = BUNDLE / "models" / "two_stage"
    document = json.loads((shipped / "model.json").read_text())
    data = (shipped / "model.pt").read_bytes()
    assert hashlib.sha256(data).hexdigest() == document["sha256"] and len(data) == document["bytes"] <= 8_000_000
    assert document["metrics"]["cpm"]["n"] == 40
    run_bundle(
        *("run", "--config_file", str(configs("evaluate", "two_stage")), "--dataset_dir", tiny_cohort, "--limit", "2"),
        *("--output_dir", tmp_path, "--resamples", "20", "--figures", "false"),
        folder=tmp_path,
    )
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert "frozen_1_fp_sensitivity" in metrics and len(read_detections(tmp_path / "detections.csv"))
