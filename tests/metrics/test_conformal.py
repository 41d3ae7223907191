from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import beta, binom, binomtest

from monai_staging.errors import UsageError
from monai_staging.metrics.conformal import (
    SCORES,
    class_scores,
    clopper_pearson,
    conformal_quantile,
    coverage,
    coverage_range,
    needed_rank,
    prediction_sets,
    worst_scores,
)

scores_of = st.lists(st.floats(0, 1), min_size=0, max_size=60)
levels = st.integers(1, 99).map(lambda percent: percent / 100)


@given(scores_of, levels)
def test_the_quantile_is_that_of_the_finite_sample_formula(scores, level):
    # In whole numbers: floating point makes 27.000000000000004 of 0.9 * 30.
    exact = Fraction(round(level * 100), 100)
    rank = math.ceil((len(scores) + 1) * exact)
    expected = math.inf if rank > len(scores) else sorted(scores)[rank - 1]
    assert conformal_quantile(scores, level) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), levels)
def test_the_quantile_is_numpy_s_where_there_are_enough(scores, level):
    n = len(scores)
    if needed_rank(n, level) <= n:
        share = min(1.0, math.ceil(round((n + 1) * level, 9)) / n)
        assert conformal_quantile(scores, level) == np.quantile(scores, share, method="inverted_cdf")


@pytest.mark.parametrize(("level", "fewest"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_too_few_patients_name_every_class(level, fewest):
    assert conformal_quantile(np.zeros(fewest - 1), level) == math.inf
    assert conformal_quantile(np.zeros(fewest), level) == 0
    assert prediction_sets(class_scores([[0.9, 0.1, 0.0]]), math.inf).all()


@given(
    st.lists(st.lists(st.floats(0.01, 1), min_size=5, max_size=5), min_size=1, max_size=20),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(SCORES),
)
def test_sets_grow_with_the_threshold_hold_the_best_class_and_are_the_likeliest(rows, one, other, kind):
    values = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    scores = class_scores(values, kind)
    small, large = (prediction_sets(scores, end) for end in sorted((one, other)))
    assert (small <= large).all()
    assert small[np.arange(len(values)), values.argmax(axis=1)].all()
    for chances, named in zip(values, small, strict=True):
        if not named.all():
            assert chances[named].min() >= chances[~named].max() - 1e-9


def test_the_scores_are_those_of_the_papers():
    values = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    assert class_scores(values) == pytest.approx(np.array([[0.5, 0.7, 0.8], [0.8, 0.8, 0.4]]))
    # Loop by loop: sorted from the likeliest, summed up to the class and those as likely.
    expected = [[sum(other for other in row if other >= one) for one in row] for row in values.tolist()]
    assert class_scores(values, "adaptive") == pytest.approx(np.array(expected))
    with pytest.raises(UsageError, match="threshold, adaptive, got 'other'"):
        class_scores(values, "other")


def test_a_patient_counts_with_the_worst_of_the_set_and_of_the_studies():
    scores = np.array([[0.1, 0.9], [0.7, 0.3], [0.2, 0.8], [0.6, 0.4]])
    possible = np.array([[True, False], [True, False], [True, True], [False, False]])
    assert worst_scores(scores, possible, ["a", "a", "b", "c"]) == pytest.approx([0.7, 0.8])
    with pytest.raises(UsageError, match="of the same rows"):
        worst_scores(scores, possible, ["a"])


def simulated(rng, n, classes=4, sharpness=2.0):
    """Probabilities that are wrong in a way of their own, and truths from the right ones."""
    logits = rng.normal(size=(n, classes)) * 1.5
    truth = np.array([rng.choice(classes, p=row) for row in softmax(logits, axis=1)])
    return softmax(sharpness * logits + rng.normal(size=(n, classes)), axis=1), np.eye(classes, dtype=bool)[truth]


@pytest.mark.parametrize("kind", SCORES)
@pytest.mark.parametrize("level", [0.8, 0.9])
def test_coverage_is_kept_on_exchangeable_patients_and_not_by_much_more(kind, level):
    rng = np.random.default_rng(0)
    n, draws, new = 30, 300, 40
    held = []
    for _ in range(draws):
        values, possible = simulated(rng, n + new)
        scores = class_scores(values, kind)
        names = [str(row) for row in range(n + new)]
        threshold = conformal_quantile(worst_scores(scores[:n], possible[:n], names[:n]), level)
        held.append((scores[n:][possible[n:]] <= threshold).mean())
    # Beta: the mean is rank / (n + 1), its spread over draws is known.
    rank = needed_rank(n, level)
    spread = np.sqrt(beta.var(rank, n + 1 - rank) / draws + level * (1 - level) / (draws * new))
    assert level - 3 * spread < np.mean(held) < rank / (n + 1) + 3 * spread


def test_coverage_is_of_patients_when_they_have_several_studies():
    rng = np.random.default_rng(1)
    n, draws, level = 30, 300, 0.9
    held = []
    for _ in range(draws):
        values, possible = simulated(rng, 2 * (n + 20))
        scores = class_scores(values)
        names = [str(row // 2) for row in range(len(values))]
        threshold = conformal_quantile(worst_scores(scores[: 2 * n], possible[: 2 * n], names[: 2 * n]), level)
        named = prediction_sets(scores[2 * n :], threshold)
        held.append(coverage(named, possible[2 * n :], names[2 * n :]).value)
    assert 0.88 < np.mean(held) < 0.96


def test_a_set_valued_truth_only_makes_sets_larger():
    rng = np.random.default_rng(2)
    values, possible = simulated(rng, 60)
    scores, names = class_scores(values), [str(row) for row in range(60)]
    wider = possible.copy()
    wider[:6] |= np.roll(possible[:6], 1, axis=1)
    exact, worst = (conformal_quantile(worst_scores(scores, sets, names), 0.9) for sets in (possible, wider))
    assert worst >= exact


def test_coverage_is_a_share_of_patients_with_its_exact_interval():
    named = np.array([[True, False], [True, True], [False, True], [True, False]])
    possible = np.array([[True, False], [True, False], [True, False], [False, False]])
    found = coverage(named, possible, ["a", "b", "b", "c"])
    assert (found.value, found.n) == (0.5, 2)
    nothing = coverage(named, np.zeros((4, 2), bool), ["a", "b", "b", "c"])
    assert math.isnan(nothing.value) and math.isnan(nothing.low) and nothing.n == 0


@given(st.integers(1, 80).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_exact_interval_is_scipy_s(counts):
    interval = binomtest(*counts).proportion_ci(0.95, method="exact")
    assert clopper_pearson(*counts) == pytest.approx((interval.low, interval.high))


def test_the_range_of_coverage_is_where_draws_fall():
    rng = np.random.default_rng(3)
    # With uniform scores the coverage of a threshold is the threshold itself.
    drawn = [conformal_quantile(rng.random(39), 0.9) for _ in range(4000)]
    assert coverage_range(39, 0.9) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.01)
    # By another road: the k-th smallest is below x if k or more of n are.
    low, high = coverage_range(39, 0.9)
    assert binom.sf(35, 39, low) == pytest.approx(0.025) and binom.sf(35, 39, high) == pytest.approx(0.975)
    assert coverage_range(8, 0.9) == (1.0, 1.0)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match="between 0 and 1, got 1"):
        needed_rank(10, 1.0)
    with pytest.raises(UsageError, match="found NaN"):
        conformal_quantile([0.1, math.nan] * 10, 0.9)
    with pytest.raises(UsageError, match="5 of 4"):
        clopper_pearson(5, 4)
    with pytest.raises(UsageError, match="between 0 and 1, got 0"):
        coverage_range(10, 0.9, 0)
