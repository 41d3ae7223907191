"""FROC curves: sensitivity against false positives per scan, on many weightings of the scans at once.

The arithmetic is that of LUNA16's evaluation script, step by step: ``sklearn.metrics.roc_curve`` over the lesions that
are hit and the false positives, its rates scaled back to false positives per scan and to all lesions, and
``numpy.interp`` between its points. Marks of equal score change sides together, and between two points the curve is a
straight line. The order of the operations matters beyond the last bit: with 888 scans each of the seven points of the
CPM lies on a whole number of false positives, where the curve may be vertical, and rounding decides which end is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_staging.metrics.froc.matching import Matches
from monai_staging.metrics.intervals import FloatArray, IntArray

_CELLS = 2**20
"""Weights of events that are summed in one go: enough to be fast, few enough to stay in the cache."""


@dataclass(frozen=True, eq=False)
class FrocCurve:
    """Points of the curve, from the highest score down.

    Attributes:
        false_positives_per_scan: (K) not decreasing, from 0.
        sensitivity: (K) not decreasing, from 0; share of all lesions, also of those that no mark hits.
        thresholds: (K) a mark counts where its score is at least this; infinity at the first point.
    """

    false_positives_per_scan: FloatArray
    sensitivity: FloatArray
    thresholds: FloatArray

    def sensitivity_at(self, false_positives_per_scan: ArrayLike) -> FloatArray:
        """Interpolated as LUNA16 does; beyond the last point, the sensitivity of all marks together."""
        at = np.asarray(false_positives_per_scan, dtype=np.float64)
        return np.asarray(np.interp(at, self.false_positives_per_scan, self.sensitivity))

    def threshold_at(self, false_positives_per_scan: float) -> float:
        """The lowest score that has at most so many false positives a scan: an operating point.

        Choose it on other scans than those that it is judged by.
        """
        last = np.searchsorted(self.false_positives_per_scan, false_positives_per_scan, side="right") - 1
        return float(self.thresholds[max(int(last), 0)])


@dataclass(frozen=True, eq=False)
class Events:
    """Lesions that are hit and false positives in one list, by descending score.

    Attributes:
        scans: (E) index of each event's scan.
        hits: (E) whether it is a lesion rather than a false positive.
        scores: (E) not increasing.
        lesions_in_scan: (S) lesions, hit or not.
        hits_in_scan: (S) lesions that are hit.
        false_in_scan: (S) false positives.
    """

    scans: IntArray
    hits: NDArray[np.bool_]
    scores: FloatArray
    lesions_in_scan: FloatArray
    hits_in_scan: FloatArray
    false_in_scan: FloatArray

    @classmethod
    def of(cls, matches: Matches, lesions: NDArray[np.bool_] | None = None) -> Events:
        """The events of all lesions, or of those where ``lesions`` (N) is true."""
        chosen = np.ones(len(matches.lesion_scans), dtype=bool) if lesions is None else lesions
        hit = chosen & matches.detected
        scans = np.concatenate([matches.lesion_scans[hit], matches.false_scans])
        scores = np.concatenate([matches.lesion_scores[hit], matches.false_scores])
        order = np.argsort(-scores, kind="stable")
        counts = (matches.lesion_scans[chosen], matches.lesion_scans[hit], matches.false_scans)
        return cls(
            scans[order],
            order < hit.sum(),
            scores[order],
            *(np.bincount(places, minlength=matches.scans).astype(np.float64) for places in counts),
        )

    @property
    def ends(self) -> IntArray:
        """(K) the last event of each score."""
        return np.flatnonzero(np.diff(self.scores, append=-np.inf))


def froc_curve(events: Events) -> FrocCurve:
    """The curve of all scans.

    Args:
        events: with at least one lesion.
    """
    ends = events.ends
    x, y = _points(events, np.ones((1, len(events.lesions_in_scan))), ends)
    return FrocCurve(x[0], y[0], np.concatenate([[np.inf], events.scores[ends]]))


def resampled_sensitivity(events: Events, weights: FloatArray, at: FloatArray) -> FloatArray:
    """Sensitivities of many weightings of the scans: no mark is ever copied or sorted again.

    Only what the reading of a curve needs is computed of it: false positives are counted as whole numbers down the
    scores, and rates, in the script's order of operations, only of the two points on either side of each value of
    ``at``.

    Args:
        events: of the scans.
        weights: (resamples, S) how often each scan counts, whole numbers.
        at: (G) false positives per scan.

    Returns:
        (resamples, G) sensitivities; NaN in a resample without a lesion.
    """
    result = np.empty((len(weights), len(at)))
    ends = events.ends
    # Scores below those that it takes to pass the last rate asked for need not be looked at.
    needed = _reaching(events, ends, 1.5 * float(at.max(initial=0.0)) * len(events.lesions_in_scan))
    step = max(1, _CELLS // (int(ends[needed - 1]) + 1)) if needed else len(weights) or 1
    for start in range(0, len(weights), step):
        part = weights[start : start + step]
        read = _read(events, part, ends[:needed], at)
        if needed < len(ends) and read is None:
            read = _read(events, part, ends, at, whole=True)
        result[start : start + step] = read
    return result


def _read(
    events: Events, weights: FloatArray, ends: IntArray, at: FloatArray, whole: bool = False
) -> FloatArray | None:
    """(resamples, G) sensitivities; ``None`` where a curve of these scores ends before the last of ``at``.

    With ``whole`` these are all scores there are, and beyond a curve's end its last point counts.
    """
    until = int(ends[-1]) + 1 if len(ends) else 0
    hits = events.hits[:until]
    # Points of the curve: the first has nothing in it, the others all events down to a score.
    false_in = np.concatenate([[0], np.cumsum(~hits)[ends]])
    hits_in = np.concatenate([[0], np.cumsum(hits)[ends]])
    counts = weights.astype(np.int32)
    false, found = (_counted(counts, events.scans[:until][own]) for own in (~hits, hits))
    every_false, every_hit, lesions = (
        (weights @ own)[:, None] for own in (events.false_in_scan, events.hits_in_scan, events.lesions_in_scan)
    )
    scans = weights.sum(axis=1)[:, None]

    def x_of(number: NDArray[Any]) -> FloatArray:
        # The script's order of operations; where a resample has no event of a kind, its count is 0 throughout.
        return np.asarray(number / np.where(every_false == 0, 1, every_false) * every_false / scans)

    with np.errstate(invalid="ignore"):
        if not whole and len(false_in) < len(events.ends) + 1 and (x_of(false[:, -1:]) <= at.max()).any():
            return None
        # The most false positives whose rate, as rounded, is not above each value of `at`.
        most = np.floor(at * scans) + 1
        for _ in range(2):
            most -= x_of(most) > at
        rows = np.arange(len(weights))[:, None]
        last = np.stack([np.searchsorted(*own, side="right") for own in zip(false, most, strict=True)]) - 1
        left = np.searchsorted(false_in, last, side="right") - 1
        right = np.minimum(left + 1, len(false_in) - 1)
        (low_x, low_y), (high_x, high_y) = (
            (
                x_of(false[rows, false_in[point]]),
                found[rows, hits_in[point]] / np.where(every_hit == 0, 1, every_hit) * every_hit / lesions,
            )
            for point in (left, right)
        )
        # As numpy.interp, which takes a point that is met as it is.
        slope = (high_y - low_y) / np.where(high_x > low_x, high_x - low_x, 1)
        return np.asarray(np.where((left == right) | (low_x == at), low_y, slope * (at - low_x) + low_y))


def _counted(counts: NDArray[np.int32], scans: IntArray) -> NDArray[np.int32]:
    """(resamples, 1 + events) how many events there are down to each."""
    found: NDArray[np.int32] = np.zeros((len(counts), 1 + len(scans)), dtype=np.int32)
    np.cumsum(counts[:, scans], axis=1, out=found[:, 1:])
    return found


def _reaching(events: Events, ends: IntArray, false: float) -> int:
    """How many of the scores hold more than so many false positives."""
    counts = np.cumsum(~events.hits)[ends] if len(ends) else np.zeros(0)
    return min(len(ends), int(np.searchsorted(counts, false, side="right")) + 1)


def _points(events: Events, weights: FloatArray, ends: IntArray) -> tuple[FloatArray, FloatArray]:
    """(resamples, 1 + K) false positives per scan and sensitivity at the last event of each score."""
    until = int(ends[-1]) + 1 if len(ends) else 0
    drawn = weights[:, events.scans[:until]]
    hits = events.hits[:until]
    zero = np.zeros((len(weights), 1))
    found = np.concatenate([zero, np.cumsum(drawn * hits, axis=1)[:, ends]], axis=1)
    false = np.concatenate([zero, np.cumsum(drawn * ~hits, axis=1)[:, ends]], axis=1)
    every_false, every_hit, lesions = (
        (weights @ counts)[:, None] for counts in (events.false_in_scan, events.hits_in_scan, events.lesions_in_scan)
    )
    scans = weights.sum(axis=1)[:, None]
    with np.errstate(invalid="ignore"):
        # The script's order of operations; where a resample has no event of a kind, its count is 0 throughout.
        x = false / np.where(every_false == 0, 1, every_false) * every_false / scans
        y = found / np.where(every_hit == 0, 1, every_hit) * every_hit / lesions
    return x, y
