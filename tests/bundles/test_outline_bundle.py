"""Clicked lesions in the segmentation bundle as a user runs it: training, evaluation of weights, and inference."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from monai_staging.cohort import load_cohort
from monai_staging.cohort.volume import read_mask, read_volume
from monai_staging.networks.pretrained import read_checkpoint
from monai_staging.workflows.chest_data import chest_cases

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "bundles" / "segmentation"
RunBundle = Callable[..., subprocess.CompletedProcess[str]]
Rows = Callable[[Path], list[dict[str, str]]]
NETWORK = ["--width", "0.5", "--spacing_mm", "[4.0,4.0,5.0]"]


def configs(*names: str) -> list[str]:
    files = ",".join(f"'{BUNDLE / name}.json'" for name in names)
    return ["run", "--config_file", f"[{files}]"]


@pytest.fixture(scope="module")
def trained(tiny_cohort: Path, run_bundle: RunBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of one epoch."""
    folder = tmp_path_factory.mktemp("outline")
    result = run_bundle(
        *configs("chest", "outline"),
        *("--dataset_dir", tiny_cohort, "--output_dir", folder / "run", "--epochs", "1", "--val_interval", "1"),
        *("--val_limit", "1", "--test_limit", "2", "--patch", "[24,24,16]", "--batch_size", "4", "--resamples", "20"),
        *("--system_metrics", "false", "--figures", "false", "--cache", folder / "cache", *NETWORK),
        folder=folder,
    )
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


def test_training_ends_with_scores_of_clicked_lesions(trained: Path, tiny_cohort: Path, rows_of: Rows) -> None:
    cases = chest_cases(tiny_cohort, "test", limit=2)
    lesions = [f"{case.name}-{number + 1}" for case in cases for number in range(len(case.labels))]
    assert f"test part: {len(lesions)} lesions of 2 patients" in (trained / "stdout.txt").read_text()
    rows = rows_of(trained / "run")
    assert [row["scan"] for row in rows] == lesions
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert metrics["dice"]["value"] == pytest.approx(np.mean([float(row["dice"]) for row in rows]), abs=1e-5)
    assert set(metrics) >= {"hd95_mm", "surface_dice", "diameter_error_mm"}
    history = json.loads((trained / "run" / "history.json").read_text())
    assert len(history) == 1 and "val_dice" in history[0]
    assert read_checkpoint(trained / "run" / "model.pt").source["in_channels"] == 4


def test_weights_evaluate_as_their_training_did(
    trained: Path, tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path, rows_of: Rows
) -> None:
    run_bundle(
        *configs("chest_evaluate", "outline_evaluate"),
        *("--dataset_dir", tiny_cohort, "--weights", trained / "run" / "model.pt", "--limit", "2", *NETWORK),
        *("--resamples", "20", "--output_dir", tmp_path, "--cache", trained / "cache"),
        folder=tmp_path,
    )
    assert rows_of(tmp_path) == rows_of(trained / "run")
    assert (tmp_path / "figures" / "scans.png").stat().st_size > 20_000


def test_inference_clicks_at_lesions_that_nobody_has_outlined(
    trained: Path, tiny_cohort: Path, run_bundle: RunBundle, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    document = json.loads((tiny_cohort / "cohort.json").read_text())
    for part in ("training", "validation", "test"):
        document[part] = document[part] if part == "test" else []
        for case in document[part]:
            del case["mask"]
    (bare / "cohort.json").write_text(json.dumps(document))
    (bare / "volumes").symlink_to(tiny_cohort / "volumes")
    result = run_bundle(
        *configs("chest_inference", "outline_inference"),
        *("--dataset_dir", bare, "--weights", trained / "run" / "model.pt", "--limit", "2", *NETWORK),
        *("--output_dir", tmp_path / "out", "--cache", trained / "cache"),
        folder=tmp_path,
    )
    table = json.loads((tmp_path / "out" / "lesions.json").read_text())
    assert len(table) == 2 and "lesions.json" in result.stdout
    for (name, lesions), case in zip(table.items(), load_cohort(bare).test[:2], strict=True):
        mask, _ = read_mask(tmp_path / "out" / "masks" / f"{name}.nii")
        assert mask.shape == read_volume(bare / case.image).shape and int(mask.max()) == len(lesions)
        assert len(lesions) <= len(case.lesions)
