from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monai_staging.detection import Detections, concatenate, read_detections, write_detections
from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.boxes import box_iou
from monai_staging.metrics.froc import read_marks

NUMBERS = st.floats(-1e4, 1e4, allow_nan=False, width=64)


@st.composite
def detections(draw: st.DrawFn, most: int = 12, span: float = 1e4) -> Detections:
    count = draw(st.integers(0, most))
    low = draw(hnp.arrays(float, (count, 3), elements=st.floats(-span, span)))
    size = draw(hnp.arrays(float, (count, 3), elements=st.floats(0, 50)))
    scores = draw(hnp.arrays(float, count, elements=NUMBERS))
    cases = draw(st.lists(st.sampled_from(["a", "b", "case-1"]), min_size=count, max_size=count))
    return Detections(tuple(cases), np.hstack([low, low + size]), scores)


def test_centres_and_sizes_are_those_of_the_boxes() -> None:
    found = Detections(("a",), [[-10, 0, 5, 0, 6, 9]], [0.5])
    np.testing.assert_array_equal(found.centers_mm, [[-5, 3, 7]])
    np.testing.assert_array_equal(found.sizes_mm, [[10, 6, 4]])
    np.testing.assert_array_equal(found.marks().centers_mm, found.centers_mm)
    np.testing.assert_array_equal(found.boxes().corners, found.boxes_mm)


@pytest.mark.parametrize(
    ("cases", "boxes", "scores", "message"),
    [
        (("a",), [[0, 0, 0, 1, 1, 1]], [np.nan], "Case a: a score is finite, found nan"),
        (("a",), [[0, 0, 0, 1, 1, -1]], [1.0], "does not end before it begins"),
        (("a", "b"), [[0, 0, 0, 1, 1, 1]], [1.0], "2 cases for 1 boxes"),
        (("a",), [[0, 0, 1, 1]], [1.0], r"a box in 3-D, \(N, 6\) corners; got \(1, 4\)"),
    ],
)
def test_what_is_no_detection_is_refused(cases: tuple[str, ...], boxes: list, scores: list, message: str) -> None:
    with pytest.raises((DataError, UsageError), match=message):
        Detections(cases, boxes, scores)


@given(detections())
def test_a_file_gives_the_same_back_and_froc_reads_its_middles(
    tmp_path_factory: pytest.TempPathFactory, found: Detections
) -> None:
    path = write_detections(tmp_path_factory.mktemp("csv") / "detections.csv", found)
    again = read_detections(path)
    assert again.cases == found.cases
    np.testing.assert_array_equal(again.boxes_mm, found.boxes_mm)
    np.testing.assert_array_equal(again.scores, found.scores)
    marks = read_marks(path)
    assert marks.scans == found.cases
    # LUNA16's files are LPS.
    np.testing.assert_array_equal(marks.centers_mm * (-1, -1, 1), found.centers_mm)
    np.testing.assert_array_equal(marks.scores, found.scores)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("minX", "left"), "No column 'minX'"),
        (lambda text: text.replace("0.25", "high"), "line 2: probability is a finite number, found 'high'"),
        (lambda text: text.replace("a,", ",", 1).replace(",,", ",", 0), "line 2: seriesuid is empty"),
    ],
)
def test_a_damaged_file_is_refused_with_the_place(tmp_path: Path, change, message: str) -> None:
    path = write_detections(tmp_path / "found.csv", Detections(("a",), [[0, 0, 0, 1, 1, 1]], [0.25]))
    head, row = path.read_text().split("\n", 1)
    damaged = change(path.read_text()) if "minX" in message else f"{head}\n{change(row)}"
    path.write_text(damaged)
    with pytest.raises(DataError, match=message):
        read_detections(path)


@given(detections(most=20, span=30), st.floats(0.05, 0.95))
def test_suppression_keeps_what_no_surer_one_of_its_case_overlaps(found: Detections, iou: float) -> None:
    kept = found.suppressed(iou)
    expected: dict[str, list[int]] = {}
    for row in np.argsort(-found.scores, kind="stable"):
        own = expected.setdefault(found.cases[row], [])
        if not own or box_iou(found.boxes_mm[[row]], found.boxes_mm[own]).max() <= iou:
            own.append(int(row))
    rows = [row for case in dict.fromkeys(found.cases) for row in expected[case]]
    assert kept.cases == tuple(found.cases[row] for row in rows)
    np.testing.assert_array_equal(kept.boxes_mm, found.boxes_mm[rows])


@given(detections(), NUMBERS)
def test_parts_are_taken_and_put_together(found: Detections, score: float) -> None:
    sure, case = found.at_least(score), found.within({"a"})
    assert sorted(sure.scores) == sorted(value for value in found.scores if value >= score)
    assert len(case) == found.cases.count("a") and set(case.cases) <= {"a"}
    whole = concatenate([case, found.within({"b", "case-1"})])
    assert sorted(zip(whole.cases, whole.scores, strict=True)) == sorted(zip(found.cases, found.scores, strict=True))
    assert len(concatenate([])) == 0
