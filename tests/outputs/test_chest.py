"""Rows, metrics, table and figure of whole scans."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from monai_staging.cohort.lesions import Part, part_of_mask
from monai_staging.errors import DataError
from monai_staging.metrics.chest import scan_scores
from monai_staging.outputs.chest import ScanSegmentation, chest_metrics, write_chest_evaluation
from monai_staging.outputs.figures_chest import FIELD_MM, take_picture

SHAPE = (60, 50, 12)
AFFINE = np.array([[-3.0, 0, 0, 90.0], [0, -3.0, 0, 70.0], [0, 0, 5.0, -300.0], [0, 0, 0, 1.0]])


def box(low: tuple[int, int, int], high: tuple[int, int, int]) -> Part:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[tuple(slice(*pair) for pair in zip(low, high, strict=True))] = True
    part = part_of_mask(mask)
    assert part is not None
    return part


HU = np.random.default_rng(0).integers(-900, -700, SHAPE).astype(np.int16)
TUMOUR, FOUND = box((20, 20, 4), (26, 25, 8)), box((21, 20, 4), (26, 26, 7))
SCANS = [
    ScanSegmentation("case-a-1", "case-a", scan_scores([FOUND], [TUMOUR], HU, AFFINE)),
    ScanSegmentation("case-a-2", "case-a", scan_scores([TUMOUR], [TUMOUR], HU, AFFINE)),
    ScanSegmentation("case-b", "case-b", scan_scores([], [TUMOUR], HU, AFFINE)),
]


def test_metrics_are_means_over_scans_with_intervals_over_patients(tmp_path: Path) -> None:
    pictures = [take_picture(HU, AFFINE, own, [TUMOUR]) for own in ([FOUND], [TUMOUR], [])]
    result = write_chest_evaluation(tmp_path, SCANS, title="test", n_boot=50, pictures=pictures.__getitem__)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    dice = [scan.values["dice"] for scan in SCANS]
    assert metrics["dice"]["value"] == pytest.approx(np.mean(dice)) and metrics["dice"]["n"] == 2
    assert metrics["t_exact"]["value"] == pytest.approx(np.mean([scan.values["t_exact"] for scan in SCANS]))
    # Where nothing is found there is no distance.
    assert metrics["hd95_mm"]["n"] == 1 and "(n = 1)" in result.table
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["scan"] for row in rows] == ["case-a-1", "case-a-2", "case-b"]
    assert rows[2]["hd95_mm"] == "" and float(rows[0]["dice"]) == pytest.approx(dice[0], abs=1e-5)
    assert result.figures[0].stat().st_size > 20_000


def test_a_picture_shows_the_tumours_slice_with_both_outlines() -> None:
    picture = take_picture(HU, AFFINE, [FOUND], [TUMOUR])
    middle = AFFINE[:3, :3] @ [22.5, 22, 5.5] + AFFINE[:3, 3]
    assert abs(picture.image.z_mm - middle[2]) <= 2.5
    x_low, x_high, y_low, y_high = picture.image.extent_mm
    assert x_low < middle[0] < x_high and y_low < middle[1] < y_high and x_high - x_low <= FIELD_MM + 6
    ((found,), (reference,)) = picture.found, picture.reference
    # Voxel 20 to 25 along i: its outer faces in millimetres.
    assert reference[:, 0].max() == pytest.approx(90 - 3 * 19.5) and reference[:, 0].min() == pytest.approx(
        90 - 3 * 25.5
    )
    assert found[:, 0].max() == pytest.approx(90 - 3 * 20.5)
    assert take_picture(HU, AFFINE, [], []).found == ()
    below = box((20, 20, 0), (26, 25, 2))
    assert take_picture(HU, AFFINE, [below], [TUMOUR]).found == ()


def test_scores_need_a_scan() -> None:
    with pytest.raises(DataError, match="at least 1 scan"):
        chest_metrics([])
    assert math.isnan(chest_metrics([SCANS[2]], n_boot=10)["hd95_mm"].value)
