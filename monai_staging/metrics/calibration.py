"""Does a probability of 0.8 mean right in 8 of 10? Reliability bins and the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import FloatArray, IntArray

BINS = 10
"""Most bins of a calibration error."""
ROWS_PER_BIN = 10
"""Fewest rows per bin on average: with few patients there are fewer bins, down to one, else the gaps are chance."""


@dataclass(frozen=True)
class ReliabilityBins:
    """What a reliability diagram shows.

    Attributes:
        edges: (bins + 1) confidences between which the bins lie; the last edge belongs to the last bin.
        counts: (bins) rows in each bin.
        confidence: (bins) mean confidence; NaN in an empty bin.
        accuracy: (bins) share of right predictions; NaN in an empty bin.
    """

    edges: FloatArray
    counts: IntArray
    confidence: FloatArray
    accuracy: FloatArray


def top_label(truth: ArrayLike, probabilities: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Confidence and correctness of the most probable class.

    Args:
        truth: (rows) class indices.
        probabilities: (rows, classes).

    Returns:
        (rows) largest probability; (rows) 1 where its class is the truth, 0 elsewhere.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    return scores.max(axis=1), (scores.argmax(axis=1) == np.asarray(truth)).astype(np.float64)


def bin_edges(confidence: ArrayLike, bins: int = BINS) -> FloatArray:
    """Edges of equal-mass bins: quantiles of the confidences, so that every bin rests on about as many rows.

    There are ``min(bins, rows // ROWS_PER_BIN)`` of them, at least one; fewer where confidences repeat.

    Returns:
        (bins + 1) ascending edges.

    Raises:
        UsageError: there is no row or no bin.
    """
    values = np.asarray(confidence, dtype=np.float64)
    if len(values) == 0 or bins < 1:
        raise UsageError(f"Calibration needs at least 1 row and 1 bin, got {len(values)} and {bins}.")
    count = max(1, min(bins, len(values) // ROWS_PER_BIN))
    edges = np.unique(np.quantile(values, np.linspace(0, 1, count + 1)))
    return edges if len(edges) > 1 else np.repeat(edges, 2)


def calibration_error(
    confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None, bins: int = BINS
) -> FloatArray:
    """Expected calibration error of the top label (Naeini et al., 2015; Guo et al., 2017), over equal-mass bins.

    The mean over bins of the distance between share right and mean confidence, each weighted by its share of the rows.
    The bins come from all rows and stay the same for every resample. In small samples it is biased upwards, and an
    interval never reaches 0: even a calibrated model has chance gaps in its bins.

    Args:
        confidence: (rows) probability of the predicted class.
        correct: (rows) 1 where the prediction is right, 0 elsewhere.
        weights: (resamples, rows); ones by default.
        bins: most bins; see :func:`bin_edges`.

    Returns:
        (resamples) errors in 0..1; NaN where all weights are 0.
    """
    values, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    weighted = np.ones((1, len(values))) if weights is None else np.asarray(weights, dtype=np.float64)
    edges = bin_edges(values, bins)
    gaps = np.zeros((len(values), len(edges) - 1))
    gaps[np.arange(len(values)), _bin_of(values, edges)] = right - values
    total = weighted.sum(axis=1)
    # Weight of a bin times its gap is just the sum of weighted (right - confidence) in it.
    errors = np.abs(weighted @ gaps).sum(axis=1)
    return np.divide(errors, total, out=np.full(total.shape, np.nan), where=total != 0)


def reliability_bins(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> ReliabilityBins:
    """The bins behind :func:`calibration_error`, to draw."""
    values, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    edges = bin_edges(values, bins)
    index = _bin_of(values, edges)
    count = len(edges) - 1
    counts = np.bincount(index, minlength=count)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(index, values, minlength=count) / counts
        mean_right = np.bincount(index, right, minlength=count) / counts
    return ReliabilityBins(edges, counts, mean_confidence, mean_right)


def _bin_of(values: FloatArray, edges: FloatArray) -> IntArray:
    """(rows) bin of each value: equal values share a bin, a value on an inner edge goes to the upper one."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
