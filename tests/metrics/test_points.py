"""Points on slides: against SciPy's assignment, counting by hand, and scikit-learn's average precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import average_precision_score

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.points import Points, best_threshold, match_points, point_metrics

place = st.tuples(st.integers(0, 40), st.integers(0, 40))


def hungarian(truth: np.ndarray, found: np.ndarray, radius: float) -> int:
    """How many pairs within the radius there can be."""
    if not len(truth) or not len(found):
        return 0
    near = np.linalg.norm(truth[:, None] - found[None], axis=2) <= radius
    rows, columns = linear_sum_assignment(~near)
    return int(near[rows, columns].sum())


@settings(max_examples=200)
@given(st.lists(place, max_size=25), st.lists(st.tuples(place, st.integers(0, 6)), max_size=25), st.floats(0.5, 12))
def test_at_every_threshold_there_are_as_many_pairs_as_the_hungarian_method_makes(truth, found, radius) -> None:
    targets = np.array(truth, dtype=float).reshape(-1, 2)
    places = np.array([where for where, _ in found], dtype=float).reshape(-1, 2)
    scores = np.array([score for _, score in found], dtype=float)
    right = match_points(targets, places, scores, radius)
    for threshold in range(8):
        kept = scores >= threshold
        assert right[kept].sum() == hungarian(targets, places[kept], radius)


def test_a_crowd_is_paired_as_well_as_it_can_be() -> None:
    # The surest reaches both, the other only the one that it would take first.
    truth, found = [[0.0, 0], [8.0, 0]], [[1.0, 0], [-5.0, 0]]
    assert match_points(truth, found, [0.9, 0.8]).tolist() == [True, True]
    # A chain: each gives up its own for the next one.
    chain = np.arange(50.0) * 10
    right = match_points(np.c_[chain, 0 * chain], np.c_[chain - 4, 0 * chain], np.arange(50), radius=6.5)
    assert right.all()
    assert match_points([[0.0, 0]], [[7.5, 0], [0.0, 7.6]], [1, 1]).tolist() == [True, False]


def slides() -> tuple[Points, Points, dict[str, str]]:
    truth = Points(("a", "a", "b"), [[10, 10], [50, 50], [20, 20]])
    found = Points(
        ("a", "a", "b", "b", "c"), [[11, 10], [90, 90], [22, 20], [21, 20], [5, 5]], [0.9, 0.8, 0.7, 0.6, 0.2]
    )
    return truth, found, {"a": "p1", "b": "p2", "c": "p2"}


def test_metrics_are_what_counting_gives() -> None:
    truth, found, patients = slides()
    metrics = point_metrics(truth, found, patients, threshold=0.6, n_boot=200)
    # Right: 0.9 and 0.7. 0.6 is a second one on the same mitosis.
    assert (metrics["precision"].value, metrics["recall"].value) == (0.5, pytest.approx(2 / 3))
    assert metrics["f1"].value == pytest.approx(4 / 7) and metrics["f1"].n == 2
    assert metrics["average_precision"].value == pytest.approx((1 + 2 / 3) / 3)
    assert metrics["recall"].low == 0.5 and metrics["recall"].high == 1.0
    nothing = point_metrics(truth, found, patients, threshold=2.0, n_boot=20)
    assert math.isnan(nothing["precision"].value) and nothing["f1"].value == nothing["recall"].value == 0
    assert best_threshold(truth, found) == (0.7, pytest.approx(4 / 6))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1000)), min_size=1, max_size=40), st.integers(0, 3))
def test_average_precision_is_the_area_under_the_envelope(found, missed) -> None:
    hits = np.array([hit for hit, _ in found])
    scores = np.array([score for _, score in found]) + np.arange(len(found)) / 1e3  # no ties
    places = np.c_[np.where(hits, 0.0, 50.0), 100.0 * np.arange(len(found))]
    truth = np.r_[places[hits], np.c_[np.full(missed, -500.0), 100.0 * np.arange(missed)]]
    if not len(truth):
        return
    names = ("s",) * len(found)
    metrics = point_metrics(
        Points(("s",) * len(truth), truth), Points(names, places, scores), {"s": "p"}, threshold=0, n_boot=2
    )
    order = np.argsort(-scores)
    precision = np.cumsum(hits[order]) / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    assert metrics["average_precision"].value == pytest.approx(best[hits[order]].sum() / len(truth))
    if hits.any():
        # Without the envelope and what was missed, scikit-learn's.
        plain = precision[hits[order]].mean()
        assert average_precision_score(hits, scores) == pytest.approx(plain)
        assert metrics["average_precision"].value * len(truth) / hits.sum() >= plain - 1e-12


def test_patients_are_what_is_resampled() -> None:
    truth, found, patients = slides()
    doubled = {**patients, **{f"{slide}2": patient for slide, patient in patients.items()}}
    both = [
        Points(points.slides + tuple(f"{slide}2" for slide in points.slides), np.tile(points.xy_um, (2, 1)),
               None if points.scores is None else np.tile(points.scores, 2))
        for points in (truth, found)
    ]  # fmt: skip
    one = point_metrics(truth, found, patients, threshold=0.6, n_boot=300)
    two = point_metrics(*both, doubled, threshold=0.6, n_boot=300)
    assert one == two


def test_what_cannot_be_scored_is_refused() -> None:
    truth, found, patients = slides()
    with pytest.raises(DataError, match="Slide c: every slide has a patient, found none among 2"):
        point_metrics(truth, found, {"a": "p", "b": "p"}, threshold=0.5)
    with pytest.raises(UsageError, match="need scores"):
        point_metrics(truth, truth, patients, threshold=0.5)
    with pytest.raises(UsageError, match="A radius is above 0, found 0"):
        match_points([[0, 0]], [[0, 0]], [1], radius=0)
    with pytest.raises(UsageError, match="got 2 slides, \\(1, 2\\)"):
        Points(("a", "b"), [[0, 0]])
    with pytest.raises(DataError, match="Slide b: a score is finite, found nan"):
        Points(("a", "b"), [[0, 0], [1, 1]], [1, math.nan])
    with pytest.raises(DataError, match="Slide a: a place is finite"):
        Points(("a",), [[0, math.inf]])
    with pytest.raises(DataError, match="found 0 and 3"):
        best_threshold(truth, Points((), [], []))
    empty = point_metrics(truth, Points((), [], []), patients, threshold=0.5, n_boot=5)
    assert empty["average_precision"].value == 0 and empty["recall"].value == 0
