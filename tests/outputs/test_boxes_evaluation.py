"""What an evaluation of boxes leaves behind: scores, rows that are read back, differences, tables and the course."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_staging.errors import DataError
from monai_staging.outputs.boxes import (
    SliceScore,
    box_metrics,
    box_table,
    iou_difference,
    read_slices,
    write_box_evaluation,
    write_slices,
)


def scores(ious: list[float], leaks: bool = False, per_patient: int = 2) -> list[SliceScore]:
    box = (1.0, 2.0, 3.5, 4.0)
    return [
        SliceScore(f"case-{n // per_patient}", f"p{n // per_patient}", "B", n, leaks, box, (1.0, 2.0, 3.0, 4.0), iou)
        for n, iou in enumerate(ious)
    ]


def test_means_are_over_slices_and_intervals_over_patients() -> None:
    ious = [0.2, 0.8, 0.5, 0.7, 0.9, 0.1]
    metrics = box_metrics(scores(ious), epochs_to_70=12, n_boot=200)
    assert metrics["iou"].value == pytest.approx(np.mean(ious)) and metrics["iou"].n == 3
    assert metrics["iou_50"].value == pytest.approx(4 / 6) and metrics["iou_70"].value == pytest.approx(3 / 6)
    assert metrics["iou"].low < metrics["iou"].value < metrics["iou"].high
    assert metrics["epochs_to_iou_70"].value == 12 and metrics["leaking_patients"].value == 0
    # Slices of one patient stay together: twice as many slices of the same patients make no interval narrower.
    doubled = box_metrics(scores(ious * 1) + scores(ious * 1), n_boot=200)["iou"]
    assert (doubled.low, doubled.high, doubled.n) == pytest.approx((metrics["iou"].low, metrics["iou"].high, 3))
    with pytest.raises(DataError, match="at least 1 slice"):
        box_metrics([])


def test_a_difference_is_of_the_same_slices() -> None:
    one, other = scores([0.5, 0.7, 0.9, 0.3]), scores([0.4, 0.5, 0.6, 0.2])
    difference = iou_difference(one, other[::-1], n_boot=50)
    assert difference.value == pytest.approx(0.175) and difference.low > 0
    with pytest.raises(DataError, match="found 4 and 3"):
        iou_difference(one, other[:3])


def test_rows_are_read_back(tmp_path: Path) -> None:
    rows = scores([0.25, 1.0], leaks=True)
    assert read_slices(write_slices(tmp_path / "predictions.csv", rows)) == rows
    (tmp_path / "other.csv").write_text("nodule,dice\n1,0.5\n")
    with pytest.raises(DataError, match="lacks case"):
        read_slices(tmp_path / "other.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_slices(tmp_path / "none.csv")


def test_the_table_says_what_leaks(tmp_path: Path) -> None:
    leaking, files = write_box_evaluation(tmp_path, scores([0.8, 0.9], leaks=True), epochs_to_70=3, n_boot=20)
    fair, _ = write_box_evaluation(tmp_path / "fair", scores([0.8, 0.9]), n_boot=20)
    assert [path.name for path in files] == ["metrics.json", "predictions.csv"]
    assert json.loads(files[0].read_text())["leaking_patients"] == {"value": 1.0, "low": None, "high": None, "n": 1}
    lines = box_table({"slice": leaking, "patient": fair}, first="split").splitlines()
    assert lines[2].split("|")[6:8] == [" 3                ", " LEAKS       "]
    assert lines[3].split("|")[6:8] == [" -                ", " no          "]
