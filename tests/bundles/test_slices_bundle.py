"""The slices bundle as a user runs it: trained, evaluated, applied to studies that nobody has read, as published."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from monai_staging.cohort import load_cohort
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.pretrained import read_checkpoint, write_checkpoint
from monai_staging.outputs.slices import read_ranked_slices
from monai_staging.workflows.slice_classes import CLASSES

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "slices"
RunBundle = Callable[..., subprocess.CompletedProcess[str]]
STUDY = ["--slices", "20", "--size", "64"]
SMALL = [*STUDY, "--width", "0.125", "--features", "32"]
QUIET = ["--system_metrics", "false", "--resamples", "20", "--log_model", "false"]


@pytest.fixture(scope="module")
def trained(screening_cohort: Path, run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slices")
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--dataset_dir", screening_cohort),
        *("--output_dir", folder / "run", "--epochs", "2", "--stretch", "6", "--count", "24", *SMALL, *QUIET),
        folder=folder,
    )
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


def test_training_ends_with_scores_ranked_slices_and_pictures(trained: Path, screening_cohort: Path) -> None:
    text = (trained / "stdout.txt").read_text()
    assert "phantoms (synthetic CT), test part" in text and "balanced accuracy" in text
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert {"balanced_accuracy", "auroc_nodule", "auroc_malignant", "recall_at_5", "found_at_20"} <= set(metrics)
    assert metrics["seconds_per_study"]["value"] > 0
    with open(trained / "run" / "slices.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    tested = load_cohort(screening_cohort).test
    assert len(rows) == 20 * len(tested) and {row["truth"] for row in rows} <= set(CLASSES)
    for name in ("confusion", "best", "losses"):
        assert (trained / "run" / "figures" / f"{name}.png").stat().st_size > 10_000


def test_nobodys_name_is_in_what_is_written(trained: Path, screening_cohort: Path) -> None:
    names = {case.patient for case in load_cohort(screening_cohort).cases}
    texts = [path.read_bytes() for path in (trained / "run").rglob("*") if path.is_file()]
    texts.append((trained / "mlruns.db").read_bytes())
    assert not [name for name in names if any(name.encode() in text for text in texts)]


def test_the_run_is_in_mlflow_and_the_weights_say_what_they_are(trained: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{trained}/mlruns.db")
    experiment = client.get_experiment_by_name("slices")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert {"test/balanced_accuracy", "val/auroc_nodule", "val/loss", "train/loss"} <= set(run.data.metrics)
    assert read_checkpoint(trained / "run" / "model.pt").source["task"] == "slices"


def test_evaluation_of_the_weights_gives_the_same_again(
    trained: Path, screening_cohort: Path, run_bundle: RunBundle
) -> None:
    run_bundle(
        *("run", "--config_file", BUNDLE / "evaluate.json", "--dataset_dir", screening_cohort),
        *("--weights", trained / "run" / "model.pt", "--output_dir", trained / "again", *SMALL, "--resamples", "20"),
        folder=trained,
    )
    one, again = (json.loads((trained / name / "metrics.json").read_text()) for name in ("run", "again"))
    assert {name: own for name, own in again.items() if name != "seconds_per_study"} == {
        name: own for name, own in one.items() if name != "seconds_per_study"
    }
    assert (trained / "again" / "slices.csv").read_text() == (trained / "run" / "slices.csv").read_text()


def test_studies_that_nobody_has_read_are_ranked_all_the_same(
    trained: Path, screening_cohort: Path, run_bundle: RunBundle
) -> None:
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "inference.json", "--dataset_dir", screening_cohort, "--limit", "1"),
        *("--weights", trained / "run" / "model.pt", "--output_dir", trained / "new", *SMALL),
        folder=trained,
    )
    assert "phantoms (synthetic CT), training + validation + test part" in result.stdout
    studies = read_ranked_slices(trained / "new" / "slices.csv", CLASSES)
    assert len(studies) == 3
    assert "truth" not in (trained / "new" / "slices.csv").read_text().splitlines()[0]
    assert {path.stem for path in (trained / "new" / "figures").iterdir()} == {study.case for study in studies}
    tested = read_ranked_slices(trained / "run" / "slices.csv", CLASSES)
    same = next(study for study in studies if study.case == tested[0].case)
    np.testing.assert_allclose(same.probabilities, tested[0].probabilities, atol=2e-4)
    assert not (trained / "new" / "metrics.json").exists()


def test_the_published_networks_run(screening_cohort: Path, run_bundle: RunBundle, tmp_path: Path) -> None:
    backbone = build_backbone("resnet50", in_channels=1, width=0.125)
    write_checkpoint(tmp_path / "backbone.pt", backbone, {"network": "resnet50"})
    run_bundle(
        *("run", "--config_file", f"['{BUNDLE / 'train.json'}','{BUNDLE / 'faithful.json'}']"),
        *("--dataset_dir", screening_cohort, "--output_dir", tmp_path / "run", "--epochs", "1", "--width", "0.125"),
        *("--backbone_weights", tmp_path / "backbone.pt", "--sector_num", "5", *STUDY, *QUIET),
        folder=tmp_path,
    )
    source = read_checkpoint(tmp_path / "run" / "model.pt")
    heads = {name.split(".")[1] for name in source.state if name.startswith("heads.")}
    assert len(heads) == 5
    kept = {name.removeprefix("backbones.0."): value for name, value in source.state.items() if "backbones" in name}
    assert all(torch.equal(value, kept[name]) for name, value in backbone.state_dict().items())
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_frozen_features_from_nowhere_are_refused_in_one_line(
    screening_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    result = run_bundle(
        *("run", "--config_file", f"['{BUNDLE / 'train.json'}','{BUNDLE / 'faithful.json'}']"),
        *("--dataset_dir", screening_cohort, "--output_dir", tmp_path / "run", *STUDY, *QUIET),
        folder=tmp_path,
        check=False,
    )
    assert result.returncode != 0 and "frozen features need weights to start from" in result.stderr
