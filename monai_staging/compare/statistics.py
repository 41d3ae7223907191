"""What a comparison found: every arm's figures of merit, and paired differences between arms."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_staging.compare.arm import RECORD
from monai_staging.compare.outcomes import MEASURES, Measure, Outcome, read_curve, read_outcomes
from monai_staging.compare.plan import BASELINE, Arm, Comparison
from monai_staging.errors import DataError
from monai_staging.metrics.conclusions import conclusion
from monai_staging.metrics.delong import delong_test
from monai_staging.metrics.folds import by_fold
from monai_staging.metrics.intervals import Estimate, FloatArray, patient_bootstrap
from monai_staging.metrics.learning_curve import epochs_to_reach, seconds_to_reach
from monai_staging.metrics.multiplicity import holm
from monai_staging.metrics.paired import PairedDifference, paired_difference

Key = tuple[str, str, float]
"""Network, initialisation, fraction of labels."""


@dataclass(frozen=True, eq=False)
class Series:
    """The repetitions of one kind of arm, on the same rows.

    Attributes:
        patients: (rows).
        truth: (rows).
        scores: (repetitions, rows).
        folds: (rows) where each row was held out; ``None`` without cross-validation.
    """

    patients: tuple[str, ...]
    truth: NDArray[np.float64]
    scores: NDArray[np.float64]
    folds: NDArray[np.int64] | None


@dataclass(frozen=True)
class Contrast:
    """A paired difference between two kinds of arm.

    Attributes:
        network: of the first.
        init: of the first.
        other_network: of the second.
        other_init: of the second.
        fraction: of the labels.
        difference: first less second, with permutation p-value.
        adjusted: p-value by Holm over the family of transfer against the reference; NaN for other contrasts.
        delong: difference of areas by DeLong's method, clustered by patient, of probabilities averaged over
            repetitions, averaged over folds; ``None`` for other figures of merit.
    """

    network: str
    init: str
    other_network: str
    other_init: str
    fraction: float
    difference: PairedDifference
    adjusted: float
    delong: PairedDifference | None


@dataclass(frozen=True)
class Speed:
    """How soon an arm reaches the best that the reference arm came to while training, means over its runs.

    Attributes:
        epochs: until then; NaN where most of the runs never do.
        seconds: of training until then; likewise.
        reached: runs that do.
        runs: of them.
    """

    epochs: float
    seconds: float
    reached: int
    runs: int


@dataclass(frozen=True, eq=False)
class Findings:
    """All of a comparison's numbers.

    Attributes:
        measures: figures of merit, the first is what conclusions are drawn on.
        estimates: of every kind of arm, by figure of merit.
        contrasts: initialisations against the reference, by figure of merit: the family of tests.
        rivals: the best arm against the baselines, on the first figure of merit.
        speeds: of initialisations other than the reference.
        seconds: mean of an arm's whole run.
        conclusions: a sentence a network, and one on the best arm.
        best: of the kinds of arm with a network, at the largest fraction, by the first figure of merit.
        patients: how many the test rows are of; ``rows`` how many rows.
    """

    measures: tuple[Measure, ...]
    estimates: Mapping[Key, Mapping[str, Estimate]]
    contrasts: Mapping[str, tuple[Contrast, ...]]
    rivals: tuple[Contrast, ...]
    speeds: Mapping[Key, Speed]
    seconds: Mapping[Key, float]
    conclusions: tuple[str, ...]
    best: Key
    patients: int
    rows: int


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


class Results:
    """The outcomes of a comparison's arms, read once.

    Args:
        comparison: whose.
        folders: of every arm.

    Raises:
        DataError: arms that should have predicted the same cases did not.
    """

    def __init__(self, comparison: Comparison, folders: Mapping[Arm, Path]) -> None:
        self.comparison = comparison
        self.folders = folders
        kinds: set[str] = set()
        self._outcomes: dict[Arm, dict[str, Outcome]] = {}
        for arm, folder in folders.items():
            kind, self._outcomes[arm] = read_outcomes(folder)
            kinds.add(kind)
        if len(kinds) != 1:
            raise DataError(f"A comparison is of one kind of predictions; found {', '.join(sorted(kinds))}")
        self.measures = MEASURES[kinds.pop()]
        self._names: dict[str, list[str]] = {}

    def series(self, key: Key, outcome: str) -> Series:
        """The repetitions of one kind of arm."""
        comparison, (network, init, fraction) = self.comparison, key
        folds: list[int | None] = [None] if comparison.folds is None else list(range(comparison.folds))
        parts: list[Outcome] = []
        rows = []
        for seed in comparison.seeds:
            parts = [self._outcomes[Arm(network, init, fraction, seed, fold)][outcome] for fold in folds]
            names = [name for part in parts for name in part.names]
            if names != self._names.setdefault(outcome, names):
                raise DataError(
                    f"{network}, {init}, {100 * fraction:g} %, seed {seed}: all arms must predict the same cases in "
                    f"the same order; found {len(names)} of {outcome}, other arms have {len(self._names[outcome])}."
                )
            rows.append(np.concatenate([part.scores for part in parts]))
        labels = [place for place, part in enumerate(parts) for _ in part.names]
        return Series(
            tuple(patient for part in parts for patient in part.patients),
            np.concatenate([part.truth for part in parts]),
            np.stack(rows),
            np.array(labels, dtype=np.int64) if comparison.folds is not None else None,
        )

    def seconds(self, key: Key) -> float:
        """Mean seconds of a run of one kind of arm, from start to report."""
        own = [arm for arm in self.folders if (arm.network, arm.init, arm.fraction) == key]
        return float(np.mean([json.loads((self.folders[arm] / RECORD).read_text())["seconds"] for arm in own]))

    def curve(self, arm: Arm, measure: Measure) -> tuple[list[float], list[float]]:
        """Validation metric and seconds after each epoch of an arm."""
        return read_curve(self.folders[arm], measure.curve) if measure.curve else ([], [])


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
    head, full = measures[0], max(comparison.fractions)
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
        _conclusions(comparison, contrasts[head.name], rivals, estimates, best, head),
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


def _conclusions(
    comparison: Comparison,
    family: Sequence[Contrast],
    rivals: Sequence[Contrast],
    estimates: Mapping[Key, Mapping[str, Estimate]],
    best: Key,
    measure: Measure,
) -> tuple[str, ...]:
    sentences = []
    for network in comparison.networks:
        for init in comparison.initialisations:
            own = [one for one in family if (one.network, one.init) == (network, init.name)]
            if own:
                sentences.append(
                    conclusion(
                        network,
                        measure.title,
                        {one.fraction: one.difference for one in own},
                        initialisation=init.name,
                        adjusted={one.fraction: one.adjusted for one in own},
                        higher_is_better=measure.higher_is_better,
                    )
                )
    sentences.append(
        f"Best: {best[0]}, {best[1]}, {measure.title} {estimates[best][measure.name].text(3)} "
        f"at {100 * best[2]:g} % of labels."
    )
    for one in rivals:
        other = one.other_network if one.other_init == BASELINE else f"{one.other_network}, {one.other_init}"
        verdict = "no difference seen"
        if one.difference.low > 0 or one.difference.high < 0:
            ahead = (one.difference.value > 0) == measure.higher_is_better
            verdict = "ahead" if ahead else "behind"
        sentences.append(f"Against {other}: {verdict}, {measure.title} difference {one.difference.text(3)}.")
    return tuple(sentences)
