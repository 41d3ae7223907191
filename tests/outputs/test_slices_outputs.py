"""Ranked slices as files and pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.slices import StudyScores
from monai_staging.outputs.figures_slices import KnownNodule, montage_figure
from monai_staging.outputs.slices import read_ranked_slices, slice_table, write_ranked_slices

CLASSES = ("no nodule", "benign", "malignant")


def study(slices: int = 12, peaks: bool = True) -> StudyScores:
    rng = np.random.default_rng(4)
    places = np.arange(slices) * 2
    truth = np.array([0, 1, 2, -1] * 3)[:slices]
    where = rng.uniform(-20, 20, (slices, 2)) if peaks else np.full((slices, 2), np.nan)
    chances = rng.dirichlet((1, 1, 1), slices)
    return StudyScores("case-a", "patient-a", places, places * 2.5 - 30, truth, chances, (np.array([1, 2]),), where)


def test_slices_are_written_in_the_order_of_looking(tmp_path: Path) -> None:
    one = study()
    path = write_ranked_slices(tmp_path / "slices.csv", [one], CLASSES)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["rank"]) for row in rows] == list(range(1, 13))
    suspicion = [float(row["nodule"]) for row in rows]
    assert suspicion == sorted(suspicion, reverse=True)
    first = int(np.argmax(one.suspicion))
    assert (int(rows[0]["slice"]), float(rows[0]["z_mm"])) == (one.places[first], one.z_mm[first])
    for row in rows:
        assert float(row["nodule"]) == pytest.approx(1 - float(row["no_nodule"]), abs=2e-4)
        assert row["truth"] == {0: "no nodule", 1: "benign", 2: "malignant", -1: ""}[one.truth[int(row["slice"]) // 2]]


@pytest.mark.parametrize("peaks", [True, False])
def test_what_was_written_is_read_again(tmp_path: Path, peaks: bool) -> None:
    one = study(peaks=peaks)
    (read,) = read_ranked_slices(write_ranked_slices(tmp_path / "slices.csv", [one], CLASSES), CLASSES)
    assert (read.case, read.patient) == (one.case, one.patient)
    for name, exact in (("places", 0), ("truth", 0), ("z_mm", 0.005), ("probabilities", 6e-5), ("peaks_mm", 0.051)):
        np.testing.assert_allclose(getattr(read, name), getattr(one, name), atol=exact, rtol=0)


def test_without_anything_known_there_is_no_truth(tmp_path: Path) -> None:
    path = write_ranked_slices(tmp_path / "slices.csv", [study()], CLASSES, known=False)
    assert "truth" not in path.read_text()
    assert read_ranked_slices(path, CLASSES)[0].truth.tolist() == [-1] * 12


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("case,iou\na,0.5\n")
    with pytest.raises(DataError, match="lacks benign"):
        read_ranked_slices(tmp_path / "other.csv", CLASSES)
    with pytest.raises(DataError, match="cannot be read"):
        read_ranked_slices(tmp_path / "none.csv", CLASSES)


def test_a_table_has_a_row_an_evaluation_and_says_what_is_not_known() -> None:
    full = {
        "balanced_accuracy": Estimate(0.71, 0.6, 0.8, 30),
        "seconds_per_study": Estimate(0.12, *[float("nan")] * 2, 30),
    }
    table = slice_table({"ours": full}, first="network")
    assert "0.710 [0.600, 0.800]" in table and "| 120" in table and "| - " in table


@pytest.mark.parametrize("nodules", [None, [], [KnownNodule((0, 0, -12), (14, 12, 0), True)]])
def test_a_montage_shows_slices_apart_from_each_other(tmp_path: Path, nodules: list[KnownNodule] | None) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(-900, 100, (40, 50, 24)).astype(np.int16)
    affine = np.array([[2.0, 0, 0, -40], [0, 2.0, 0, -50], [0, 0, 2.5, -30], [0, 0, 0, 1]])
    path = montage_figure(tmp_path / "montage.png", array, affine, study(), nodules=nodules, shown=4)
    image = imread(path)
    # Two lines of text more or less are no other size.
    assert image.shape[1] == 4 * 3.1 * 150 and image.shape[0] == round((3.45 + 0.95) * 150)


def test_a_montage_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1 slice"):
        montage_figure(tmp_path / "montage.png", np.zeros((4, 4, 4)), np.eye(4), study(), shown=0)
