"""What a comparison found: every arm's figures of merit, and paired differences between arms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_staging.compare.findings import Contrast, Findings, Key, Speed, headline
from monai_staging.compare.outcomes import Measure
from monai_staging.compare.plan import BASELINE, Arm
from monai_staging.compare.results import Results, Series
from monai_staging.compare.words import conclusions
from monai_staging.metrics.delong import delong_test
from monai_staging.metrics.folds import by_fold
from monai_staging.metrics.intervals import Estimate, FloatArray, patient_bootstrap
from monai_staging.metrics.learning_curve import epochs_to_reach, seconds_to_reach
from monai_staging.metrics.multiplicity import holm
from monai_staging.metrics.paired import PairedDifference, paired_difference


@dataclass(frozen=True)
class Resampling:
    """How intervals and p-values are made.

    Attributes:
        n_boot: resamples of patients.
        n_permutations: swaps of arms.
        seed: of both.
    """

    n_boot: int = 1000
    n_permutations: int = 10_000
    seed: int = 0


def find(results: Results, resampling: Resampling | None = None) -> Findings:
    """All numbers of a comparison.

    An arm's figure is the mean over repetitions (and over folds, for each was scored by another model); intervals are
    percentiles over resampled patients; differences see the same resamples in both arms and resample repetitions too.

    Args:
        results: of the arms.
        resampling: how.
    """
    how = resampling or Resampling()
    comparison, measures = results.comparison, results.measures
    keys: list[Key] = [
        (network, init, fraction) for fraction in sorted(comparison.fractions) for network, init in comparison.pairs
    ]
    every = {(key, m.outcome): results.series(key, m.outcome) for key in keys for m in measures}
    estimates = {key: {m.name: _estimate(every[key, m.outcome], m, how) for m in measures} for key in keys}

    def contrast(one: Key, other: Key, measure: Measure, adjusted: float = math.nan) -> Contrast:
        a, b = every[one, measure.outcome], every[other, measure.outcome]
        return Contrast(
            one[0],
            one[1],
            other[0],
            other[1],
            one[2],
            _difference(a, b, measure, how),
            adjusted,
            _delong(a, b, measure),
        )

    contrasts = {}
    for measure in measures:
        family = [
            contrast((network, init.name, fraction), (network, comparison.reference, fraction), measure)
            for network in comparison.networks
            for init in comparison.initialisations
            if init.name != comparison.reference
            for fraction in sorted(comparison.fractions)
        ]
        adjusted: list[float] = holm([one.difference.p for one in family]).tolist() if family else []
        contrasts[measure.name] = tuple(replace(one, adjusted=p) for one, p in zip(family, adjusted, strict=True))
    head, full = headline(measures), max(comparison.fractions)
    trained = [key for key in keys if key[2] == full and key[1] != BASELINE]
    best = _best(trained, estimates, head)
    against = [(name, BASELINE, full) for name in comparison.baselines]
    rivals = tuple(contrast(best, other, head) for other in against)
    some = every[keys[0], head.outcome]
    return Findings(
        measures,
        estimates,
        contrasts,
        rivals,
        {key: speed for key in keys if (speed := _speed(results, key, head)) is not None},
        {key: results.seconds(key) for key in keys},
        conclusions(comparison, contrasts, rivals, estimates, best, measures),
        best,
        len(set(some.patients)),
        len(some.truth),
    )


def _statistic(series: Series, measure: Measure) -> Any:
    return measure.statistic if series.folds is None else by_fold(measure.statistic, series.folds)


def _estimate(series: Series, measure: Measure, how: Resampling) -> Estimate:
    statistic = _statistic(series, measure)

    def mean(truth: NDArray[Any], scores: FloatArray, weights: FloatArray) -> FloatArray:
        values: FloatArray = np.mean([statistic(truth, column, weights) for column in scores.T], axis=0)
        return values

    patients = np.asarray(series.patients)
    return patient_bootstrap(mean, patients, series.truth, series.scores.T, n=how.n_boot, seed=how.seed, weighted=True)


def _difference(a: Series, b: Series, measure: Measure, how: Resampling) -> PairedDifference:
    return paired_difference(
        measure.statistic,
        a.patients,
        a.truth,
        a.scores,
        b.scores,
        folds=a.folds,
        n_boot=how.n_boot,
        n_permutations=how.n_permutations,
        scale=measure.scale,
        seed=how.seed,
    )


def _delong(a: Series, b: Series, measure: Measure) -> PairedDifference | None:
    if measure.name != "auroc":
        return None
    folds = np.zeros(len(a.truth), dtype=np.int64) if a.folds is None else a.folds
    patients = np.asarray(a.patients)
    tests = []
    for fold in np.unique(folds):
        rows = folds == fold
        tests.append(delong_test(a.truth[rows], a.scores.mean(0)[rows], b.scores.mean(0)[rows], patients[rows]))
    # Folds share no patient, so their errors are taken for independent; their training sets do overlap.
    value = float(np.mean([test.value for test in tests]))
    z = 1.959963984540054
    spread = math.sqrt(sum(((test.high - test.value) / z) ** 2 for test in tests)) / len(tests)
    if math.isnan(spread) or spread == 0:
        return PairedDifference(value, math.nan, math.nan, len(set(a.patients)))
    p = math.erfc(abs(value) / spread / math.sqrt(2))
    return PairedDifference(value, value - z * spread, value + z * spread, len(set(a.patients)), p=p)


def _best(keys: Sequence[Key], estimates: Mapping[Key, Mapping[str, Estimate]], measure: Measure) -> Key:
    sign = 1 if measure.higher_is_better else -1

    def merit(key: Key) -> float:
        value = estimates[key][measure.name].value
        return -math.inf if math.isnan(value) else sign * value

    return max(keys, key=merit)


def _speed(results: Results, key: Key, measure: Measure) -> Speed | None:
    """Epochs and seconds until the reference's best, run by run: each against the reference's run of the same kind."""
    comparison, (network, init, fraction) = results.comparison, key
    if init in (BASELINE, comparison.reference) or measure.curve is None:
        return None
    epochs: list[int] = []
    seconds: list[float] = []
    runs = 0
    for arm in comparison.arms:
        if (arm.network, arm.init, arm.fraction) != key:
            continue
        reference, _ = results.curve(Arm(network, comparison.reference, fraction, arm.seed, arm.fold), measure)
        curve, times = results.curve(arm, measure)
        if not reference or not curve:
            continue
        runs += 1
        better = measure.higher_is_better
        target = max(reference) if better else min(reference)
        reached = epochs_to_reach(curve, target, higher_is_better=better)
        if reached is not None:
            epochs.append(reached)
            seconds.append(seconds_to_reach(curve, times, target, higher_is_better=better) or 0.0)
    if not runs:
        return None
    often = len(epochs) * 2 > runs
    return Speed(
        float(np.mean(epochs)) if often else math.nan,
        float(np.mean(seconds)) if often else math.nan,
        len(epochs),
        runs,
    )
