from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from monai_staging.metrics.recalibration import (
    CLIP,
    calibration_intercept,
    calibration_slope,
    clip_probability,
    temperature,
    tempered,
)


@pytest.fixture
def cohort():
    """Outcomes drawn from the true odds, and predictions whose odds are twice as large plus one half."""
    rng = np.random.default_rng(0)
    odds = rng.normal(size=400)
    return (rng.random(400) < expit(odds)).astype(int), expit(2 * odds + 0.5)


def test_slope_is_that_of_a_logistic_regression(cohort):
    truth, probability = cohort
    weights = np.random.default_rng(1).multinomial(400, np.full(400, 1 / 400), size=5).astype(float)
    ours = calibration_slope(truth, probability, weights)
    for slope, weight in zip(ours, weights, strict=True):
        fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
        fit.fit(logit(probability)[:, None], truth, sample_weight=weight)
        assert slope == pytest.approx(fit.coef_[0, 0], rel=1e-4)
    # The odds are twice too large, so the slope is about one half.
    assert calibration_slope(truth, probability) == pytest.approx([0.5], abs=0.12)


def test_intercept_makes_the_mean_probability_right(cohort):
    truth, probability = cohort
    weights = np.random.default_rng(1).multinomial(400, np.full(400, 1 / 400), size=5).astype(float)
    for intercept, weight in zip(calibration_intercept(truth, probability, weights), weights, strict=True):
        expected = brentq(lambda shift, w=weight: w @ (truth - expit(logit(probability) + shift)), -5, 5)
        assert intercept == pytest.approx(expected, abs=1e-6)


def test_a_calibrated_model_has_slope_1_and_intercept_0():
    rng = np.random.default_rng(2)
    probability = rng.uniform(0.02, 0.98, 20_000)
    truth = rng.random(20_000) < probability
    assert calibration_slope(truth, probability) == pytest.approx([1], abs=0.05)
    assert calibration_intercept(truth, probability) == pytest.approx([0], abs=0.05)


def test_undefined_is_nan_without_a_warning():
    assert np.isnan(calibration_slope([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])).all()  # separated
    assert np.isnan(calibration_slope([0, 1, 0, 1], [0.3, 0.3, 0.3, 0.3])).all()  # constant
    assert np.isnan(calibration_slope([1, 1], [0.3, 0.6])).all()
    assert np.isnan(calibration_intercept([1, 1], [0.3, 0.6])).all()
    assert np.isnan(calibration_intercept([], [])).all()


def test_a_resample_without_a_fit_leaves_the_others_alone():
    truth, probability = np.array([0, 1, 0, 1, 1]), np.array([0.2, 0.4, 0.6, 0.7, 0.9])
    one_class, whole = np.array([0.0, 1, 0, 2, 2]), np.ones(5)
    slopes = calibration_slope(truth, probability, np.stack([whole, one_class, whole]))
    assert np.isnan(slopes[1])
    assert slopes[[0, 2]] == pytest.approx(np.repeat(calibration_slope(truth, probability), 2))


def test_certainty_is_clipped_to_what_single_precision_tells():
    assert clip_probability([0.0, 0.5, 1.0]) == pytest.approx([CLIP, 0.5, 1 - CLIP], abs=1e-15)


def test_certain_and_no_better_than_chance():
    truth, certain = [0, 1, 0, 1, 1], [0.0, 0.0, 1.0, 1.0, 1.0]
    odds = logit(1 - CLIP)
    # The shares of positives are 1/2 and 2/3, so the fitted line goes through 0 at -odds and log 2 at +odds.
    assert calibration_slope(truth, certain) == pytest.approx([np.log(2) / (2 * odds)])
    expected = brentq(lambda shift: 3 - 2 * expit(shift - odds) - 3 * expit(shift + odds), -30, 30)
    assert calibration_intercept(truth, certain) == pytest.approx([expected])


def test_a_temperature_is_the_most_likely_one_of_platts_targets() -> None:
    random = np.random.default_rng(2)
    odds = random.normal(0, 3, 200)
    truth = (random.random(200) < 1 / (1 + np.exp(-odds / 2))).astype(int)
    found = temperature(truth, 1 / (1 + np.exp(-odds)))
    assert found == pytest.approx(2, rel=0.25)
    positives = truth.sum()
    target = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (200 - positives + 2))

    def loss(value: float) -> float:
        return float(np.mean(np.logaddexp(0, odds / value) - target * odds / value))

    assert loss(found) <= min(loss(found * factor) for factor in (0.98, 1.02))
    np.testing.assert_allclose(tempered([0.5, 0.9], 1.0), [0.5, 0.9])


def test_a_temperature_of_separated_classes_is_finite_and_of_wrong_ones_undefined() -> None:
    assert 0 < temperature([0, 0, 1, 1], [0.3, 0.4, 0.6, 0.7]) < 1
    assert np.isnan(temperature([0, 1], [0.9, 0.1]))
    assert np.isnan(temperature([1, 1], [0.9, 0.1]))
    assert np.isnan(temperature([], []))
