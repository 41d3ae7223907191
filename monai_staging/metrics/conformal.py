"""Split-conformal prediction sets: which classes to name, so that the true one is among them with a stated probability.

A score says how badly a class fits a study. Of patients whose truth is known, and on whom nothing else was learned, the
truth's scores are taken; a class is named for a new study if its score is no worse than the quantile of those. If
the new patient and those are exchangeable, the true class is in the set with a probability of at least the level, on
average over patients of both kinds, whatever the model (Vovk, Gammerman and Shafer, 2005; Sadinle, Lei and Wasserman,
2019, 10.1080/01621459.2017.1395341). The unit is the patient: one with several studies counts with the worst of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import Estimate, FloatArray
from monai_staging.metrics.temperature import BoolArray

SCORES = ("threshold", "adaptive")
"""Kinds of scores: of Sadinle et al. (LAC), the default, and of Romano et al. (APS)."""
ROUNDING = 1e-9
"""A class whose score is this little above the threshold is named too: sums in another order, on another machine."""


def class_scores(probabilities: ArrayLike, kind: str = "threshold") -> FloatArray:
    """How badly each class fits each row, in 0..1; the larger, the worse.

    ``threshold`` is 1 minus the probability of the class: every class from some probability on is named. Of all scores
    it makes the smallest sets on average (Sadinle et al., 2019, theorem 1), and its rule is one that a reader can
    check; it is the default. ``adaptive`` is the sum of the probabilities of the class and of all that are at least as
    probable (Romano, Sesia and Candes, 2020, arXiv:2006.02544): its sets grow more with the doubt about a study, and
    are larger on average. It is not randomised, since the same study must always have the same set.

    Args:
        probabilities: (rows, classes).
        kind: one of ``SCORES``.

    Raises:
        UsageError: another kind.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if kind == "threshold":
        return np.asarray(1 - values)
    if kind == "adaptive":
        at_least = values[:, None, :] >= values[:, :, None]
        return np.asarray((at_least * values[:, None, :]).sum(axis=2))
    raise UsageError(f"A conformal score is one of {', '.join(SCORES)}, got {kind!r}.")


def worst_scores(scores: ArrayLike, possible: ArrayLike, patients: Sequence[str]) -> FloatArray:
    """(patients) score of each patient's truth, in the order in which they come.

    Of a truth that is a set the score is that of its worst member, of several rows that of the worst row: the true
    class fits at least as well, so that what is promised of the set holds for it. Rows without any possible class are
    left out, and patients who have no other.

    Args:
        scores: (rows, classes) of :func:`class_scores`.
        possible: (rows, classes) whether the row's truth may be the class.
        patients: (rows) whose each row is.

    Raises:
        UsageError: shapes do not agree.
    """
    values, sets = np.asarray(scores, dtype=np.float64), np.asarray(possible, dtype=bool)
    if values.shape != sets.shape or len(values) != len(patients):
        raise UsageError(
            f"Scores, sets and patients are of the same rows, got {values.shape}, {sets.shape} and {len(patients)}."
        )
    worst: dict[str, float] = {}
    for patient, row, members in zip(patients, values, sets, strict=True):
        if members.any():
            worst[patient] = max(worst.get(patient, -math.inf), float(row[members].max()))
    return np.array(list(worst.values()), dtype=np.float64)


def needed_rank(n: int, level: float) -> int:
    """Which of ``n`` ascending scores is the threshold: ceil((n + 1) level); above ``n`` there is none.

    Raises:
        UsageError: the level is not in (0, 1).
    """
    if not 0 < level < 1:
        raise UsageError(f"The level of a prediction set lies between 0 and 1, got {level}.")
    # 0.9 * 30 is a little more than 27 in floating point.
    return math.ceil((n + 1) * level - 1e-9)


def conformal_quantile(scores: ArrayLike, level: float) -> float:
    """The score up to which classes are named: the ceil((n + 1) level)-th smallest.

    Infinity where there are too few patients for the level (fewer than 9 for 90 %): then all classes are named.

    Args:
        scores: (patients) of the truth, of :func:`worst_scores`.
        level: probability with which a set holds the truth, in (0, 1).

    Raises:
        UsageError: the level is out of range, or a score is NaN.
    """
    values = np.asarray(scores, dtype=np.float64)
    rank = needed_rank(len(values), level)
    if np.isnan(values).any():
        raise UsageError("Scores of a conformal quantile are numbers, found NaN.")
    return math.inf if rank > len(values) else float(np.partition(values, rank - 1)[rank - 1])


def prediction_sets(scores: ArrayLike, threshold: float) -> BoolArray:
    """(rows, classes) whether a class is named: its score is at most the threshold.

    The best class of a row is always named, the first of equals: an empty set tells a reader nothing, and naming more
    costs no coverage.
    """
    values = np.asarray(scores, dtype=np.float64)
    named = values <= threshold + ROUNDING
    named[np.arange(len(values)), values.argmin(axis=1)] = True
    return np.asarray(named, dtype=bool)


def coverage(named: ArrayLike, possible: ArrayLike, patients: Sequence[str], level: float = 0.95) -> Estimate:
    """Share of patients whose sets hold the truth, with its Clopper-Pearson interval.

    A patient is covered if, in every row whose truth is known, all classes that the truth may be are named. ``n`` is
    how many patients have such a row.

    Args:
        named: (rows, classes) of :func:`prediction_sets`.
        possible: (rows, classes) whether the row's truth may be the class; rows without one are left out.
        patients: (rows) whose each row is.
        level: of the interval.

    Raises:
        UsageError: shapes do not agree, or the level is out of range.
    """
    missed = worst_scores(~np.asarray(named, dtype=bool), possible, patients)
    n, held = len(missed), int((missed == 0).sum())
    low, high = clopper_pearson(held, n, level)
    return Estimate(held / n if n else math.nan, low, high, n)


def clopper_pearson(held: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share, ``held`` of ``n`` (Clopper and Pearson, 1934); NaN where there are none.

    Raises:
        UsageError: a count or the level is out of range.
    """
    from scipy.stats import beta

    if not 0 <= held <= n or not 0 < level < 1:
        raise UsageError(f"An interval of {held} of {n} at level {level} makes no sense.")
    if n == 0:
        return math.nan, math.nan
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, held, n - held + 1)) if held else 0.0
    high = float(beta.ppf(1 - tail, held + 1, n - held)) if held < n else 1.0
    return low, high


def coverage_range(n: int, level: float, interval: float = 0.95) -> tuple[float, float]:
    """Where the true coverage of sets from ``n`` patients lies: the promise is kept on average over draws of them.

    With k = ceil((n + 1) level) it is distributed as Beta(k, n + 1 - k), for scores without ties (Vovk, 2012,
    arXiv:1209.2673); this is the central ``interval``. (1, 1) where all classes are named.

    Raises:
        UsageError: a level is out of range.
    """
    from scipy.stats import beta

    rank = needed_rank(n, level)
    if not 0 < interval < 1:
        raise UsageError(f"The level of an interval lies between 0 and 1, got {interval}.")
    if rank > n:
        return 1.0, 1.0
    low, high = beta.ppf([(1 - interval) / 2, (1 + interval) / 2], rank, n + 1 - rank)
    return float(low), float(high)
