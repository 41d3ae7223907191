"""Points of the ROC and precision-recall curves of a binary classifier, on many weightings of the rows at once.

A row is called positive where its score is at or above a threshold. Thresholds are the distinct scores, and one above
all of them, at which nobody is positive: rows of equal score change sides together, and no point between two thresholds
is ever interpolated, since no threshold reaches it. Checked against scikit-learn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.classification import _divide, _weights
from monai_staging.metrics.intervals import FloatArray

ROUNDING = 1e-9
"""A rate this close below a wanted one has reached it: 9 of 10 is 0.9, whatever the last bit says."""


def average_precision(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Average precision: precision at every threshold, weighted by the recall it adds, without interpolation.

    As ``sklearn.metrics.average_precision_score``. That of a useless score is the share of positives, not 0.5.

    Args:
        truth: (rows) 1 where the row is positive, 0 elsewhere.
        scores: (rows) the larger, the more positive.
        weights: (resamples, rows); ones by default.

    Returns:
        (resamples) values; NaN where there is no positive.
    """
    _, hits, misses = _curve(truth, scores, weights)
    precision = np.divide(hits, hits + misses, out=np.zeros_like(hits), where=hits + misses != 0)
    return _divide((np.diff(hits, axis=1) * precision[:, 1:]).sum(axis=1), hits[:, -1])


def sensitivity_at_specificity(
    truth: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, *, specificity: float = 0.9
) -> FloatArray:
    """The largest sensitivity that any threshold reaches with at least this specificity.

    The threshold is chosen on the rows that it is judged by, in every resample anew: this describes the curve. The
    performance at a threshold that was frozen before (:func:`threshold_at_specificity`) is lower.

    Args:
        truth: (rows) 1 where the row is positive, 0 elsewhere.
        scores: (rows) the larger, the more positive.
        weights: (resamples, rows); ones by default.
        specificity: the least acceptable, in 0..1.

    Returns:
        (resamples) sensitivities; NaN where there is no positive or no negative.

    Raises:
        UsageError: ``specificity`` is not in 0..1.
    """
    _, hits, misses = _curve(truth, scores, weights)
    best = np.where(_specific(misses, specificity), hits, 0).max(axis=1)
    return np.where(misses[:, -1] > 0, _divide(best, hits[:, -1]), np.nan)


def specificity_at_sensitivity(
    truth: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, *, sensitivity: float = 0.9
) -> FloatArray:
    """The largest specificity that any threshold reaches with at least this sensitivity.

    The counterpart of :func:`sensitivity_at_specificity`, with the same arguments and undefined values.
    """
    _, hits, misses = _curve(truth, scores, weights)
    negatives = misses[:, -1]
    fewest = np.where(_sensitive(hits, sensitivity), misses, negatives[:, None]).min(axis=1)
    return np.where(hits[:, -1] > 0, _divide(negatives - fewest, negatives), np.nan)


def threshold_at_specificity(truth: ArrayLike, scores: ArrayLike, specificity: float) -> float:
    """The threshold to freeze on validation data: the lowest score that still has at least this specificity.

    Of all thresholds that are specific enough it is the most sensitive. Apply it as ``score >= threshold``. Where even
    the highest score is that of too many negatives, it is the next number above that score, and nobody is positive.

    Args:
        truth: (rows) 1 where the row is positive, 0 elsewhere.
        scores: (rows) the larger, the more positive.
        specificity: the least acceptable, in 0..1.

    Raises:
        UsageError: ``specificity`` is not in 0..1.
        DataError: there is no negative row.
    """
    thresholds, _, misses = _curve(truth, scores, None)
    if misses[0, -1] == 0:
        raise DataError(f"A threshold at a specificity needs negative rows, found none among {_size(scores)}.")
    return float(thresholds[np.flatnonzero(_specific(misses, specificity)[0])[-1]])


def threshold_at_sensitivity(truth: ArrayLike, scores: ArrayLike, sensitivity: float) -> float:
    """The threshold to freeze on validation data: the highest score that has at least this sensitivity.

    The counterpart of :func:`threshold_at_specificity`.

    Raises:
        UsageError: ``sensitivity`` is not in 0..1.
        DataError: there is no positive row.
    """
    thresholds, hits, _ = _curve(truth, scores, None)
    if hits[0, -1] == 0:
        raise DataError(f"A threshold at a sensitivity needs positive rows, found none among {_size(scores)}.")
    return float(thresholds[np.flatnonzero(_sensitive(hits, sensitivity)[0])[0]])


def threshold_at_accuracy(truth: ArrayLike, scores: ArrayLike, default: float = 0.5) -> float:
    """The threshold to freeze on validation data: of those with the most rows right, the one nearest to ``default``.

    A threshold lies halfway between two neighbouring scores, at the lowest or just above the highest, or is the
    default. Apply it as ``score >= threshold``.

    Args:
        truth: (rows) 1 where the row is positive, 0 elsewhere.
        scores: (rows) the larger, the more positive.
        default: taken where nothing is gained by another.

    Raises:
        DataError: there is no row.
    """
    positive, values = np.asarray(truth, dtype=bool), np.asarray(scores, dtype=np.float64)
    if len(values) == 0:
        raise DataError("A threshold needs rows, found none.")
    distinct = np.unique(values)
    ends = [distinct[0], np.nextafter(distinct[-1], np.inf)]
    candidates = np.concatenate([[default], (distinct[:-1] + distinct[1:]) / 2, ends])
    right = ((values >= candidates[:, None]) == positive).sum(axis=1)
    best = candidates[right == right.max()]
    return float(best[np.abs(best - default).argmin()])


def _curve(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike | None) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(thresholds) descending; (resamples, thresholds) weight of positives and of negatives at or above each."""
    positive, values = np.asarray(truth, dtype=bool), np.asarray(scores, dtype=np.float64)
    weighted = _weights(weights, len(values))
    if len(values) == 0:
        empty = np.zeros((len(weighted), 1))
        return np.full(1, np.inf), empty, empty
    order = np.argsort(-values, kind="stable")
    ordered, positive, weighted = values[order], positive[order], weighted[:, order]
    starts = np.flatnonzero(np.diff(ordered, prepend=np.inf) < 0)
    nobody = np.zeros((len(weighted), 1))
    hits = np.cumsum(np.add.reduceat(weighted * positive, starts, axis=1), axis=1)
    misses = np.cumsum(np.add.reduceat(weighted * ~positive, starts, axis=1), axis=1)
    thresholds = np.concatenate([[np.nextafter(ordered[0], np.inf)], ordered[starts]])
    return thresholds, np.concatenate([nobody, hits], axis=1), np.concatenate([nobody, misses], axis=1)


def _specific(misses: FloatArray, specificity: float) -> FloatArray:
    """Where the specificity is at least the wanted one."""
    _check_rate(specificity, "specificity")
    return np.asarray(misses <= (1 - specificity + ROUNDING) * misses[:, -1:])


def _sensitive(hits: FloatArray, sensitivity: float) -> FloatArray:
    """Where the sensitivity is at least the wanted one."""
    _check_rate(sensitivity, "sensitivity")
    return np.asarray(hits >= (sensitivity - ROUNDING) * hits[:, -1:])


def _check_rate(rate: float, name: str) -> None:
    if not 0 <= rate <= 1:
        raise UsageError(f"A {name} lies in 0..1, got {rate}.")


def _size(scores: ArrayLike) -> int:
    return int(np.asarray(scores).size)
