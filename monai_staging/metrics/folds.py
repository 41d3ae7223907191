"""Statistics of cross-validated predictions, where every fold was scored by another model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import MINIMUM_DEFINED, FloatArray

WeightedStatistic = Callable[[NDArray[Any], FloatArray, FloatArray], FloatArray]
"""``statistic(truth, scores, weights)``: (rows), (rows), (resamples, rows) to (resamples); NaN where undefined."""


def by_fold(statistic: WeightedStatistic, folds: ArrayLike) -> WeightedStatistic:
    """The statistic averaged over folds instead of pooled over them.

    Pooling compares scores of different models with each other, whose scales need not agree: a pooled area mixes how a
    model ranks its patients with how the models are calibrated against each other, and is biased where the folds differ
    in their share of positives (Airola et al., 2011, Computational Statistics and Data Analysis 55:1828-1844).
    Averaged, only patients that one model scored are compared; with few patients of a class in a fold the mean is
    noisier.

    Every fold counts the same, however many of its rows a resample draws. A fold in which the statistic is undefined in
    a resample (no positive, no negative) is left out of that resample's mean, as long as at least half of the folds
    (``MINIMUM_DEFINED``) are defined; otherwise the mean is NaN.

    Args:
        statistic: weighted, see ``WeightedStatistic``.
        folds: (rows) the fold in which each row was held out.

    Returns:
        A weighted statistic of the same rows.

    Raises:
        UsageError: folds are not one a row (on a call, when the rows are known).
    """
    labels = np.asarray(folds)
    if labels.ndim != 1 or labels.size == 0:
        raise UsageError(f"Folds are one label a row, of at least 1 row, got an array of shape {labels.shape}.")
    groups = [np.flatnonzero(labels == fold) for fold in np.unique(labels)]

    def average(truth: NDArray[Any], scores: FloatArray, weights: FloatArray) -> FloatArray:
        if len(labels) != len(scores):
            raise UsageError(f"{len(labels)} folds for {len(scores)} rows.")
        values = np.stack([statistic(truth[rows], scores[rows], weights[:, rows]) for rows in groups])
        defined = ~np.isnan(values)
        count = defined.sum(axis=0)
        mean = np.where(defined, values, 0).sum(axis=0) / np.maximum(count, 1)
        return np.where((count > 0) & (count >= MINIMUM_DEFINED * len(groups)), mean, np.nan)

    return average
