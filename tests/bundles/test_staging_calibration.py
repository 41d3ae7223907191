"""The staging bundle's calibration as a user runs it: calibrate, evaluate, infer; ensembles and passes with dropout."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from monai_staging.metrics.staging_calibration import StagingCalibration
from monai_staging.networks.pretrained import write_checkpoint
from monai_staging.tnm.categories import LETTERS
from monai_staging.workflows.staging_calibration import calibration_file, model_digests

BUNDLE = Path(__file__).parents[2] / "bundles" / "staging"
KEYS = {"network": "resnet10", "size": [48, 48, 24], "spacing_mm": [7.0, 7.0, 14.0], "width": 0.125}
SMALL = ["--resamples", "20", "--network", KEYS["network"]]
SMALL += [text for name in ("size", "spacing_mm", "width") for text in (f"--{name}", json.dumps(KEYS[name]))]
CALIBRATE = str([str(BUNDLE / "evaluate.json"), str(BUNDLE / "calibrate.json")])
RunBundle = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of two networks that nobody trained."""
    files = []
    for seed in (1, 2):
        config = ConfigParser(ConfigParser.load_config_file(str(BUNDLE / "evaluate.json")))
        config.update(KEYS)
        torch.manual_seed(seed)
        network = config.get_parsed_content("network_def")
        for letter in LETTERS:
            torch.nn.init.normal_(network.heads[letter][-1].weight, std=0.5)
        files.append(tmp_path_factory.mktemp("weights") / "model.pt")
        write_checkpoint(files[-1], network, {})
    return files


@pytest.fixture(scope="module")
def calibrated(
    weights: list[Path], tiny_cohort: Path, run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a calibration on all parts of the cohort, as twelve patients are hardly enough."""
    folder = tmp_path_factory.mktemp("calibrated")
    result = run_bundle(
        *("run", "--config_file", CALIBRATE, "--dataset_dir", tiny_cohort, "--weights", weights[0]),
        *("--part", "['training','validation','test']", "--coverage", "0.6", "--output_dir", folder / "out", *SMALL),
        *("--attention_cases", "0"),
        folder=folder,
    )
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


def test_calibrating_writes_beside_the_weights_and_tells(
    calibrated: Path, weights: list[Path], tiny_cohort: Path
) -> None:
    found = StagingCalibration.load(calibration_file(weights[0]), model_digests(weights[0]))
    assert (found.level, found.method, found.chose_epoch) == (0.6, "temperature", True)
    assert found.fitted_on == "phantoms (synthetic CT), training + validation + test part"
    assert max(found.patients.values()) <= 12 and found.thresholds["t"].patients >= 6
    text = (calibrated / "stdout.txt").read_text()
    assert "| Stage group" in text and all(line in text for line in found.statement())
    assert str(weights[0].with_name("calibration.json")) in text
    assert json.loads((calibrated / "out" / "metrics.json").read_text())["t_log_loss"]["n"] >= 6
    assert (calibrated / "out" / "figures" / "calibration.png").is_file()


def test_an_evaluation_and_an_inference_use_it_unless_told_otherwise(
    calibrated: Path, weights: list[Path], tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    common = ["--dataset_dir", tiny_cohort, "--weights", weights[0], "--attention_cases", "0", *SMALL]
    evaluate = ["run", "--config_file", BUNDLE / "evaluate.json", *common]
    told = run_bundle(*evaluate, "--output_dir", tmp_path / "with", folder=tmp_path)
    run_bundle(
        *(*evaluate, "--calibration", "none", "--figures", "false", "--output_dir", tmp_path / "without"),
        folder=tmp_path,
    )
    after, before = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("with", "without"))
    added = set(after) - set(before)
    # Whatever was there before means what it meant before.
    assert {name: after[name] for name in before} == before
    texts = [(tmp_path / name / "predictions.csv").read_bytes() for name in ("with", "without")]
    assert texts[0] == texts[1]
    assert {"t_calibrated_ece", "group_log_loss_gain", "n_set_coverage", "group_set_size"} <= added
    assert after["m_set_size"]["value"] >= 1 and "60 % sets" in told.stdout
    assert (tmp_path / "with" / "figures" / "calibration.png").is_file()

    infer = ["run", "--config_file", BUNDLE / "inference.json", *common]
    told = run_bundle(*infer, "--output_dir", tmp_path / "out", folder=tmp_path)
    documents = json.loads((tmp_path / "out" / "predictions.json").read_text())
    found = StagingCalibration.load(calibration_file(weights[0]))
    assert len(documents) == 12 and "60 % sets: T " in told.stdout
    for document in documents:
        assert document["set_level"] == 0.6
        for name in (*LETTERS, "group"):
            one = document[name]
            assert one["set"] and list(one["calibrated_probabilities"]) == list(one["probabilities"])
            assert sum(one["calibrated_probabilities"].values()) == pytest.approx(1, abs=2e-3)
    # Of the network's probabilities a program gets the same sets.
    with open(tmp_path / "out" / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, document in zip(rows, documents, strict=True):
        letters = {letter: {name: float(row[f"p_{name}"]) for name in found.classes[letter]} for letter in LETTERS}
        assert found.sets(letters) == {name: tuple(document[name]["set"]) for name in (*LETTERS, "group")}


def test_an_ensemble_with_passes_of_dropout_has_a_calibration_of_its_own(
    weights: list[Path], tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    both = str(list(map(str, weights)))
    common = ["--dataset_dir", tiny_cohort, "--weights", both, "--passes", "2", "--limit", "2", *SMALL]
    run_bundle(
        *("run", "--config_file", CALIBRATE, "--figures", "false", "--output_dir", tmp_path / "fit", *common),
        folder=tmp_path,
    )
    path = calibration_file(weights, 2)
    assert StagingCalibration.load(path, model_digests(weights), 2).chose_epoch and path.parent == weights[0].parent
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "evaluate.json", "--attention_cases", "0", *common),
        *("--figures", "false", "--output_dir", tmp_path / "out"),
        folder=tmp_path,
    )
    assert "mean of 2 networks" in result.stdout and "mean of 2 passes" in result.stdout


def test_a_calibration_of_other_weights_stops_the_run(
    calibrated: Path, weights: list[Path], tiny_cohort: Path, tmp_path: Path
) -> None:
    config = ConfigParser(ConfigParser.load_config_file(str(BUNDLE / "evaluate.json")))
    file = str(calibration_file(weights[0]))
    config.update({"dataset_dir": str(tiny_cohort), "weights": str(weights[1]), "calibration": file})
    with pytest.raises(RuntimeError) as caught:
        config.get_parsed_content("report#calibration")
    assert "it belongs to weights with SHA-256" in str(caught.value.__cause__)


def test_the_shipped_calibration_is_that_of_the_shipped_weights() -> None:
    shipped = calibration_file(BUNDLE / "models" / "model.pt")
    found = StagingCalibration.load(shipped, model_digests(BUNDLE / "models" / "model.pt"))
    assert found.chose_epoch and found.level == 0.9 and "phantoms (synthetic CT)" in found.fitted_on
    card = (BUNDLE / "README.md").read_text()
    assert all(f"{value:.2f}" in card for value in found.temperatures.values())
