"""What calibration changed, and whether prediction sets keep their promise: scores with intervals over patients."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from monai_staging.metrics.calibration import calibration_error, top_label
from monai_staging.metrics.conformal import coverage
from monai_staging.metrics.intervals import Estimate, FloatArray, weightings
from monai_staging.metrics.levels import Level
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.metrics.staging_sets import NAMES, truth_sets
from monai_staging.metrics.temperature import SMALLEST, BoolArray

SCALING_SCORES = ("log_loss", "calibrated_log_loss", "log_loss_gain", "ece", "calibrated_ece")
"""Of every level, as ``<level>_<score>``."""
SET_SCORES = ("set_coverage", "set_size")
"""Of T, N, M and the stage group, of the finest categories: ``t_set_coverage``."""


def scaling_metrics(
    before: StagingPredictions, after: StagingPredictions, *, seed: int = 0, n_boot: int = 1000, level: float = 0.95
) -> dict[str, Estimate]:
    """``<level>_<score>`` for ``SCALING_SCORES``, at every level, over the rows whose truth is known there.

    The log loss is the mean of minus the logarithm of the true class's probability, natural; the gain is how much less
    it is afterwards, on the same patients, so that what makes a patient hard for both cancels in its interval.

    Args:
        before: as the model says.
        after: the same rows, calibrated.
        seed: of the resampling.
        n_boot: how many resamples.
        level: of the intervals.
    """
    result: dict[str, Estimate] = {}
    for name, one in before.levels.items():
        rows = np.flatnonzero(one.known)
        draws = weightings([before.patients[row] for row in rows.tolist()], n_boot, seed)
        losses = [_log_loss(level_, rows) for level_ in (one, after.levels[name])]
        values = {
            "log_loss": _mean(losses[0], draws.weights),
            "calibrated_log_loss": _mean(losses[1], draws.weights),
            "log_loss_gain": _mean(losses[0] - losses[1], draws.weights),
            "ece": _ece(one, rows, draws.weights),
            "calibrated_ece": _ece(after.levels[name], rows, draws.weights),
        }
        for score, found in values.items():
            # No interval around what is undefined on the patients themselves.
            nothing = Estimate(math.nan, math.nan, math.nan, draws.patients)
            result[f"{name}_{score}"] = nothing if math.isnan(found[0]) else draws.estimate(found, level)
    return result


def set_metrics(
    predictions: StagingPredictions,
    sets: Mapping[str, BoolArray],
    *,
    seed: int = 0,
    n_boot: int = 1000,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """``<name>_<score>`` for ``SET_SCORES``.

    Coverage is over the patients with a truth that is one finest category, with its Clopper-Pearson interval: a patient
    is covered if all such studies are. The mean number of categories named is over all rows, by resampling patients.

    Args:
        predictions: truth and patients.
        sets: see :meth:`monai_staging.metrics.staging_calibration.StagingCalibration.prediction_sets`.
        seed: of the resampling.
        n_boot: how many resamples.
        level: of the intervals.
    """
    draws = weightings(predictions.patients, n_boot, seed)
    result: dict[str, Estimate] = {}
    for name in NAMES:
        settled = truth_sets(predictions, name, "omit")
        result[f"{name}_set_coverage"] = coverage(sets[name], settled, predictions.patients, level)
        sizes = sets[name].sum(axis=1).astype(np.float64)
        result[f"{name}_set_size"] = draws.estimate(_mean(sizes, draws.weights), level)
    return result


def _log_loss(level: Level, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> FloatArray:
    chances = level.probabilities[rows, level.truth[rows]]
    return np.asarray(-np.log(np.clip(chances, SMALLEST, 1)))


def _ece(level: Level, rows: np.ndarray[tuple[int], np.dtype[np.int64]], weights: FloatArray) -> FloatArray:
    if not len(rows):
        return np.full(len(weights), np.nan)
    return calibration_error(*top_label(level.truth[rows], level.probabilities[rows]), weights)


def _mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    """(resamples) weighted means; NaN where all weights are 0."""
    total = weights.sum(axis=1)
    return np.divide(weights @ values, total, out=np.full(len(weights), np.nan), where=total != 0)
