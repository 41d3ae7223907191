"""The staging report: every score of every level, with its interval, beside the majority-class baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from monai_staging.errors import DataError
from monai_staging.metrics import calibration, classification
from monai_staging.metrics.intervals import Estimate, FloatArray, IntArray, percentile_interval, resample
from monai_staging.metrics.levels import LabelCounts, Level
from monai_staging.metrics.predictions import StagingPredictions

SCORES = ("accuracy", "balanced_accuracy", "macro_f1", "quadratic_kappa", "auroc", "ece")
"""What is computed of a model; a metric is called ``<level>_<score>``."""
BASELINE_SCORES = ("accuracy", "balanced_accuracy", "macro_f1")
"""What is computed of the majority class; called ``<level>_majority_<score>``. Its kappa is 0 and its AUROC 0.5."""


def staging_metrics(
    predictions: StagingPredictions,
    baseline: LabelCounts | None = None,
    *,
    seed: int = 0,
    n_boot: int = 1000,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Scores of T, N, M and stage group, at main and fine level, with percentile intervals over resampled patients.

    A row counts at a level where its truth is known there; ``n`` of an estimate says how many patients that are. All
    scores of a level share their resamples. Undefined values are NaN; see :mod:`monai_staging.metrics.classification`.

    Args:
        predictions: probabilities and truth.
        baseline: label counts of the *training* part (:func:`~monai_staging.metrics.levels.label_counts`), whose
            most frequent class, the first of equals, is predicted for everyone; NaN at a level where training has no
            label. Without it there is no baseline.
        seed: of the resampling.
        n_boot: how many resamples.
        level: of the intervals.

    Returns:
        ``<level>_<score>`` for the levels of the edition (``t``, ``n``, ``m``, ``group``, ``t_fine``, ...) and
        ``SCORES``, and ``<level>_majority_<score>`` for ``BASELINE_SCORES``.

    Raises:
        DataError: there is no patient, or the baseline counts a label that is no class of its level.
    """
    if len(predictions) == 0:
        raise DataError("A staging report needs at least 1 patient, found 0.")
    result: dict[str, Estimate] = {}
    for one in predictions.levels.values():
        result |= _level_metrics(one, predictions.patients, baseline, seed, n_boot, level)
    return result


def majority_class(level: Level, baseline: LabelCounts) -> int | None:
    """Index of the most frequent class of a level in label counts, the first of equals; None where nothing is counted.

    Raises:
        DataError: a label is none of the level's classes.
    """
    counts: Mapping[str, int] = baseline.get(level.name, {})
    stray = sorted(set(counts) - set(level.classes))
    if stray:
        raise DataError(
            f"Label counts of {level.name} are those of {', '.join(level.classes)}, found {', '.join(stray)}: "
            "another edition?"
        )
    ordered = [counts.get(name, 0) for name in level.classes]
    return int(np.argmax(ordered)) if any(ordered) else None


def _level_metrics(
    level: Level, patients: Sequence[str], baseline: LabelCounts | None, seed: int, n_boot: int, interval_level: float
) -> dict[str, Estimate]:
    rows = np.flatnonzero(level.known)
    truth, probabilities, predicted = level.truth[rows], level.probabilities[rows], level.predicted[rows]
    draws = resample([patients[row] for row in rows.tolist()], n_boot, seed)
    # The first weighting is the patients themselves, the rest are the resamples.
    weights = np.concatenate([np.ones((1, len(rows))), draws.weights])
    scores = _scores(truth, predicted, probabilities, weights)
    if baseline is not None:
        majority = majority_class(level, baseline)
        undefined = dict.fromkeys(BASELINE_SCORES, np.full(len(weights), np.nan))
        constant = np.full(len(rows), majority if majority is not None else 0)
        found = undefined if majority is None else _label_scores(truth, constant, len(level.classes), weights)
        scores |= {f"majority_{score}": found[score] for score in BASELINE_SCORES}
    result = {}
    for score, values in scores.items():
        value = float(values[0])
        # No interval around what is undefined on the patients themselves.
        low, high = (math.nan, math.nan) if math.isnan(value) else percentile_interval(values[1:], interval_level)
        result[f"{level.name}_{score}"] = Estimate(value, low, high, draws.patients)
    return result


def _scores(
    truth: IntArray, predicted: IntArray, probabilities: FloatArray, weights: FloatArray
) -> dict[str, FloatArray]:
    scores = _label_scores(truth, predicted, probabilities.shape[1], weights)
    scores["auroc"] = classification.auroc(truth, probabilities, weights)
    if len(truth) == 0:
        scores["ece"] = np.full(len(weights), np.nan)
    else:
        scores["ece"] = calibration.calibration_error(*calibration.top_label(truth, probabilities), weights)
    return scores


def _label_scores(truth: IntArray, predicted: IntArray, classes: int, weights: FloatArray) -> dict[str, FloatArray]:
    matrix = classification.confusion(truth, predicted, classes, weights)
    return {
        "accuracy": classification.accuracy(matrix),
        "balanced_accuracy": classification.balanced_accuracy(matrix),
        "macro_f1": classification.macro_f1(matrix),
        "quadratic_kappa": classification.quadratic_kappa(matrix),
    }
