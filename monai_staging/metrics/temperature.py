"""Temperature scaling of class probabilities whose truth may be a set: one number a model, fitted by likelihood.

Guo et al., 2017 (arXiv:1706.04599): log probabilities are divided by a temperature and normalised again. Above 1 the
model was too sure, below 1 not sure enough; the most probable class stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import FloatArray

BoolArray = NDArray[np.bool_]

SMALLEST = 1e-12
"""A smaller probability counts as this one: no temperature would ever lift a 0."""
BOUND = 20.0
"""Temperatures lie between 1 / BOUND and BOUND; only a fit without a prior gets there."""
PRIOR_SD = math.log(2)
"""Standard deviation of the logarithm of the temperature before any patient was seen: 95 % lie between 1/4 and 4."""
_GRID = 31


@dataclass(frozen=True)
class TemperatureScaling:
    """What log probabilities are divided by.

    Attributes:
        temperature: above 0; 1 leaves probabilities as they are.

    Raises:
        DataError: it is not above 0.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise DataError(f"A temperature is above 0, found {self.temperature!r}.")

    @classmethod
    def fit(
        cls, probabilities: ArrayLike, possible: ArrayLike, weights: ArrayLike | None = None, prior_sd: float = PRIOR_SD
    ) -> TemperatureScaling:
        """The temperature of largest likelihood, times a prior on its logarithm.

        The likelihood of a row is the probability of its set, the sum over its members, as in training. A row that says
        nothing (:func:`says_something`) is left out. The prior is normal around 0 (a temperature of 1): without rows
        the temperature is 1, a few rows move it a little, and there is a fit where every prediction is right. Some
        40 rows outweigh it by far.

        Args:
            probabilities: (rows, classes), each row sums to 1.
            possible: (rows, classes) whether the row's truth may be the class.
            weights: (rows); ones by default.
            prior_sd: of the logarithm of the temperature; infinity for likelihood alone, within ``BOUND``.

        Raises:
            UsageError: shapes do not agree, or the prior's deviation is not above 0.
        """
        from scipy.optimize import minimize_scalar

        scores, sets = _log(probabilities), np.asarray(possible, dtype=bool)
        if scores.ndim != 2 or scores.shape != sets.shape:
            raise UsageError(f"Probabilities and sets have one shape, got {scores.shape} and {sets.shape}.")
        if not prior_sd > 0:
            raise UsageError(f"The standard deviation of a prior is above 0, got {prior_sd}.")
        weighted = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
        if weighted.shape != (len(scores),):
            raise UsageError(f"One weight a row is needed, {len(scores)} of them, got shape {weighted.shape}.")
        used = says_something(sets) & (weighted > 0)
        scores, sets, weighted = scores[used], sets[used], weighted[used]
        inside = np.where(sets, scores, -np.inf)

        def losses(logarithms: FloatArray) -> FloatArray:
            """(places) minus the logarithm of likelihood and prior."""
            by = np.exp(logarithms)[:, None, None]
            missing = _log_sum_exp(scores / by) - _log_sum_exp(inside / by)
            return np.asarray(missing @ weighted + 0.5 * (logarithms / prior_sd) ** 2)

        # Sets of several members can make it bend more than once: the best place of a grid first.
        bound = math.log(BOUND)
        grid = np.linspace(-bound, bound, _GRID)
        height = losses(grid)
        best = int(height.argmin())
        ends = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
        found = minimize_scalar(
            lambda place: float(losses(np.array([place]))[0]), bounds=ends, method="bounded", options={"xatol": 1e-9}
        )
        place = float(found.x if found.fun <= height[best] else grid[best])
        return cls(math.exp(place))

    def apply(self, probabilities: ArrayLike) -> FloatArray:
        """(..., classes) calibrated probabilities of such; the last axis sums to 1."""
        scores = _log(probabilities) / self.temperature
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=-1, keepdims=True))

    def to_json(self) -> dict[str, Any]:
        """The form of a file."""
        return {"temperature": self.temperature}

    @classmethod
    def from_json(cls, document: dict[str, Any], classes: int) -> TemperatureScaling:
        """Inverse of :meth:`to_json`, for so many classes; KeyError and TypeError where it is no such document."""
        return cls(float(document["temperature"]))


def possible_classes(truth: Sequence[Sequence[str]], classes: Sequence[str]) -> BoolArray:
    """(rows, classes) whether a class is in the row's set; members that are no class are left out."""
    return np.array([[name in row for name in classes] for row in truth], dtype=bool).reshape(len(truth), len(classes))


def says_something(possible: ArrayLike) -> BoolArray:
    """(rows) whether a set says anything of the classes: not all of them, and at least one."""
    sets = np.asarray(possible, dtype=bool)
    return np.asarray(sets.any(axis=1) & ~sets.all(axis=1))


def _log(probabilities: ArrayLike) -> FloatArray:
    return np.asarray(np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), SMALLEST)))


def _log_sum_exp(values: FloatArray) -> FloatArray:
    """(...) of (..., classes) with a finite value among the classes."""
    top = values.max(axis=-1, keepdims=True)
    return np.asarray(top[..., 0] + np.log(np.exp(values - top).sum(axis=-1)))
