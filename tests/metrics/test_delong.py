from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from monai_staging.errors import UsageError
from monai_staging.metrics import delong_interval, delong_test, delong_variance, patient_bootstrap, resample
from monai_staging.metrics.classification import class_auroc
from monai_staging.metrics.delong import delong_covariance

# The aSAH data of pROC (Turck et al., 2010, Intensive Care Medicine 36:107-115): 41 patients with a poor outcome, then
# 72 with a good one. WFNS grade, and the rank of S100B among the levels that its curve tells apart; both follow from
# the placements in pROC's tests (helper-deLongPlacementsCpp-expected.R).
POOR_WFNS = "32455552521254425552525245441442255225555"
GOOD_WFNS = "111151221221112121134141551124112212122111121211324214115422111312244111"
POOR_S100B = (
    "9 6 12 8 26 31 29 3 20 5 3 24 22 28 31 16 31 31 31 3 31 18 1 5 14 31 16 31 4 16 9 6 7 14 31 10 31 19 31 31 26"
)
GOOD_S100B = (
    "9 10 6 2 27 13 6 6 2 4 2 5 7 3 13 3 7 9 13 2 12 10 21 5 30 27 12 3 25 27 7 4 5 4 2 9 6 10 11 2 2 5 2 5 4 12 5 4 "
    "20 7 17 3 6 19 3 2 15 23 6 11 4 10 6 3 2 13 11 27 13 11 30 28"
)


def by_definition(truth, scores, patients):
    """Areas and covariance by all pairs, in the words of Obuchowski (1997)."""
    truth, patients = np.asarray(truth), np.asarray(patients)
    positive, negative = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
    wins = [[[0.5 * (s[i] == s[j]) + (s[i] > s[j]) for j in negative] for i in positive] for s in map(list, scores)]
    wins = np.array(wins, dtype=float)
    areas = wins.mean(axis=(1, 2))
    names = sorted(set(patients.tolist()))
    of_positive, of_negative, both = [], [], []
    for name in names:
        mine, yours = patients[positive] == name, patients[negative] == name
        x = (wins.mean(axis=2)[:, mine] - areas[:, None]).sum(axis=1)
        y = (wins.mean(axis=1)[:, yours] - areas[:, None]).sum(axis=1)
        of_positive += [x] * bool(mine.any())
        of_negative += [y] * bool(yours.any())
        both.append((x, y))
    m, n, total = len(positive), len(negative), len(names)
    i10, i01 = len(of_positive), len(of_negative)
    s10 = i10 / ((i10 - 1) * m) * sum(np.outer(x, x) for x in of_positive)
    s01 = i01 / ((i01 - 1) * n) * sum(np.outer(y, y) for y in of_negative)
    s11 = total / (total - 1) * sum(np.outer(x, y) for x, y in both)
    return areas, s10 / m + s01 / n + (s11 + s11.T) / (m * n)


@st.composite
def clustered_scores(draw):
    """Truth, two curves of tied scores, and patients with at least two of them having each class."""
    rows = draw(st.integers(4, 25))
    values = st.lists(st.integers(0, 5), min_size=rows, max_size=rows)
    truth = [0, 0, 1, 1, *draw(st.lists(st.integers(0, 1), min_size=rows - 4, max_size=rows - 4))]
    patients = [0, 1, 0, 1, *draw(st.lists(st.integers(0, 8), min_size=rows - 4, max_size=rows - 4))]
    return np.array(truth), np.array([draw(values), draw(values)]), np.array(patients)


@given(clustered_scores())
def test_areas_and_covariance_are_those_of_all_pairs(data):
    truth, scores, patients = data
    for whose in (patients, np.arange(len(truth))):
        areas, covariance = by_definition(truth, scores, whose)
        found = delong_covariance(truth, scores, whose)
        assert found.values == pytest.approx(areas)
        assert found.covariance == pytest.approx(covariance, abs=1e-12)
        assert found.n == len(set(whose.tolist()))


@given(clustered_scores())
def test_one_row_a_patient_is_delong(data):
    """With singletons Obuchowski's variance is DeLong's, to the factor: variances of placements, divided by n - 1."""
    truth, scores, _ = data
    positive, negative = scores[0][truth == 1], scores[0][truth == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    delong = wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(negative)
    assert delong_variance(truth, scores[0]) == pytest.approx(delong, abs=1e-12)


def test_values_that_proc_publishes():
    """Expected values of pROC's own tests: test-roc.test.R, test-cov.R and helper-deLongPlacementsCpp-expected.R."""
    truth = np.repeat([1, 0], [41, 72])
    wfns = np.array([int(grade) for grade in POOR_WFNS + GOOD_WFNS])
    s100b = np.array([int(rank) for rank in f"{POOR_S100B} {GOOD_S100B}".split()])
    areas = delong_covariance(truth, np.stack([wfns, s100b]))
    assert areas.values == pytest.approx([0.823678861788618, 0.731368563685637], rel=1e-13)
    assert areas.covariance[0, 1] == pytest.approx(0.00119615567376754, rel=1e-12)
    test = delong_test(truth, wfns, s100b)
    assert (test.low, test.high) == pytest.approx((0.0104061769564846, 0.174214419249478), rel=1e-12)
    assert test.p == pytest.approx(0.0271757822291882, rel=1e-12)
    assert test.n == 113


def simulated(seed, patients=150):
    """Several nodules a patient, whose truth, scores of two arms and errors have a patient's share."""
    rng = np.random.default_rng(seed)
    whose = np.repeat(np.arange(patients), rng.integers(1, 6, patients))
    share = rng.normal(size=(3, patients))[:, whose]
    truth = (share[0] + rng.normal(size=len(whose)) > 0).astype(int)
    common = truth + share[1] + 0.5 * rng.normal(size=len(whose))
    return truth, common + 0.5 * rng.normal(size=len(whose)), common + 0.8 * rng.normal(size=len(whose)), whose


def test_interval_agrees_with_the_patient_bootstrap_and_not_with_independent_rows():
    truth, scores, _, patients = simulated(0)
    weights = resample(patients, 2000, seed=1).weights
    bootstrap = class_auroc(truth, scores, weights).var()
    assert delong_variance(truth, scores, patients) == pytest.approx(bootstrap, rel=0.12)
    assert delong_variance(truth, scores) < 0.7 * bootstrap
    ours = delong_interval(truth, scores, patients, level=0.9)
    theirs = patient_bootstrap(class_auroc, patients, truth, scores, n=2000, level=0.9, weighted=True)
    assert ours.value == pytest.approx(roc_auc_score(truth, scores))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.1 * (theirs.high - theirs.low))
    assert ours.n == theirs.n == 150


def test_paired_difference_agrees_with_the_patient_bootstrap():
    truth, a, b, patients = simulated(0)
    weights = resample(patients, 2000, seed=1).weights
    drawn = class_auroc(truth, a, weights) - class_auroc(truth, b, weights)
    test = delong_test(truth, a, b, patients)
    assert (test.high - test.low) / (2 * 1.959964) == pytest.approx(drawn.std(), rel=0.06)
    assert (test.p < 0.05) == (test.low > 0)
    swapped = delong_test(truth, b, a, patients)
    assert (swapped.value, swapped.low, swapped.high, swapped.p) == pytest.approx(
        (-test.value, -test.high, -test.low, test.p)
    )


def test_no_interval_where_placements_do_not_vary():
    separated = delong_interval([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4])
    assert separated.value == 1 and math.isnan(separated.low)
    opposite = delong_test([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1])
    assert opposite.value == 1 and math.isnan(opposite.low) and math.isnan(opposite.p)
    alike = delong_test([0, 1, 0, 1], [1, 2, 3, 4], [10, 20, 30, 40])
    assert (alike.value, alike.low, alike.high, alike.p) == (0, 0, 0, 1)


def test_an_interval_ends_at_1():
    scores = np.arange(16.0)
    scores[[7, 8]] = scores[[8, 7]]
    estimate = delong_interval(np.repeat([0, 1], 8), scores, level=0.999)
    assert estimate.low < estimate.value < estimate.high == 1


def test_undefined_without_both_classes_or_a_second_patient():
    assert math.isnan(delong_interval([1, 1], [0.2, 0.3]).value)
    one = delong_interval([0, 1, 1], [1, 0, 2], ["a", "b", "c"])
    assert one.value == 0.5 and math.isnan(one.low)
    assert math.isnan(delong_test([0, 1, 1], [1, 0, 2], [1, 0, 2]).p)


def test_refuses_what_makes_no_sense():
    with pytest.raises(UsageError, match=r"shapes \(2,\), \(1, 3\) and \(2,\)"):
        delong_interval([0, 1], [1, 2, 3])
    with pytest.raises(UsageError, match="cannot be NaN, found 1"):
        delong_variance([0, 1], [1, np.nan])
    with pytest.raises(UsageError, match=r"shapes \(2,\) and \(1,\)"):
        delong_test([0, 1], [1, 2], [1])
    with pytest.raises(UsageError, match="between 0 and 1, got 95"):
        delong_interval([0, 1], [1, 2], level=95)
