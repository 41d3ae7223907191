"""The numbers of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monai_staging.compare.outcomes import Measure
from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.paired import PairedDifference

Key = tuple[str, str, float]
"""Network, initialisation, fraction of labels."""


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
        measures: figures of merit; conclusions are drawn on the first of each outcome.
        estimates: of every kind of arm, by figure of merit.
        contrasts: initialisations against the reference, by figure of merit: the family of tests.
        rivals: the best arm against the baselines, on the headline.
        speeds: of initialisations other than the reference.
        seconds: mean of an arm's whole run.
        conclusions: a sentence a network, and one on the best arm.
        best: of the kinds of arm with a network, at the largest fraction, by the headline.
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

    @property
    def headline(self) -> Measure:
        """The figure of merit that the best arm is found by."""
        return headline(self.measures)

    @property
    def leading(self) -> tuple[Measure, ...]:
        """The first figure of merit of each outcome."""
        return leading(self.measures)


def headline(measures: Sequence[Measure]) -> Measure:
    """The figure of merit that the best arm is found by."""
    return next(measure for measure in measures if measure.headline)


def leading(measures: Sequence[Measure]) -> tuple[Measure, ...]:
    """The first figure of merit of each outcome."""
    return tuple({measure.outcome: measure for measure in reversed(measures)}.values())[::-1]
