from __future__ import annotations

import numpy as np
import pytest

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.froc import Findings, Marks, match


def findings(*rows):
    return Findings([row[0] for row in rows], [row[1:4] for row in rows], [row[4] for row in rows])


def marks(*rows):
    return Marks([row[0] for row in rows], [row[1:4] for row in rows], [row[4] for row in rows])


def scores(matches):
    return [None if np.isnan(score) else score for score in matches.lesion_scores]


def test_a_mark_on_the_sphere_misses():
    lesions = findings(("a", 10, 20, 30, 8))
    found = match(lesions, marks(("a", 14, 20, 30, 0.9)), ["a"])
    assert scores(found) == [None]
    assert found.false_scores.tolist() == [0.9]
    found = match(lesions, marks(("a", np.nextafter(14, 13), 20, 30, 0.9)), ["a"])
    assert scores(found) == [0.9]
    assert len(found.false_scores) == 0


def test_distance_is_in_three_dimensions():
    lesions = findings(("a", 0, 0, 0, 10))
    for axis in range(3):
        for apart, hit in ((4.9, True), (-4.9, True), (5.1, False)):
            place = [0.0, 0.0, 0.0]
            place[axis] = apart
            assert match(lesions, marks(("a", *place, 0.5)), ["a"]).detected.tolist() == [hit]
    # 3 mm along each axis are 5.2 mm.
    assert match(lesions, marks(("a", 3, 3, 3, 0.5)), ["a"]).detected.tolist() == [False]


def test_several_marks_on_a_lesion_count_once_with_the_best():
    found = match(
        findings(("a", 0, 0, 0, 10)),
        marks(("a", 0, 0, 0, 0.2), ("a", 1, 0, 0, 0.8), ("a", 0, 2, 0, 0.5), ("a", 60, 0, 0, 0.6)),
        ["a"],
    )
    assert scores(found) == [0.8]
    assert found.false_scores.tolist() == [0.6]


def test_a_mark_on_several_lesions_counts_for_each():
    lesions = findings(("a", 0, 0, 0, 10), ("a", 4, 0, 0, 10), ("a", 40, 0, 0, 10))
    found = match(lesions, marks(("a", 2, 0, 0, 0.7), ("a", 6, 0, 0, 0.9)), ["a"])
    assert scores(found) == [0.7, 0.9, None]
    assert len(found.false_scores) == 0


def test_excluded_findings_count_neither_way():
    lesions, excluded = findings(("a", 0, 0, 0, 10)), findings(("a", 4, 0, 0, 4), ("a", 50, 0, 0, 4))
    found = match(
        lesions,
        # On the lesion and an excluded finding; on an excluded finding; on nothing.
        marks(("a", 3, 0, 0, 0.7), ("a", 51, 0, 0, 0.9), ("a", 90, 0, 0, 0.4)),
        ["a"],
        excluded=excluded,
    )
    assert scores(found) == [0.7]
    assert found.false_scores.tolist() == [0.4]
    assert found.ignored == 1


def test_an_unknown_diameter_is_ten_millimetres():
    for apart, ignored in ((4.9, 1), (5.0, 0)):
        found = match(Findings.none(), marks(("a", apart, 0, 0, 0.7)), ["a"], excluded=findings(("a", 0, 0, 0, -1)))
        assert found.ignored == ignored
    assert findings(("a", 0, 0, 0, -1), ("a", 0, 0, 0, 7)).radii_mm.tolist() == [5, 3.5]


def test_scans_are_kept_apart():
    found = match(
        findings(("a", 0, 0, 0, 10), ("c", 0, 0, 0, 10)),
        marks(("b", 0, 0, 0, 0.7), ("c", 0, 0, 0, 0.6), ("b", 0, 0, 0, 0.5)),
        ["a", "b", "c", "d"],
    )
    assert scores(found) == [None, 0.6]
    assert found.lesion_scans.tolist() == [0, 2]
    assert found.false_scans.tolist() == [1, 1]
    assert found.scans == 4


def test_the_limit_drops_ties_with_the_first_beyond_it():
    own = [("a", 9 * number, 0, 0, score) for number, score in enumerate((0.5, 0.9, 0.5, 0.7, 0.5, 0.1))]
    other = [("b", 0, 0, 0, 0.1)]
    for limit, kept in ((6, 6), (5, 5), (4, 2), (3, 2), (2, 2), (1, 1), (None, 6)):
        found = match(Findings.none(), marks(*own, *other), ["a", "b"], max_marks=limit)
        assert sorted(found.false_scores[found.false_scans == 0]) == sorted(row[4] for row in own)[6 - kept :]
        assert found.left_out == 6 - kept
        assert found.false_scores[found.false_scans == 1].tolist() == [0.1]
    alike = [("a", 9 * number, 0, 0, 0.5) for number in range(3)]
    assert match(Findings.none(), marks(*alike), ["a"], max_marks=2).left_out == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Findings.none(), marks(), ["a", "b", "a"]), "Scan a: a scan is listed once, found it 2 times"),
        (
            (findings(("x", 0, 0, 0, 1), ("x", 9, 0, 0, 1), ("a", 9, 0, 0, 1)), marks(), ["a", "b"]),
            "Scan x: every scan with a lesion must be on the list of scans; it is not among the 2 listed and has 2\\.",
        ),
        (
            (Findings.none(), marks(("a", 0, 0, 0, 1), ("x", 0, 0, 0, 1), ("y", 0, 0, 0, 1)), ["a"]),
            "Scan x: every scan with a mark must be .* has 1, and so have 1 more scans",
        ),
        (
            (findings(("a", 0, 0, 0, 3), ("a", 0, 0, 0, 0)), marks(), ["a"]),
            "Scan a: a lesion's diameter is above 0 mm, or below 0 where unknown; found 0 \\(lesion 1\\)",
        ),
    ],
)
def test_what_cannot_be_matched(arguments, message):
    with pytest.raises(DataError, match=message):
        match(*arguments)


def test_an_excluded_finding_of_an_unknown_scan():
    with pytest.raises(DataError, match="Scan x: every scan with an excluded finding must"):
        match(Findings.none(), marks(), ["a"], excluded=findings(("x", 0, 0, 0, 1)))


@pytest.mark.parametrize(
    ("error", "make", "message"),
    [
        (UsageError, lambda: Findings(["a"], [[0, 0]], [1]), r"got 1 scans, centres of shape \(1, 2\)"),
        (UsageError, lambda: Marks(["a", "b"], [[0, 0, 0]] * 2, [1]), r"scores of shape \(1,\)"),
        (
            DataError,
            lambda: Findings(["a"], [[0, np.nan, 0]], [1]),
            r"Scan a: the centre of a finding is finite, found",
        ),
        (DataError, lambda: Findings(["a"], [[0, 0, 0]], [np.inf]), "the diameter of a finding is finite, found inf"),
        (DataError, lambda: Marks(["a"], [[0, 0, 0]], [np.nan]), "the score of a mark is finite, found nan"),
    ],
)
def test_what_is_no_finding(error, make, message):
    with pytest.raises(error, match=message):
        make()


def test_nothing_is_allowed():
    assert len(Findings([], [], [])) == len(Marks([], [], [])) == len(Findings.none()) == 0
    assert len(marks(("a", 0, 0, 0, 1), ("b", 0, 0, 0, 1)).within({"b"})) == 1
    assert findings(("a", 1, 2, 3, 4), ("b", 0, 0, 0, 1)).within(["a"]).centers_mm.tolist() == [[1, 2, 3]]


def test_limit_below_one():
    with pytest.raises(UsageError, match="at least 1 mark"):
        match(Findings.none(), marks(), ["a"], max_marks=-1)
