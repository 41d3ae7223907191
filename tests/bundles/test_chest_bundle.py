"""Whole chests in the segmentation bundle as a user runs it: training, evaluation of weights, and inference."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
from monai.bundle import ConfigParser

from monai_staging.cohort import load_cohort
from monai_staging.cohort.volume import read_mask, read_volume
from monai_staging.networks.pretrained import read_checkpoint

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "segmentation"
RunBundle = Callable[..., subprocess.CompletedProcess[str]]
Rows = Callable[[Path], list[dict[str, str]]]
NETWORK = ["--width", "0.5", "--place", "true", "--spacing_mm", "[4.0,4.0,5.0]", "--window", "[48,48,32]"]
LIMITS = ["--test_limit", "2", "--val_limit", "1", "--patch", "[24,24,16]", "--batch_size", "4"]


@pytest.fixture(scope="module")
def trained(tiny_cohort: Path, run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of a few epochs; its folder also holds the MLflow database."""
    folder = tmp_path_factory.mktemp("chest")
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "chest.json", "--dataset_dir", tiny_cohort, "--output_dir", folder / "run"),
        *("--epochs", "3", "--patches", "6", "--val_interval", "3", "--resamples", "20", "--system_metrics", "false"),
        *("--cache", folder / "cache", *NETWORK, *LIMITS),
        folder=folder,
    )
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


def test_training_ends_with_scores_of_whole_scans(trained: Path, rows_of: Rows) -> None:
    assert "phantoms (synthetic CT), test part: 2 scans of 2 patients" in (trained / "stdout.txt").read_text()
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    rows = rows_of(trained / "run")
    assert metrics["dice"]["value"] == pytest.approx(np.mean([float(row["dice"]) for row in rows]), abs=1e-5)
    assert set(metrics) >= {"hd95_mm", "surface_dice", "volume_error_mm3", "diameter_error_mm", "t_exact"}
    history = json.loads((trained / "run" / "history.json").read_text())
    assert len(history) == 3 and history[-1]["loss"] < history[0]["loss"] and "val_dice" in history[-1]
    client = mlflow.MlflowClient(f"sqlite:///{trained}/mlruns.db")
    (run,) = client.search_runs([client.get_experiment_by_name("segmentation-chest").experiment_id])
    assert run.info.status == "FINISHED" and "test/t_exact" in run.data.metrics
    source = read_checkpoint(trained / "run" / "model.pt").source
    assert source["spacing_mm"] == "[4.0, 4.0, 5.0]" and source["in_channels"] == 5 and source["place"] == "true"


def test_weights_evaluate_as_their_training_did(
    trained: Path,
    tiny_cohort: Path,
    run_bundle: RunBundle,
    tmp_path: Path,
    rows_of: Rows,
) -> None:
    run_bundle(
        *("run", "--config_file", BUNDLE / "chest_evaluate.json", "--dataset_dir", tiny_cohort, *NETWORK),
        *("--weights", trained / "run" / "model.pt", "--limit", "2", "--resamples", "20", "--output_dir", tmp_path),
        folder=tmp_path,
    )
    assert rows_of(tmp_path) == rows_of(trained / "run")
    assert (tmp_path / "figures" / "scans.png").stat().st_size > 20_000


def test_a_training_goes_on_from_weights_where_they_were_wrong(
    trained: Path, tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    result = run_bundle(
        *(
            "run",
            "--config_file",
            BUNDLE / "chest.json",
            "--dataset_dir",
            tiny_cohort,
            "--output_dir",
            tmp_path / "run",
        ),
        *("--start_weights", trained / "run" / "model.pt", "--epochs", "1", "--round_scans", "2", "--figures", "false"),
        *("--val_interval", "2", "--resamples", "20", "--system_metrics", "false", "--learning_rate", "0"),
        *("--cache", tmp_path / "cache", *NETWORK, *LIMITS),
        folder=tmp_path,
    )
    assert re.search(r"hard places: \d+ false parts in 2 scans", result.stdout + result.stderr)
    before, after = (read_checkpoint(run / "run" / "model.pt").state for run in (trained, tmp_path))
    # A rate of 0: the weights are those that were given, and only running averages move.
    for name, value in before.items():
        if "running" not in name and "batches" not in name:
            assert (after[name] == value).all(), name


def test_weights_to_go_on_from_that_are_not_there_are_named_with_their_key(tiny_cohort: Path, tmp_path: Path) -> None:
    config = ConfigParser()
    config.read_config(BUNDLE / "chest.json")
    config.update({"dataset_dir": str(tiny_cohort), "width": 0.5, "start_weights": str(tmp_path / "none.pt")})
    with pytest.raises(RuntimeError) as caught:
        config.get_parsed_content("net")
    assert "name another file with --start_weights PATH" in str(caught.value.__cause__)


def test_inference_needs_no_outline(trained: Path, tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    document = json.loads((tiny_cohort / "cohort.json").read_text())
    for part in ("training", "validation", "test"):
        document[part] = [{**case, "lesions": []} for case in document[part] if part == "test"]
        for case in document[part]:
            del case["mask"]
    (bare / "cohort.json").write_text(json.dumps(document))
    (bare / "volumes").symlink_to(tiny_cohort / "volumes")
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "chest_inference.json", "--dataset_dir", bare, *NETWORK),
        *("--weights", trained / "run" / "model.pt", "--limit", "2", "--threshold", "0.2"),
        *("--flips", "2", "--output_dir", tmp_path / "out"),
        folder=tmp_path,
    )
    table = json.loads((tmp_path / "out" / "lesions.json").read_text())
    cases = load_cohort(bare).test[:2]
    shapes = [read_volume(bare / case.image).shape for case in cases]
    assert len(table) == 2 and "lesions.json" in result.stdout
    for (name, lesions), shape in zip(table.items(), shapes, strict=True):
        mask, _ = read_mask(tmp_path / "out" / "masks" / f"{name}.nii")
        assert mask.shape == shape and int(mask.max()) == len(lesions)
        assert all(0 < lesion["axial_diameter_mm"] <= lesion["diameter_3d_mm"] for lesion in lesions)
