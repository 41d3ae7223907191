from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.detection import Detections, OperatingPoints
from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.froc import POINTS, Findings, froc

NAMES = ["1/8 fp/scan", "1/4 fp/scan", "1/2 fp/scan", "1 fp/scan", "2 fp/scan", "4 fp/scan", "8 fp/scan"]


def scattered(seed: int, scans: int = 6) -> tuple[Findings, Detections, list[str]]:
    """A lesion at the origin of every scan, marks on some of them, and false ones far off, with coarse scores."""
    random = np.random.default_rng(seed)
    names = [f"scan-{number}" for number in range(scans)]
    count = int(random.integers(1, 60))
    cases = random.choice(names, count)
    centers = np.where(random.random(count)[:, None] < 0.3, 0.0, 100.0) * np.ones(3)
    boxes = np.hstack([centers - 2, centers + 2])
    found = Detections(tuple(cases), boxes, random.integers(0, 12, count) / 10)
    return Findings(tuple(names), np.zeros((scans, 3)), np.full(scans, 8.0)), found, names


@given(st.integers(0, 10_000))
def test_no_lower_threshold_keeps_to_the_rate_and_finds_more(seed: int) -> None:
    lesions, found, scans = scattered(seed)
    points = OperatingPoints.choose(froc(lesions, found.marks(), scans, n_boot=0), "validation")
    assert [point.name for point in points.points] == NAMES

    def counts(threshold: float) -> tuple[float, float]:
        kept = found.at_least(threshold)
        false = float((kept.centers_mm[:, 0] > 50).sum()) / len(scans)
        hit = {case for case, center in zip(kept.cases, kept.centers_mm, strict=True) if center[0] < 50}
        return false, len(hit) / len(scans)

    for point, rate in zip(points.points, POINTS, strict=True):
        assert len(points.apply(found, point.name)) == (found.scores >= point.threshold).sum()
        false, sensitivity = counts(point.threshold)
        assert false <= rate + 1e-9 and sensitivity == pytest.approx(point.sensitivity)
        for lower in set(found.scores[found.scores < point.threshold]):
            more = counts(float(lower))
            # A second mark on a lesion that has one already changes nothing.
            assert more[0] > rate + 1e-9 or more == (pytest.approx(false), pytest.approx(sensitivity))


def test_saved_points_are_the_same_also_where_nothing_is_sure_enough(tmp_path: Path) -> None:
    # The surest mark of both scans is false, at one false positive for two scans.
    found = Detections(("a", "b"), [[90, 90, 90, 94, 94, 94], [-2, -2, -2, 2, 2, 2]], [0.9, 0.4])
    lesions = Findings(("b",), np.zeros((1, 3)), np.full(1, 8.0))
    points = OperatingPoints.choose(froc(lesions, found.marks(), ["a", "b"], n_boot=0), "phantoms")
    again = OperatingPoints.load(points.save(tmp_path / "points.json"))
    assert again == points
    assert '"threshold": null' in (tmp_path / "points.json").read_text()
    assert len(again.apply(found, "1/8 fp/scan")) == 0 and len(again.apply(found, "1/2 fp/scan")) == 2
    assert (again.chosen_on, again.scans, again.lesions) == ("phantoms", 2, 1)
    with pytest.raises(UsageError, match="one of 1/8 fp/scan, .* is needed, found '3 fp/scan'"):
        again.threshold("3 fp/scan")


@pytest.mark.parametrize("text", ["{}", "[]", "not JSON", '{"points": {"1 fp/scan": {"threshold": "x"}}}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "points.json"
    with pytest.raises(DataError, match="cannot be read"):
        OperatingPoints.load(path)
    path.write_text(text)
    with pytest.raises(DataError, match="not a file of operating points"):
        OperatingPoints.load(path)
