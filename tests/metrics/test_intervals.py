from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import Estimate, patient_bootstrap, percentile_interval, resample


def weighted_mean(values, weights):
    return weights @ values / weights.sum(axis=1)


def test_agrees_with_scipy_on_one_row_a_patient():
    values = np.random.default_rng(3).gamma(2.0, size=60)
    ours = patient_bootstrap(weighted_mean, np.arange(60), values, n=8000, seed=1, weighted=True)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=8000, method="percentile", rng=np.random.default_rng(2))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.03 * width)
    assert ours.n == 60


def test_weights_and_repeated_rows_give_the_same_estimate():
    rng = np.random.default_rng(0)
    patients = rng.choice(["a", "b", "c", "d", "e", "f", "g"], 25)
    values = rng.normal(size=25)
    by_weight = patient_bootstrap(weighted_mean, patients, values, n=200, seed=5, weighted=True)
    by_row = patient_bootstrap(np.mean, patients, values, n=200, seed=5)
    assert by_weight.low == pytest.approx(by_row.low)
    assert by_weight.high == pytest.approx(by_row.high)
    assert by_weight.n == by_row.n == len(set(patients))


def test_studies_of_one_patient_add_no_certainty():
    values = np.random.default_rng(1).normal(size=30)
    single = patient_bootstrap(weighted_mean, np.arange(30), values, n=300, seed=0, weighted=True)
    fivefold = patient_bootstrap(
        weighted_mean, np.repeat(np.arange(30), 5), np.repeat(values, 5), n=300, seed=0, weighted=True
    )
    assert fivefold.n == 30
    assert (fivefold.low, fivefold.high) == pytest.approx((single.low, single.high))


def test_resamples_draw_whole_patients_and_as_many_as_there_are():
    patients = ["p1", "p2", "p1", "p3", "p3", "p3"]
    draws = resample(patients, 500, seed=2)
    assert draws.patients == 3
    assert np.array_equal(draws.weights[:, 0], draws.weights[:, 2])
    assert np.array_equal(draws.weights[:, 3], draws.weights[:, 5])
    assert np.all(draws.weights[:, 0] + draws.weights[:, 1] + draws.weights[:, 3] == 3)
    # Every patient is drawn once on average; the standard error of the mean is 0.82 / sqrt(500).
    assert draws.weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.15)


def test_same_seed_same_interval_other_seed_another():
    values = np.random.default_rng(0).normal(size=20)
    first, again, other = (
        patient_bootstrap(weighted_mean, np.arange(20), values, n=100, seed=seed, weighted=True) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_interval_covers_a_binomial_share():
    rng = np.random.default_rng(7)
    covered = 0
    for trial in range(400):
        right = (rng.random(60) < 0.7).astype(float)
        estimate = patient_bootstrap(weighted_mean, np.arange(60), right, n=300, seed=trial, weighted=True)
        covered += estimate.low <= 0.7 <= estimate.high
    assert 0.90 <= covered / 400 <= 0.98


def test_level_is_the_share_inside():
    assert percentile_interval(np.arange(1001.0), 0.9) == pytest.approx((50, 950))


def test_undefined_resamples_are_left_out_until_they_are_most():
    values = np.array([0.0, 1.0, 2.0, np.nan, np.nan, np.nan])
    assert percentile_interval(values, 0.5) == (0.5, 1.5)
    assert all(math.isnan(end) for end in percentile_interval(np.append(values, np.nan), 0.5))
    assert all(math.isnan(end) for end in percentile_interval(np.array([]), 0.5))


def test_a_statistic_undefined_without_a_class_keeps_its_interval():
    def mean_of_positives(values):
        return values[values > 0].mean() if (values > 0).any() else math.nan

    values = np.array([5.0, 7.0, -1.0, -1.0, -1.0, -1.0])
    estimate = patient_bootstrap(mean_of_positives, np.arange(6), values, n=300, seed=0)
    assert (estimate.low, estimate.high) == (5, 7)


def test_refuses_what_makes_no_sense():
    with pytest.raises(DataError, match="at least 1 patient, found 0"):
        patient_bootstrap(np.mean, [], np.array([]))
    with pytest.raises(UsageError, match="3 rows for 2 rows of patients"):
        patient_bootstrap(np.mean, ["a", "b"], np.zeros(3))
    with pytest.raises(UsageError, match="n=0"):
        resample(["a"], 0)
    with pytest.raises(UsageError, match="shape"):
        resample(np.zeros((2, 2)))
    with pytest.raises(UsageError, match="between 0 and 1, got 95"):
        patient_bootstrap(np.mean, ["a"], np.zeros(1), level=95)
    with pytest.raises(UsageError, match="one value a resample"):
        patient_bootstrap(lambda values, weights: values, ["a", "b"], np.zeros(1 + 1), n=5, weighted=True)


def test_no_patient_no_resample():
    draws = resample([], 10)
    assert draws.weights.shape == (10, 0)
    assert draws.patients == 0


def test_an_estimate_as_json_and_text():
    whole, bare, none = (
        Estimate(0.8123, 0.7, 0.91, 44),
        Estimate(0.5, math.nan, math.nan, 3),
        Estimate(*[math.nan] * 3, 0),
    )
    assert json.loads(json.dumps(whole.to_json())) == {"value": 0.8123, "low": 0.7, "high": 0.91, "n": 44}
    assert none.to_json() == {"value": None, "low": None, "high": None, "n": 0}
    assert [one.text() for one in (whole, bare, none)] == ["0.81 [0.70, 0.91]", "0.50", "-"]


def test_intervals_do_not_depend_on_the_names_of_the_patients():
    values = np.random.default_rng(4).normal(size=40)
    rows = np.repeat(np.arange(20), 2)
    keyed = [f"case-{hash((7, int(patient))) & 0xFFFF:04x}-{patient}" for patient in rows]
    one = patient_bootstrap(weighted_mean, [f"P{patient:02d}" for patient in rows], values, n=50, weighted=True)
    other = patient_bootstrap(weighted_mean, keyed, values, n=50, weighted=True)
    assert (one.low, one.high, one.n) == (other.low, other.high, other.n)
