from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics import operating_points

RATES = (Fraction(0), Fraction(1, 2), Fraction(4, 5), Fraction(9, 10), Fraction(1))


@st.composite
def weighted_scores(draw):
    """Truth, scores with ties, and three weightings with zeros, as a bootstrap makes them."""
    rows = draw(st.integers(1, 30))
    truth = np.array(draw(st.lists(st.integers(0, 1), min_size=rows, max_size=rows)))
    scores = np.array(draw(st.lists(st.integers(0, 8), min_size=rows, max_size=rows))) / 8
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights = np.stack([np.ones(rows), *rng.multinomial(rows, np.full(rows, 1 / rows), size=2)])
    return truth, scores, weights


def rates_at_every_threshold(truth, scores, weight):
    """Exact (sensitivity, specificity) at every threshold, the one above all scores included."""
    positives, negatives = int(weight[truth == 1].sum()), int(weight[truth == 0].sum())
    for threshold in [*np.unique(scores), np.inf]:
        called = scores >= threshold
        hits, spared = int(weight[called & (truth == 1)].sum()), int(weight[~called & (truth == 0)].sum())
        yield Fraction(hits, positives), Fraction(spared, negatives)


@given(weighted_scores())
def test_average_precision_agrees_with_scikit_learn(data):
    truth, scores, weights = data
    ours = operating_points.average_precision(truth, scores, weights)
    for index, weight in enumerate(weights):
        drawn = weight > 0
        if truth[drawn].any():
            theirs = reference.average_precision_score(truth[drawn], scores[drawn], sample_weight=weight[drawn])
            assert ours[index] == pytest.approx(theirs)
        else:
            assert np.isnan(ours[index])


@given(weighted_scores(), st.sampled_from(RATES))
def test_operating_points_are_the_best_of_all_thresholds(data, rate):
    truth, scores, weights = data
    sensitivity = operating_points.sensitivity_at_specificity(truth, scores, weights, specificity=float(rate))
    specificity = operating_points.specificity_at_sensitivity(truth, scores, weights, sensitivity=float(rate))
    for index, weight in enumerate(weights):
        if not (weight[truth == 1].sum() and weight[truth == 0].sum()):
            assert np.isnan(sensitivity[index]) and np.isnan(specificity[index])
            continue
        points = list(rates_at_every_threshold(truth, scores, weight))
        assert sensitivity[index] == pytest.approx(float(max(one for one, other in points if other >= rate)))
        assert specificity[index] == pytest.approx(float(max(other for one, other in points if one >= rate)))


def test_operating_points_are_on_scikit_learns_curve():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 300)
    scores = np.round(truth + rng.normal(size=300), 1)
    # Without drop_intermediate=False it leaves out points in a line, of which one may be the best.
    false_positives, hits, _ = reference.roc_curve(truth, scores, drop_intermediate=False)
    best = hits[false_positives <= 0.1 + 1e-12].max()
    assert operating_points.sensitivity_at_specificity(truth, scores) == pytest.approx([best])
    spared = (1 - false_positives)[hits >= 0.9 - 1e-12].max()
    assert operating_points.specificity_at_sensitivity(truth, scores) == pytest.approx([spared])


def test_a_rate_that_is_met_exactly_counts():
    truth = np.repeat([0, 1], 10)
    scores = np.concatenate([np.linspace(0, 0.8, 9), [0.95], np.full(9, 0.9), [0.1]])
    # At 0.9, 9 of 10 negatives are below and 9 of 10 positives at or above.
    assert operating_points.sensitivity_at_specificity(truth, scores) == pytest.approx([0.9])
    assert operating_points.specificity_at_sensitivity(truth, scores) == pytest.approx([0.9])
    assert operating_points.threshold_at_specificity(truth, scores, 0.9) == 0.9
    assert operating_points.threshold_at_sensitivity(truth, scores, 0.9) == 0.9


@given(weighted_scores(), st.sampled_from(RATES))
def test_a_frozen_threshold_is_specific_enough_and_no_lower_score_is(data, rate):
    truth, scores, _ = data
    negatives = scores[truth == 0]
    if not len(negatives):
        with pytest.raises(DataError, match="found none among"):
            operating_points.threshold_at_specificity(truth, scores, float(rate))
        return
    threshold = operating_points.threshold_at_specificity(truth, scores, float(rate))
    assert Fraction(int((negatives < threshold).sum()), len(negatives)) >= rate
    for lower in np.unique(scores[scores < threshold]):
        assert Fraction(int((negatives < lower).sum()), len(negatives)) < rate


@given(weighted_scores(), st.sampled_from(RATES))
def test_a_frozen_threshold_is_sensitive_enough_and_no_higher_score_is(data, rate):
    truth, scores, _ = data
    positives = scores[truth == 1]
    if not len(positives):
        with pytest.raises(DataError, match="found none among"):
            operating_points.threshold_at_sensitivity(truth, scores, float(rate))
        return
    threshold = operating_points.threshold_at_sensitivity(truth, scores, float(rate))
    assert Fraction(int((positives >= threshold).sum()), len(positives)) >= rate
    for higher in np.unique(scores[scores > threshold]):
        assert Fraction(int((positives >= higher).sum()), len(positives)) < rate


def test_no_threshold_but_one_above_all_is_specific_enough():
    threshold = operating_points.threshold_at_specificity([0, 1, 1], [0.7, 0.7, 0.2], 0.9)
    assert 0.7 < threshold < 0.7000001
    assert operating_points.sensitivity_at_specificity([0, 1, 1], [0.7, 0.7, 0.2]) == [0]


def test_no_row_is_undefined_and_a_rate_is_a_share():
    for score in (
        operating_points.average_precision,
        operating_points.sensitivity_at_specificity,
        operating_points.specificity_at_sensitivity,
    ):
        assert np.isnan(score([], [])).all()
    with pytest.raises(UsageError, match=r"specificity lies in 0\.\.1, got 90"):
        operating_points.sensitivity_at_specificity([0, 1], [0, 1], specificity=90)
    with pytest.raises(UsageError, match=r"sensitivity lies in 0\.\.1, got -1"):
        operating_points.threshold_at_sensitivity([0, 1], [0, 1], -1)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9])), min_size=1, max_size=12))
def test_no_threshold_gets_more_rows_right(rows: list[tuple[bool, float]]) -> None:
    truth, scores = (np.array(column) for column in zip(*rows, strict=True))
    found = operating_points.threshold_at_accuracy(truth, scores)
    right = {value: ((scores >= value) == truth).sum() for value in (found, *np.linspace(0.15, 0.85, 29))}
    assert right[found] == max(right.values())


def test_the_usual_threshold_stays_where_no_other_is_better() -> None:
    assert operating_points.threshold_at_accuracy([0, 1], [0.2, 0.8]) == 0.5
    assert operating_points.threshold_at_accuracy([0, 1], [0.6, 0.8]) == pytest.approx(0.7)
    with pytest.raises(DataError, match="A threshold needs rows"):
        operating_points.threshold_at_accuracy([], [])
