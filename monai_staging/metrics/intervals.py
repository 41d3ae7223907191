"""Percentile bootstrap over patients: every figure this package reports comes with its interval and its n.

A statistic here is a function of *weights*: a resample of patients is nothing but a count per patient, so a metric that
takes row weights is evaluated on all resamples at once, without ever copying a row (Efron and Tibshirani, 1993, ch. 6).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_staging.errors import DataError, UsageError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MINIMUM_DEFINED = 0.5
"""Share of resamples on which a statistic must be defined; below it the interval is not given (NaN)."""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes:
        value: the statistic on all patients; NaN where it is undefined.
        low: lower end of the interval; NaN where there is none.
        high: upper end of the interval; NaN where there is none.
        n: how many patients it rests on.
    """

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float | int | None]:
        """The form of ``metrics.json``; what is undefined becomes null, since JSON knows no NaN."""
        return {
            "value": _or_none(self.value),
            "low": _or_none(self.low),
            "high": _or_none(self.high),
            "n": self.n,
        }

    def text(self, digits: int = 2) -> str:
        """For readers: "0.81 [0.70, 0.91]"; "0.81" where there is no interval, "-" where there is no value."""
        if math.isnan(self.value):
            return "-"
        if math.isnan(self.low):
            return f"{self.value:.{digits}f}"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass(frozen=True)
class Resamples:
    """Bootstrap resamples of patients, as weights of the rows.

    Attributes:
        weights: (resamples, rows) how often each row is drawn; rows of one patient always share their weight.
        patients: how many distinct patients were drawn from.
    """

    weights: FloatArray
    patients: int


def resample(patients: Sequence[str] | NDArray[Any], n: int = 1000, seed: int = 0) -> Resamples:
    """Draws patients with replacement, as many as there are, ``n`` times.

    Args:
        patients: (rows) whose each row is; a patient may have several rows (studies), which stay together.
        n: how many resamples.
        seed: of the draw; the same rows, ``n`` and seed give the same resamples. Patients are numbered as they come:
            a cohort names its cases by a random key, and its intervals must not depend on that.

    Raises:
        UsageError: ``n`` is below 1.
    """
    if n < 1:
        raise UsageError(f"A bootstrap needs at least 1 resample, got n={n}.")
    rows = np.asarray(patients)
    if rows.ndim != 1:
        raise UsageError(f"Patients must be one name a row, got an array of shape {rows.shape}.")
    _, first, index = np.unique(rows, return_index=True, return_inverse=True)
    count = len(first)
    index = np.argsort(np.argsort(first))[index]
    if count == 0:
        return Resamples(np.zeros((n, 0)), 0)
    drawn = np.random.default_rng(seed).integers(0, count, size=(n, count))
    # One histogram over (resample, patient) counts all draws together.
    drawn += np.arange(n)[:, None] * count
    counts = np.bincount(drawn.ravel(), minlength=n * count).reshape(n, count)
    return Resamples(counts[:, index].astype(np.float64), count)


@dataclass(frozen=True)
class Weightings:
    """The patients themselves and their resamples: a statistic of all these weights is a value and its interval.

    Attributes:
        weights: (1 + resamples, rows), the first all 1.
        patients: how many distinct patients there are.
    """

    weights: FloatArray
    patients: int

    def estimate(self, values: FloatArray, level: float = 0.95) -> Estimate:
        """Of a statistic, (1 + resamples); without resamples it has no interval."""
        return Estimate(float(values[0]), *percentile_interval(values[1:], level), n=self.patients)


def weightings(patients: Sequence[str], n: int = 1000, seed: int = 0) -> Weightings:
    """The weights of a bootstrap, see :func:`resample`; ``n`` may be 0."""
    ones = np.ones((1, len(patients)))
    if n == 0:
        return Weightings(ones, len(set(patients)))
    draws = resample(patients, n, seed)
    return Weightings(np.concatenate([ones, draws.weights]), draws.patients)


def percentile_interval(resampled: FloatArray, level: float = 0.95) -> tuple[float, float]:
    """The central ``level`` of the resampled values.

    Undefined (NaN) values are left out, as long as at least half of the values are defined (``MINIMUM_DEFINED``);
    otherwise the interval is (NaN, NaN): a resample that lacks a class says nothing, but if most of them do, the rest
    are no fair sample.

    Args:
        resampled: (resamples) values of the statistic.
        level: share of the values inside, in (0, 1).

    Raises:
        UsageError: ``level`` is not in (0, 1).
    """
    if not 0 < level < 1:
        raise UsageError(f"The level of an interval lies between 0 and 1, got {level}.")
    defined = resampled[~np.isnan(resampled)]
    if len(defined) == 0 or len(defined) < MINIMUM_DEFINED * len(resampled):
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def patient_bootstrap(
    statistic: Callable[..., Any],
    patients: Sequence[str] | NDArray[Any],
    *arrays: NDArray[Any],
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    weighted: bool = False,
) -> Estimate:
    """A statistic with its percentile interval over resampled patients (clusters), never over rows.

    Args:
        statistic: called as ``statistic(*arrays)`` on the rows of a resample, repeated as often as they were drawn, and
            gives a number; or, with ``weighted``, as ``statistic(*arrays, weights)`` with weights of shape
            (resamples, rows), for all resamples at once, and gives (resamples) numbers. NaN means undefined; see
            :func:`percentile_interval`.
        patients: (rows) whose each row is.
        arrays: (rows, ...) what the statistic is computed from.
        n: how many resamples.
        seed: of the resampling.
        level: of the interval.
        weighted: whether ``statistic`` takes weights, which is much faster.

    Raises:
        UsageError: arrays and patients differ in length, or ``n`` or ``level`` is out of range.
        DataError: there is no row.
    """
    patients = np.asarray(patients)
    data = [np.asarray(array) for array in arrays]
    for position, array in enumerate(data):
        if len(array) != len(patients):
            raise UsageError(f"Array {position} has {len(array)} rows for {len(patients)} rows of patients.")
    if len(patients) == 0:
        raise DataError("A bootstrap needs at least 1 patient, found 0.")
    draws = resample(patients, n, seed)
    if weighted:
        # The first weighting is the patients themselves, the rest are the resamples.
        weights = np.concatenate([np.ones((1, len(patients))), draws.weights])
        found = np.asarray(statistic(*data, weights), dtype=np.float64)
        if found.shape != (n + 1,):
            raise UsageError(f"A weighted statistic gives one value a resample, ({n + 1},); got shape {found.shape}.")
        value, values = float(found[0]), found[1:]
    else:
        value = float(statistic(*data))
        rows = np.arange(len(patients))
        counts = draws.weights.astype(np.int64)
        picks = (np.repeat(rows, count) for count in counts)
        values = np.array([float(statistic(*(array[pick] for array in data))) for pick in picks])
    return Estimate(value, *percentile_interval(values, level), draws.patients)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
