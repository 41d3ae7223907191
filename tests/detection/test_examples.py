"""Which lesions are looked at closer: surest, median, and the largest missed, with the box that hit them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.detection import Detections
from monai_staging.detection.examples import lesion_examples
from monai_staging.detection.truth import DetectionTruth


def truth_of(diameters_mm: list[float]) -> DetectionTruth:
    """A scan a lesion, each at (0, 0, 0)."""
    scans = []
    for number, size in enumerate(diameters_mm):
        lesion = {"kind": "nodule", "site": None, "center_mm": (0.0, 0.0, 0.0), "size_mm": (size,) * 3}
        scans.append({"study": f"s{number}", "case": f"c{number}", "lesions": [{**lesion, "diameter_mm": size}]})
    return DetectionTruth.of(scans)


def cube(center: float, half: float = 1.0) -> list[float]:
    return [center - half] * 3 + [center + half] * 3


def test_surest_median_and_largest_missed_with_the_box_that_hit() -> None:
    truth = truth_of([10, 10, 10, 6, 30, 10])
    cases = ("s0", "s0", "s1", "s2", "s2", "s4", "s5")
    boxes = [cube(0), cube(1), cube(2), cube(20), cube(0.5), cube(40), cube(-1)]
    found = Detections(cases, np.array(boxes), np.array([0.2, 0.9, 0.5, 0.7, 0.7, 0.99, 0.1]))
    surest, median, missed = lesion_examples(found, truth)
    assert (surest.row, median.row, missed.row) == (0, 1, 4)
    # In s2 two boxes are as sure, of which one hits; in s4 the only box is elsewhere.
    assert surest.found_mm == tuple(cube(1)) and median.found_mm == tuple(cube(2)) and missed.found_mm is None
    assert surest.text == "surest of 4 found (centre in the lesion), score 0.9, diameter 10 mm"
    assert missed.text == "largest of 2 not found, diameter 30 mm"
    (again, _) = lesion_examples(found.within({"s2"}), truth_of([10, 10, 10]))
    assert again.row == 2 and again.found_mm == tuple(cube(0.5))


def test_of_few_lesions_none_is_shown_twice() -> None:
    truth = truth_of([10, 8])
    (missed,) = lesion_examples(Detections.none(), truth)
    assert missed.row == 0 and "of 2 not found" in missed.text
    both = Detections(("s0", "s1"), np.array([cube(0), cube(0)]), np.array([0.3, 0.6]))
    assert [one.row for one in lesion_examples(both, truth)] == [1, 0]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=9))
def test_whatever_was_found_a_box_is_of_its_own_scan_and_a_miss_has_none(scores: list[float | None]) -> None:
    rows = [(number, score) for number, score in enumerate(scores) if score is not None]
    # Each scan's box has another size.
    boxes = np.array([cube(0, 1 + number) for number, _ in rows]).reshape(-1, 6)
    found = Detections(tuple(f"s{number}" for number, _ in rows), boxes, np.array([score for _, score in rows]))
    examples = lesion_examples(found, truth_of([10.0] * len(scores)))
    assert len({one.row for one in examples}) == len(examples) == min(len(rows), 2) + (len(rows) < len(scores))
    for one in examples:
        score = scores[one.row]
        assert one.found_mm == (None if score is None else tuple(cube(0, 1 + one.row)))
    if rows:
        assert scores[examples[0].row] == max(score for _, score in rows)
        ordered = sorted((score for _, score in rows), reverse=True)
        assert scores[examples[min(1, len(rows) - 1)].row] == ordered[len(rows) // 2]
