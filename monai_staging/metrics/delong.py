"""Variance of the area under the ROC curve without resampling: DeLong, and Obuchowski for several rows a patient.

The area is a mean over pairs of a positive and a negative row. The *placement* of a positive row is the share of
negatives that score lower (ties count half), that of a negative row the share of positives that score higher; areas
vary as the means of their placements do (DeLong, DeLong and Clarke-Pearson, 1988). Placements come from ranks, in O(n
log n) (Sun and Xu, 2014). Rows of one patient are not independent: their placements are summed first, and patients vary
(Obuchowski, 1997, Biometrics 53:567-578). With one row a patient both are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import Estimate, FloatArray
from monai_staging.metrics.paired import PairedDifference

ROUNDING = 1e-15
"""What rounding may leave of a variance of 0."""


@dataclass(frozen=True, eq=False)
class Areas:
    """Areas under several ROC curves of the same rows, and how they vary together.

    Attributes:
        values: (curves) areas.
        covariance: (curves, curves); NaN where fewer than two patients have a positive, or a negative, row.
        n: how many patients they rest on.
    """

    values: FloatArray
    covariance: FloatArray
    n: int


def placements(truth: ArrayLike, scores: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """(positives) and (negatives) placements, in the order of the rows; the mean of either is the area."""
    positive, values = np.asarray(truth, dtype=bool), np.asarray(scores, dtype=np.float64)
    above, below = values[positive], values[~positive]
    # Mean of the ranks before and after those of equal score: a midrank among the other class.
    return _midrank(above, below) / len(below), 1 - _midrank(below, above) / len(above)


def delong_covariance(
    truth: ArrayLike, scores: ArrayLike, patients: Sequence[str] | NDArray[Any] | None = None
) -> Areas:
    """Areas under the ROC curves of several scores of the same rows, with their covariance.

    Args:
        truth: (rows) 1 where the row is positive, 0 elsewhere.
        scores: (curves, rows) the larger, the more positive.
        patients: (rows) whose each row is; every row another patient's by default.

    Raises:
        UsageError: shapes do not agree, or a score is NaN.
    """
    positive, values = np.asarray(truth, dtype=bool), np.asarray(scores, dtype=np.float64)
    rows = np.arange(len(positive)) if patients is None else np.asarray(patients)
    if values.ndim != 2 or positive.shape != rows.shape or positive.shape != values.shape[1:]:
        raise UsageError(
            "Areas need truth (rows), scores (curves, rows) and patients (rows), "
            f"got shapes {positive.shape}, {values.shape} and {rows.shape}."
        )
    if np.isnan(values).any():
        raise UsageError(f"Scores are ranked and cannot be NaN, found {int(np.isnan(values).sum())} that are.")
    names, index = np.unique(rows, return_inverse=True)
    curves, count = len(values), len(names)
    hits, misses = int(positive.sum()), int((~positive).sum())
    if not (hits and misses):
        return Areas(np.full(curves, np.nan), np.full((curves, curves), np.nan), count)
    pairs = [placements(positive, row) for row in values]
    areas = np.array([above.mean() for above, _ in pairs])
    # (curves, patients) sums of the placements of a patient's rows, less what they would sum to on average.
    above = np.stack([_summed(index[positive], one - area, count) for (one, _), area in zip(pairs, areas, strict=True)])
    below = np.stack(
        [_summed(index[~positive], one - area, count) for (_, one), area in zip(pairs, areas, strict=True)]
    )
    with_hits, with_misses = len(np.unique(index[positive])), len(np.unique(index[~positive]))
    if with_hits < 2 or with_misses < 2:
        return Areas(areas, np.full((curves, curves), np.nan), count)
    s10 = above @ above.T * with_hits / ((with_hits - 1) * hits)
    s01 = below @ below.T * with_misses / ((with_misses - 1) * misses)
    s11 = above @ below.T * count / (count - 1)
    return Areas(areas, s10 / hits + s01 / misses + (s11 + s11.T) / (hits * misses), count)


def delong_variance(truth: ArrayLike, scores: ArrayLike, patients: Sequence[str] | NDArray[Any] | None = None) -> float:
    """Variance of the area under the ROC curve; the arguments are those of :func:`delong_interval`."""
    return float(delong_covariance(truth, np.asarray(scores)[None], patients).covariance[0, 0])


def delong_interval(
    truth: ArrayLike,
    scores: ArrayLike,
    patients: Sequence[str] | NDArray[Any] | None = None,
    *,
    level: float = 0.95,
) -> Estimate:
    """The area under the ROC curve with its normal interval, cut off at 0 and 1.

    There is no interval (NaN) where the variance is 0: placements do not vary between perfectly separated classes,
    which says nothing about the next patient.

    Args:
        truth: (rows) 1 where the row is positive, 0 elsewhere.
        scores: (rows) the larger, the more positive.
        patients: (rows) whose each row is; every row another patient's by default.
        level: of the interval.

    Raises:
        UsageError: shapes do not agree, a score is NaN, or ``level`` is not in (0, 1).
    """
    areas = delong_covariance(truth, np.asarray(scores)[None], patients)
    value, spread = float(areas.values[0]), _half_width(areas.covariance[0, 0], level)
    if not spread > 0:
        return Estimate(value, math.nan, math.nan, areas.n)
    return Estimate(value, max(value - spread, 0.0), min(value + spread, 1.0), areas.n)


def delong_test(
    truth: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    patients: Sequence[str] | NDArray[Any] | None = None,
    *,
    level: float = 0.95,
) -> PairedDifference:
    """Difference of the areas of two scores of the same rows, with its normal interval and two-sided p-value.

    For one pair of trained models; :func:`~monai_staging.metrics.paired.paired_difference` takes repetitions and any
    statistic. Where the difference has no variance, scores that rank every pair alike differ by 0 with p = 1, and
    others have neither interval nor p.

    Args:
        truth: (rows) 1 where the row is positive, 0 elsewhere.
        a: (rows) scores of one arm.
        b: (rows) scores of the other.
        patients: (rows) whose each row is; every row another patient's by default.
        level: of the interval.

    Raises:
        UsageError: shapes do not agree, a score is NaN, or ``level`` is not in (0, 1).
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise UsageError(f"Two arms score the same rows, got shapes {first.shape} and {second.shape}.")
    areas = delong_covariance(truth, np.stack([first, second]), patients)
    value = float(areas.values[0] - areas.values[1])
    contrast = np.array([1.0, -1.0])
    variance = float(contrast @ areas.covariance @ contrast)
    spread = _half_width(variance, level)
    if not spread > 0:
        same = abs(variance) <= ROUNDING and value == 0
        low, high, p = (0.0, 0.0, 1.0) if same else (math.nan, math.nan, math.nan)
        return PairedDifference(value, low, high, areas.n, p=p)
    p = math.erfc(abs(value) / math.sqrt(2 * variance))
    return PairedDifference(value, value - spread, value + spread, areas.n, p=p)


def _midrank(values: FloatArray, among: FloatArray) -> FloatArray:
    """How many of the others are smaller, and half of those that are equal."""
    ordered = np.sort(among)
    return np.asarray(0.5 * (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")))


def _summed(index: NDArray[Any], values: FloatArray, count: int) -> FloatArray:
    return np.asarray(np.bincount(index, values, minlength=count), dtype=np.float64)


def _half_width(variance: float, level: float) -> float:
    if not 0 < level < 1:
        raise UsageError(f"The level of an interval lies between 0 and 1, got {level}.")
    return NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(variance) if variance > ROUNDING else 0.0
