"""The report of a binary classifier: discrimination, decisions and calibration, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics import classification, operating_points, recalibration
from monai_staging.metrics.calibration import calibration_error
from monai_staging.metrics.classification import _divide, _weights
from monai_staging.metrics.intervals import Estimate, FloatArray, IntArray, percentile_interval, resample

CELLS = 2**19
"""Weights that are scored in one go: enough to be fast, few enough to stay in the cache."""


def brier_score(truth: ArrayLike, probability: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Mean squared distance of probability and outcome (Brier, 1950): (resamples) values in 0..1, 0 is best."""
    outcome, values = np.asarray(truth, dtype=np.float64), np.asarray(probability, dtype=np.float64)
    weighted = _weights(weights, len(values))
    return _divide(weighted @ (values - outcome) ** 2, weighted.sum(axis=1))


def log_loss(truth: ArrayLike, probability: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Mean negative log likelihood, in nats: (resamples) values, 0 is best.

    Probabilities are clipped to ``[1e-7, 1 - 1e-7]`` (:func:`~monai_staging.metrics.recalibration.clip_probability`):
    a certain error costs 16.1 and not infinity.
    """
    outcome, values = np.asarray(truth, dtype=np.float64), recalibration.clip_probability(probability)
    weighted = _weights(weights, len(values))
    losses = -(outcome * np.log(values) + (1 - outcome) * np.log1p(-values))
    return _divide(weighted @ losses, weighted.sum(axis=1))


def binary_metrics(
    truth: ArrayLike,
    probability: ArrayLike,
    patients: Sequence[str] | NDArray[Any],
    *,
    threshold: float = 0.5,
    seed: int = 0,
    n_boot: int = 1000,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Scores of a binary classifier with percentile intervals over resampled patients.

    All scores share their resamples. The operating points are those of
    :func:`~monai_staging.metrics.operating_points.sensitivity_at_specificity` and its counterpart. The expected
    calibration error is that of the probability of being positive, over at most ten equal-mass bins
    (:func:`~monai_staging.metrics.calibration.calibration_error`). What is undefined (sensitivity without a positive
    row, a slope of separated classes) is NaN.

    Args:
        truth: (rows) 1 where the row is positive, 0 elsewhere.
        probability: (rows) of being positive.
        patients: (rows) whose each row is.
        threshold: a row is called positive where its probability is at least this. One that was chosen on these rows
            makes the scores too good; see :func:`~monai_staging.metrics.operating_points.threshold_at_specificity`.
        seed: of the resampling.
        n_boot: how many resamples.
        level: of the intervals.

    Returns:
        ``auroc``, ``average_precision``, ``accuracy``, ``balanced_accuracy``, ``sensitivity``, ``specificity``,
        ``sensitivity_at_90_specificity``, ``specificity_at_90_sensitivity``, ``brier``, ``log_loss``, ``ece``,
        ``calibration_slope`` and ``calibration_intercept``.

    Raises:
        UsageError: truth, probability and patients differ in length.
        DataError: there is no row, a truth is neither 0 nor 1, or a probability is not in 0..1.
    """
    outcome, values = check_rows(truth, probability, patients)
    draws = resample(patients, n_boot, seed)
    # The first weighting is the patients themselves, the rest are the resamples.
    weights = np.concatenate([np.ones((1, len(outcome))), draws.weights])
    parts = np.array_split(weights, min(len(weights), math.ceil(weights.size / CELLS)))
    found = [_scores(outcome, values, part, threshold) for part in parts]
    result = {}
    for name in found[0]:
        resampled = np.concatenate([part[name] for part in found])
        value = float(resampled[0])
        # No interval around what is undefined on the patients themselves.
        low, high = (math.nan, math.nan) if math.isnan(value) else percentile_interval(resampled[1:], level)
        result[name] = Estimate(value, low, high, draws.patients)
    return result


def check_rows(
    truth: ArrayLike, probability: ArrayLike, patients: Sequence[str] | NDArray[Any]
) -> tuple[IntArray, FloatArray]:
    """Truth as integers and probabilities as floats, or the error of :func:`binary_metrics`."""
    given, values, whose = np.asarray(truth), np.asarray(probability, dtype=np.float64), np.asarray(patients)
    if not (given.shape == values.shape == whose.shape == (len(whose),)):
        raise UsageError(
            "Truth, probability and patients are one value a row each, "
            f"got shapes {given.shape}, {values.shape} and {whose.shape}."
        )
    if len(whose) == 0:
        raise DataError("Scores of a classifier need at least 1 row, found 0.")
    for rule, array, good in (
        ("a truth is 0 or 1", given, (given == 0) | (given == 1)),
        # Written so that NaN fails too.
        ("a probability lies in 0..1", values, (values >= 0) & (values <= 1)),
    ):
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise DataError(f"{whose[row]}: {rule}, found {array[row]} (row {row}).")
    return given.astype(np.int64), values


def _scores(truth: IntArray, probability: FloatArray, weights: FloatArray, threshold: float) -> dict[str, FloatArray]:
    matrix = classification.confusion(truth, (probability >= threshold).astype(np.int64), 2, weights)
    return {
        "auroc": classification.class_auroc(truth, probability, weights),
        "average_precision": operating_points.average_precision(truth, probability, weights),
        "accuracy": classification.accuracy(matrix),
        "balanced_accuracy": classification.balanced_accuracy(matrix),
        "sensitivity": _divide(matrix[:, 1, 1], matrix[:, 1].sum(axis=1)),
        "specificity": _divide(matrix[:, 0, 0], matrix[:, 0].sum(axis=1)),
        "sensitivity_at_90_specificity": operating_points.sensitivity_at_specificity(truth, probability, weights),
        "specificity_at_90_sensitivity": operating_points.specificity_at_sensitivity(truth, probability, weights),
        "brier": brier_score(truth, probability, weights),
        "log_loss": log_loss(truth, probability, weights),
        "ece": calibration_error(probability, truth, weights),
        "calibration_slope": recalibration.calibration_slope(truth, probability, weights),
        "calibration_intercept": recalibration.calibration_intercept(truth, probability, weights),
    }
