"""Scores of class predictions, on many weightings of the same rows at once.

Every function takes weights of shape (resamples, rows), or none for a single weighting of ones, and gives one value per
resample. A row of weight 0 is as good as absent. What cannot be computed (a class without a positive, a constant
prediction) is NaN, never a convenient number. Checked against scikit-learn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import FloatArray, IntArray


def confusion(truth: ArrayLike, predicted: ArrayLike, classes: int, weights: ArrayLike | None = None) -> FloatArray:
    """Confusion matrices.

    Args:
        truth: (rows) class indices.
        predicted: (rows) class indices.
        classes: how many classes there are.
        weights: (resamples, rows); ones by default.

    Returns:
        (resamples, classes, classes) sums of weights, [truth, predicted].

    Raises:
        UsageError: shapes do not agree or an index is no class.
    """
    true, guess = _indices(truth, classes, "truth"), _indices(predicted, classes, "predicted")
    if true.shape != guess.shape:
        raise UsageError(f"{len(true)} rows of truth for {len(guess)} predictions.")
    cells = np.zeros((len(true), classes * classes))
    cells[np.arange(len(true)), true * classes + guess] = 1
    return (_weights(weights, len(true)) @ cells).reshape(-1, classes, classes)


def accuracy(matrix: FloatArray) -> FloatArray:
    """Share of the weight on the diagonal of (resamples, classes, classes) confusion matrices."""
    return _divide(np.trace(matrix, axis1=1, axis2=2), matrix.sum(axis=(1, 2)))


def balanced_accuracy(matrix: FloatArray) -> FloatArray:
    """Mean recall over the classes that occur in the truth (as ``sklearn.metrics.balanced_accuracy_score``)."""
    recall = _divide(np.diagonal(matrix, axis1=1, axis2=2), matrix.sum(axis=2))
    return _nanmean(recall)


def macro_f1(matrix: FloatArray) -> FloatArray:
    """Mean F1 over the classes that occur in the truth or among the predictions (as ``sklearn.metrics.f1_score``)."""
    hits = np.diagonal(matrix, axis1=1, axis2=2)
    # 2 TP / (2 TP + FP + FN), of which the denominator is row sum plus column sum.
    return _nanmean(_divide(2 * hits, matrix.sum(axis=1) + matrix.sum(axis=2)))


def quadratic_kappa(matrix: FloatArray) -> FloatArray:
    """Cohen's kappa with quadratic weights over the order of the classes (Cohen, 1968).

    The distance of two classes is that of their positions in the whole list of classes, whether or not those between
    occur. NaN where truth and prediction are one and the same single class.
    """
    classes = matrix.shape[1]
    position = np.arange(classes)
    cost = (position[:, None] - position[None, :]) ** 2
    total = matrix.sum(axis=(1, 2))
    observed = (matrix * cost).sum(axis=(1, 2))
    chance = np.einsum("bi,bj,ij->b", matrix.sum(axis=2), matrix.sum(axis=1), cost)
    return 1 - _divide(observed * total, chance)


def class_auroc(positive: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Area under the ROC curve of one class against the rest; ties count half (Mann-Whitney).

    Args:
        positive: (rows) whether the row is of the class.
        scores: (rows) the larger, the more of the class.
        weights: (resamples, rows); ones by default.

    Returns:
        (resamples) areas; NaN where there is no positive or no negative.
    """
    positives, values = np.asarray(positive, dtype=bool), np.asarray(scores, dtype=np.float64)
    weighted = _weights(weights, len(values))
    if len(values) == 0:
        return np.full(len(weighted), np.nan)
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=-np.inf) > 0)
    # Weight of the positives and of the negatives at each distinct score, in ascending order.
    weighted = weighted[:, order]
    positives = positives[order]
    hits = np.add.reduceat(weighted * positives, starts, axis=1)
    misses = np.add.reduceat(weighted * ~positives, starts, axis=1)
    below = np.cumsum(misses, axis=1) - 0.5 * misses
    return _divide((hits * below).sum(axis=1), hits.sum(axis=1) * misses.sum(axis=1))


def auroc(truth: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """Macro one-vs-rest AUROC: the mean over the classes that have both a positive and a negative.

    Args:
        truth: (rows) class indices.
        probabilities: (rows, classes).
        weights: (resamples, rows); ones by default.

    Returns:
        (resamples) areas; NaN where no class has both.
    """
    scores = np.asarray(probabilities, dtype=np.float64)
    true = _indices(truth, scores.shape[1], "truth")
    # A class without a positive in any resample is undefined in all: no need to sort for it.
    present = np.unique(true)
    areas = [class_auroc(true == index, scores[:, index], weights) for index in present]
    if not areas:
        return np.full(len(_weights(weights, len(true))), np.nan)
    return _nanmean(np.stack(areas, axis=1))


def _indices(values: ArrayLike, classes: int, name: str) -> IntArray:
    indices = np.asarray(values, dtype=np.int64)
    if len(indices) and (indices.min() < 0 or indices.max() >= classes):
        raise UsageError(f"Class indices of {name} lie in 0..{classes - 1}, found {indices.min()}..{indices.max()}.")
    return indices


def _weights(weights: ArrayLike | None, rows: int) -> FloatArray:
    if weights is None:
        return np.ones((1, rows))
    array = np.asarray(weights, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != rows:
        raise UsageError(f"Weights are (resamples, rows) with {rows} rows, got shape {array.shape}.")
    return array


def _divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Quotient that is NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)


def _nanmean(values: FloatArray) -> FloatArray:
    """Mean of what is defined along the last axis; NaN, without a warning, where nothing is."""
    defined = ~np.isnan(values)
    return _divide(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))
