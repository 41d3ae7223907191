"""Is one arm better than the other on the same patients? Paired bootstrap and permutation of any weighted statistic.

An arm is what was trained one way, several times: *repetitions* (seeds), each of which scored the same rows. Repetition
``i`` of one arm belongs to repetition ``i`` of the other: same seed, same split, same subset of labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.folds import WeightedStatistic, by_fold
from monai_staging.metrics.intervals import Estimate, FloatArray, percentile_interval, resample

CELLS = 2**19
"""Weights of one batch of permutations: bounds the memory, and stays in the cache."""
ROUNDING = 1e-12
"""Differences that are this close to the observed one are as extreme: equal sums, added in another order."""


@dataclass(frozen=True)
class PairedDifference(Estimate):
    """A difference of two arms, a minus b, with its interval and p-value.

    Attributes:
        p: two-sided; NaN where it is undefined or was not asked for.
    """

    p: float = field(default=math.nan, kw_only=True)

    def to_json(self) -> dict[str, float | int | None]:
        """The form of ``metrics.json``, with ``p``; what is undefined becomes null."""
        return super().to_json() | {"p": None if math.isnan(self.p) else self.p}


def paired_difference(
    statistic: WeightedStatistic,
    patients: Sequence[str] | NDArray[Any],
    truth: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    folds: ArrayLike | None = None,
    resample_repetitions: bool = True,
    n_boot: int = 1000,
    n_permutations: int = 10_000,
    scale: Literal["rank", "score"] = "rank",
    seed: int = 0,
    level: float = 0.95,
) -> PairedDifference:
    """Difference of a statistic between two arms: percentile interval over patients, p-value by permutation.

    The statistic of an arm is its mean over the arm's repetitions; both arms see the same resamples of patients, so
    what makes a patient hard for both cancels.

    Repetitions are resampled too, independently of the patients and in pairs (the "multi-bootstrap" of Sellam et al.,
    2022, ICLR, arXiv:2106.16163; patients and repetitions are crossed, as in Owen, 2007, Annals of Applied Statistics
    1:386-411). The interval then covers other patients *and* other training runs, so it speaks of the two ways of
    training; it is wide where runs disagree. With few repetitions it still understates their share, by a factor of
    (R - 1) / R in variance: all of it is missing with one, a third with three. Where that share dominates, an interval
    of 95 % covers 75 % with three repetitions, 85 % with five and 90 % with ten: P(|t| < 1.96 sqrt((R - 1) / R)) with
    R - 1 degrees of freedom. With ``resample_repetitions=False`` the interval covers other patients only, and speaks of
    these trained models.

    Neither covers another draw of the training set, except as far as the repetitions drew it anew, nor patients from
    elsewhere. In cross-validation the training sets of the folds overlap, for which no unbiased variance exists (Bengio
    and Grandvalet, 2004, JMLR 5:1089-1105): the interval is conditional on the split.

    The p-value is that of :func:`permutation_p_value`. It tests these trained models whatever ``resample_repetitions``
    says, so it can be small where the interval includes 0, because the runs disagree.

    Args:
        statistic: called as ``statistic(truth, scores, weights)``, with (rows), (rows) and (resamples, rows), gives
            (resamples) values; :func:`~monai_staging.metrics.classification.class_auroc`, for example.
        patients: (rows) whose each row is; all rows of a patient are drawn together.
        truth: (rows) what the statistic compares the scores with.
        a: (repetitions, rows) scores of one arm; (rows) where it was trained once.
        b: (repetitions, rows) scores of the other arm.
        folds: (rows), or (repetitions, rows) where the split was drawn anew, in which fold a row was held out; the
            statistic is then averaged over folds, see :func:`~monai_staging.metrics.folds.by_fold`.
        resample_repetitions: whether repetitions are resampled.
        n_boot: how many resamples.
        n_permutations: how many permutations; 0 for no p-value.
        scale: on which the permutation swaps scores, see :func:`permutation_p_value`.
        seed: of the resampling and of the permutations.
        level: of the interval.

    Raises:
        UsageError: shapes do not agree, or a number or the scale is out of range.
        DataError: there is no row, or a score is not finite.
    """
    rows, outcome, first, second, labels = _check(patients, truth, a, b, folds)
    draws = resample(rows, n_boot, seed)
    # The first weighting is the patients themselves, the rest are the resamples.
    weights = np.concatenate([np.ones((1, len(rows))), draws.weights])
    found = _differences(statistic, outcome, first, second, labels, weights, weights)
    value, values = float(found[:, 0].mean()), found[:, 1:].mean(axis=0)
    repetitions = len(found)
    if resample_repetitions and repetitions > 1:
        # A stream of its own, so that the patients drawn do not depend on it.
        rng = np.random.default_rng([seed, 1])
        drawn = rng.multinomial(repetitions, np.full(repetitions, 1 / repetitions), size=n_boot).T
        values = np.where(drawn > 0, drawn * found[:, 1:], 0).sum(axis=0) / repetitions
    low, high = percentile_interval(values, level)
    if math.isnan(value):
        low = high = math.nan
    p = math.nan
    if n_permutations:
        p = permutation_p_value(
            statistic, rows, outcome, first, second, folds=labels, n=n_permutations, scale=scale, seed=seed
        )
    return PairedDifference(value, low, high, draws.patients, p=p)


def permutation_p_value(
    statistic: WeightedStatistic,
    patients: Sequence[str] | NDArray[Any],
    truth: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    folds: ArrayLike | None = None,
    n: int = 10_000,
    scale: Literal["rank", "score"] = "rank",
    seed: int = 0,
) -> float:
    """Two-sided p-value of the difference: what it is when the arms of a random half of the patients are swapped.

    Under the null hypothesis the two arms' predictions of a patient are exchangeable, so a patient's rows and
    repetitions are swapped all together. That is a hypothesis about these trained models: a difference which is due to
    the seeds is found like any other. The observed labelling counts as one of the permutations, so p is at least 1 / (n
    + 1) and the test keeps its level at any ``n`` (Phipson and Smyth, 2010, Statistical Applications in Genetics and
    Molecular Biology 9:39).

    Scores of two arms need a common scale to be swapped. With ``scale="rank"`` each repetition's scores are replaced by
    their midranks in their arm, and in their fold (Bandos, Rockette and Gur, 2005, Statistics in Medicine
    24:2873-2893): right for statistics that only depend on the order, which are those that ranking leaves as they are.
    Others, such as a Brier score, are swapped as they are, with ``scale="score"``: right for probabilities.

    The arguments are those of :func:`paired_difference`, and ``n`` is how many permutations.

    Returns:
        The p-value; NaN where the difference is undefined.

    Raises:
        UsageError: shapes do not agree, ``n`` is below 1, or ranking changes the statistic.
        DataError: there is no row, or a score is not finite.
    """
    rows, outcome, first, second, labels = _check(patients, truth, a, b, folds)
    if n < 1:
        raise UsageError(f"A permutation test needs at least 1 permutation, got n={n}.")
    once = np.ones((1, len(rows)))
    observed = float(_differences(statistic, outcome, first, second, labels, once, once).mean())
    if math.isnan(observed):
        return math.nan
    if scale == "rank":
        first, second = _ranks(first, labels), _ranks(second, labels)
        ranked = float(_differences(statistic, outcome, first, second, labels, once, once).mean())
        if not math.isclose(ranked, observed, rel_tol=0, abs_tol=1e-9):
            raise UsageError(
                f"Ranks are for statistics that depend on the order of the scores only, but ranking changes this one's "
                f'difference from {observed:.6g} to {ranked:.6g}; swap the scores themselves with scale="score".'
            )
    elif scale != "score":
        raise UsageError(f'The scale of a permutation is "rank" or "score", got {scale!r}.')
    # A swap is nothing but weights: among the rows of both arms, one after the other, each arm has weight 1 on those
    # that are its own in this permutation and 0 on the rest. Nothing is copied or sorted again.
    both = np.concatenate([first, second], axis=1)
    outcome = np.concatenate([outcome, outcome])
    labels = None if labels is None else np.concatenate([labels, labels], axis=1)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(rows.tolist()))}
    index = np.array([numbers[name] for name in rows.tolist()])
    rng = np.random.default_rng(seed)
    batch = max(1, CELLS // len(outcome))
    extreme = 0
    for start in range(0, n, batch):
        swapped = (rng.random((min(batch, n - start), len(numbers))) < 0.5).astype(np.float64)[:, index]
        kept = 1 - swapped
        mine, theirs = np.concatenate([kept, swapped], axis=1), np.concatenate([swapped, kept], axis=1)
        found = _differences(statistic, outcome, both, both, labels, mine, theirs).mean(axis=0)
        # Written so that an undefined permutation counts as extreme: never a smaller p for want of a value.
        extreme += int((~(np.abs(found) < abs(observed) - ROUNDING)).sum())
    return (1 + extreme) / (1 + n)


def _check(
    patients: Sequence[str] | NDArray[Any], truth: ArrayLike, a: ArrayLike, b: ArrayLike, folds: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], FloatArray, FloatArray, NDArray[Any] | None]:
    """Patients (rows), truth (rows), both arms (repetitions, rows), folds (repetitions, rows) or none."""
    rows, outcome = np.asarray(patients), np.asarray(truth)
    first, second = (np.atleast_2d(np.asarray(arm, dtype=np.float64)) for arm in (a, b))
    if first.ndim != 2 or first.shape != second.shape or not (rows.shape == outcome.shape == first.shape[1:]):
        raise UsageError(
            "Two arms are compared on the same rows and repetitions: patients (rows), truth (rows) and each arm "
            f"(repetitions, rows), got shapes {rows.shape}, {outcome.shape}, {first.shape} and {second.shape}."
        )
    if first.size == 0:
        raise DataError(f"A comparison needs at least 1 row and 1 repetition, found {first.shape[::-1]}.")
    for name, arm in (("a", first), ("b", second)):
        if not np.isfinite(arm).all():
            repetition, row = np.argwhere(~np.isfinite(arm))[0]
            raise DataError(
                f"{rows[row]}: a score is a finite number, found {arm[repetition, row]} in arm {name}, "
                f"repetition {repetition}."
            )
    if folds is None:
        return rows, outcome, first, second, None
    labels = np.asarray(folds)
    if labels.shape not in (first.shape, rows.shape):
        raise UsageError(f"Folds are (rows) or (repetitions, rows), {first.shape}, got shape {labels.shape}.")
    return rows, outcome, first, second, np.broadcast_to(labels, first.shape)


def _differences(
    statistic: WeightedStatistic,
    truth: NDArray[Any],
    a: FloatArray,
    b: FloatArray,
    folds: NDArray[Any] | None,
    weights_a: FloatArray,
    weights_b: FloatArray,
) -> FloatArray:
    """(repetitions, resamples) statistic of one arm less that of the other."""
    found = np.empty((len(a), len(weights_a)))
    for repetition, (one, other) in enumerate(zip(a, b, strict=True)):
        measure = statistic if folds is None else by_fold(statistic, folds[repetition])
        values = [np.asarray(measure(truth, one, weights_a)), np.asarray(measure(truth, other, weights_b))]
        for value in values:
            if value.shape != (len(weights_a),):
                raise UsageError(
                    f"A weighted statistic gives one value a resample, ({len(weights_a)},); got shape {value.shape}."
                )
        found[repetition] = values[0] - values[1]
    return found


def _ranks(arm: FloatArray, folds: NDArray[Any] | None) -> FloatArray:
    """(repetitions, rows) midranks of each repetition's scores, or of each fold's in it, as shares in (0, 1)."""
    from scipy.stats import rankdata

    ranks = np.empty_like(arm)
    for repetition, scores in enumerate(arm):
        labels = np.zeros(len(scores)) if folds is None else folds[repetition]
        for fold in np.unique(labels):
            rows = labels == fold
            ranks[repetition, rows] = rankdata(scores[rows]) / (rows.sum() + 1)
    return ranks
