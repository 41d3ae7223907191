from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import box_utils

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.boxes import (
    THRESHOLDS,
    Boxes,
    average_precision,
    box_giou,
    box_iou,
    box_pair_giou,
    box_pair_iou,
)
from monai_staging.metrics.intervals import percentile_interval, resample


@pytest.mark.parametrize(
    ("one", "two", "iou", "giou"),
    [
        # Two squares of side 2 that share a unit square; the box around has 9.
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7, 1 / 7 - 2 / 9),
        ([0, 0, 2, 2], [0, 0, 2, 2], 1, 1),
        # They touch: nothing shared, nothing between.
        ([0, 0, 1, 1], [1, 0, 2, 1], 0, 0),
        # Apart by 8: the box around has 10, they fill 2.
        ([0, 0, 1, 1], [9, 0, 10, 1], 0, -0.8),
        ([0, 0, 4, 4], [1, 1, 2, 2], 1 / 16, 1 / 16),
        # Two cubes of side 2 that share a unit cube; the box around has 27.
        ([0, 0, 0, 2, 2, 2], [1, 1, 1, 3, 3, 3], 1 / 15, 1 / 15 - 12 / 27),
        ([0, 0, 0, 1, 1, 1], [0, 0, 9, 1, 1, 10], 0, -0.8),
        ([-5, -5, -5, 5, 5, 5], [0, -5, -5, 5, 5, 5], 0.5, 0.5),
        # A box without volume.
        ([1, 1, 1, 1], [0, 0, 2, 2], 0, 0),
        ([1, 1, 1, 1], [1, 1, 1, 1], 0, 0),
        ([0, 0, 0, 0], [3, 4, 3, 4], 0, -1),
        # Tiny, and far from the origin: single precision would not do.
        ([0, 0, 0, 1e-3, 1e-3, 1e-3], [0, 0, 0, 1e-3, 1e-3, 1e-3], 1, 1),
        ([-900, -900, -900, -899.9, -899.9, -899.9], [-900, -900, -900, -899.9, -899.9, -899.95], 0.5, 0.5),
    ],
)
def test_by_hand(one, two, iou, giou):
    assert box_pair_iou([one], [two]) == pytest.approx([iou], abs=1e-9)
    assert box_pair_giou([one], [two]) == pytest.approx([giou], abs=1e-9)
    assert box_iou([two], [one])[0, 0] == pytest.approx(iou, abs=1e-9)
    assert box_giou([two], [one])[0, 0] == pytest.approx(giou, abs=1e-9)


def voxels(box, size):
    half = len(box) // 2
    return {
        place
        for place in itertools.product(range(size), repeat=half)
        if all(box[axis] <= place[axis] < box[axis + half] for axis in range(half))
    }


def around(one, two):
    half = len(one) // 2
    low = [min(one[axis], two[axis]) for axis in range(half)]
    return low + [max(one[axis], two[axis]) for axis in range(half, 2 * half)]


@st.composite
def two_boxes(draw):
    dimension = draw(st.sampled_from([2, 3]))
    corners = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=dimension, max_size=dimension)
    return [[min(pair) for pair in pairs] + [max(pair) for pair in pairs] for pairs in (draw(corners), draw(corners))]


@given(boxes=two_boxes())
def test_agrees_with_counting_voxels(boxes):
    one, two = boxes
    in_one, in_two, in_around = (voxels(box, 7) for box in (one, two, around(one, two)))
    union = len(in_one | in_two)
    iou = len(in_one & in_two) / union if union else 0.0
    gap = (len(in_around) - union) / len(in_around) if in_around else 0.0
    assert box_pair_iou([one], [two]) == pytest.approx([iou])
    assert box_pair_giou([one], [two]) == pytest.approx([iou - gap])


@pytest.mark.parametrize("dimension", [2, 3])
def test_agrees_with_monai_as_far_as_single_precision_goes(dimension):
    rng = np.random.default_rng(dimension)
    low = rng.uniform(0, 40, (2, 30, dimension))
    one, two = np.concatenate([low, low + rng.uniform(1, 30, low.shape)], axis=2)
    assert box_iou(one, two) == pytest.approx(np.asarray(box_utils.box_iou(one, two)), abs=1e-5)
    assert box_giou(one, two) == pytest.approx(np.asarray(box_utils.box_giou(one, two)), abs=1e-5)
    assert box_pair_giou(one, two) == pytest.approx(np.asarray(box_utils.box_pair_giou(one, two)), abs=1e-5)
    assert box_iou(one, two).diagonal() == pytest.approx(box_pair_iou(one, two))


def test_no_boxes():
    box = [[0, 0, 0, 1, 1, 1]]
    assert box_iou([], box).shape == (0, 1)
    assert box_giou(box, np.zeros((0, 6))).shape == (1, 0)
    assert box_iou([], []).shape == (0, 0)
    assert box_iou([[0, 0, 1, 1]], []).shape == (1, 0)
    assert box_pair_iou([], []).shape == (0,)


@pytest.mark.parametrize(
    ("error", "one", "two", "message"),
    [
        (UsageError, [[0, 0, 0, 1, 1]], [], r"\(N, 4\) or \(N, 6\), got \(1, 5\)"),
        (UsageError, [0, 0, 1, 1], [], r"got \(4,\)"),
        (UsageError, [[0, 0, 1, 1]], [[0, 0, 0, 1, 1, 1]], "same dimension, got 2 and 3"),
        (DataError, [[0, 0, 1, 1], [0, 3, 1, 1]], [], "Box 1: a box does not end before it begins, found"),
        (DataError, [[0, 0, math.nan, 1]], [], "Box 0: a box is finite, found"),
    ],
)
def test_what_is_no_box(error, one, two, message):
    for function in (box_iou, box_giou, box_pair_iou, box_pair_giou):
        with pytest.raises(error, match=message):
            function(one, two)


def test_pairs_are_as_many():
    with pytest.raises(UsageError, match="got 2 and 1"):
        box_pair_giou([[0, 0, 1, 1]] * 2, [[0, 0, 1, 1]])


def literal_average_precision(cases, truth, found, threshold):
    """Plain Python: ``truth`` is (case, box), ``found`` is (case, box, score)."""
    taken, outcome = set(), []
    for case in cases:
        own = sorted((row for row in found if row[0] == case), key=lambda row: -row[2])
        targets = [number for number, row in enumerate(truth) if row[0] == case]
        for _, box, score in own:
            overlaps = [(box_pair_iou([box], [truth[number][1]])[0], -number) for number in targets]
            overlaps = [pair for pair in overlaps if -pair[1] not in taken]
            best = max(overlaps, default=(-1.0, 0))
            hit = best[0] >= threshold
            if hit:
                taken.add(-best[1])
            outcome.append((score, hit))
    points = []
    for score in sorted({score for score, _ in outcome}):
        above = [hit for other, hit in outcome if other >= score]
        points.append((sum(above) / len(truth), sum(above) / len(above)))
    area, before = 0.0, 0.0
    for recall in sorted({recall for recall, _ in points}):
        area += (recall - before) * max(precision for other, precision in points if other >= recall)
        before = recall
    return area


@st.composite
def detections(draw):
    cases = [f"case-{number}" for number in range(draw(st.integers(1, 5)))]
    start = st.integers(0, 4)
    box = st.tuples(start, start, st.integers(1, 4), st.integers(1, 4)).map(
        lambda row: [row[0], row[1], row[0] + row[2], row[1] + row[3]]
    )
    truth = draw(st.lists(st.tuples(st.sampled_from(cases), box), min_size=1, max_size=8))
    score = st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.9])
    found = draw(st.lists(st.tuples(st.sampled_from(cases), box, score), max_size=15))
    return cases, truth, found


def as_boxes(rows, scored):
    corners = np.array([row[1] for row in rows], dtype=float).reshape(-1, 4)
    return Boxes([row[0] for row in rows], corners, [row[2] for row in rows] if scored else None)


@settings(max_examples=60)
@given(case=detections(), seed=st.integers(0, 99))
def test_average_precision_agrees_with_the_procedure_loop_by_loop(case, seed):
    cases, truth, found = case
    patients = {name: f"patient-{place // 2}" for place, name in enumerate(cases)}
    levels = [0.1, 0.3, 0.5]
    result = average_precision(
        as_boxes(truth, False), as_boxes(found, True), patients, thresholds=levels, n_boot=10, seed=seed
    )
    assert list(result) == ["ap_10", "ap_30", "ap_50", "map"]
    resampled = []
    for weights in resample(list(patients.values()), 10, seed).weights:
        drawn = [
            (f"{name}, {copy}", name)
            for name, weight in zip(cases, weights, strict=True)
            for copy in range(int(weight))
        ]
        own = [[(new, *row[1:]) for new, name in drawn for row in rows if row[0] == name] for rows in (truth, found)]
        names = [new for new, _ in drawn]
        resampled.append([literal_average_precision(names, *own, least) if own[0] else math.nan for least in levels])
    resampled = np.array(resampled)
    for place, least in enumerate(levels):
        estimate = result[f"ap_{100 * least:g}"]
        assert estimate.value == pytest.approx(literal_average_precision(cases, truth, found, least), abs=1e-12)
        expected = percentile_interval(resampled[:, place])
        assert (estimate.low, estimate.high) == pytest.approx(expected, abs=1e-12, nan_ok=True)
        assert estimate.n == len(set(patients.values()))
    assert result["map"].value == pytest.approx(np.mean([result[name].value for name in list(result)[:3]]))


SQUARE = [0, 0, 10, 10]


def test_average_precision_by_hand():
    # Right, wrong, right, wrong of 3: recall 1/3 at precision 1, 2/3 at 2/3, never 1.
    truth = Boxes(["a", "b", "c"], [SQUARE] * 3)
    found = Boxes(
        ["a", "a", "b", "c"], [SQUARE, [50, 50, 60, 60], [0, 0, 10, 8], [30, 0, 40, 10]], [0.9, 0.8, 0.7, 0.6]
    )
    result = average_precision(truth, found, {"a": "p", "b": "q", "c": "r"}, n_boot=20)
    assert list(result) == [*(f"ap_{number}" for number in range(10, 51, 5)), "map"]
    assert all(estimate.value == pytest.approx(1 / 3 + 2 / 9) for estimate in result.values())


def test_a_box_takes_one_that_is_still_free():
    # Both boxes found overlap the same box of the truth most; the second takes the other one, at a low threshold.
    truth = Boxes(["a", "a"], [[0, 0, 10, 10], [0, 6, 10, 16]])
    found = Boxes(["a", "a"], [[0, 0, 10, 10], [0, 2, 10, 12]], [0.9, 0.8])
    result = average_precision(truth, found, {"a": "p"}, thresholds=[0.4, 0.7], n_boot=5)
    assert (result["ap_40"].value, result["ap_70"].value) == (1.0, 0.5)
    assert result["map"].value == 0.75


def test_a_second_box_on_the_same_lesion_is_false():
    truth = Boxes(["a"], [SQUARE])
    found = Boxes(["a", "a"], [[1, 0, 10, 10], SQUARE], [0.9, 0.8])
    assert average_precision(truth, found, {"a": "p"}, n_boot=5)["map"].value == 1.0
    found = Boxes(["a", "a"], [[40, 0, 50, 10], SQUARE], [0.9, 0.8])
    assert average_precision(truth, found, {"a": "p"}, n_boot=5)["map"].value == 0.5


def test_nothing_found():
    result = average_precision(Boxes(["a"], [SQUARE]), Boxes([], [], []), {"a": "p", "b": "q"}, n_boot=20)
    assert {estimate.value for estimate in result.values()} == {0.0}
    assert len(result) == len(THRESHOLDS) + 1


@pytest.mark.parametrize(
    ("error", "change", "message"),
    [
        (UsageError, {"thresholds": []}, "numbers above 0, at most 1; got"),
        (UsageError, {"thresholds": [0.5, 0.5]}, "different numbers"),
        (UsageError, {"thresholds": [50]}, "at most 1; got \\[50\\]"),
        (UsageError, {"found": Boxes(["a"], [SQUARE])}, "needs the scores"),
        (DataError, {"truth": Boxes([], [])}, "at least 1 box to find, found 0 in 2 cases"),
        (DataError, {"truth": Boxes(["x"], [SQUARE])}, "Case x: every case with a box has a patient"),
    ],
)
def test_what_makes_no_sense(error, change, message):
    arguments = {"truth": Boxes(["a"], [SQUARE]), "found": Boxes(["a"], [SQUARE], [0.5])}
    with pytest.raises(error, match=message):
        average_precision(**arguments | change, patients={"a": "p", "b": "q"})


def test_boxes_have_a_case_and_a_score():
    with pytest.raises(UsageError, match="got 2 cases for 1 boxes"):
        Boxes(["a", "b"], [SQUARE])
    with pytest.raises(UsageError, match=r"scores of shape \(2,\)"):
        Boxes(["a"], [SQUARE], [0.1, 0.2])
    with pytest.raises(DataError, match="Case a: a score is finite, found nan"):
        Boxes(["a"], [SQUARE], [math.nan])
