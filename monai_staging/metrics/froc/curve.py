"""FROC curves: sensitivity against false positives per scan, on many weightings of the scans at once.

The arithmetic is that of LUNA16's evaluation script, step by step: ``sklearn.metrics.roc_curve`` over the lesions that
are hit and the false positives, its rates scaled back to false positives per scan and to all lesions, and
``numpy.interp`` between its points. Marks of equal score change sides together, and between two points the curve is a
straight line. The order of the operations matters beyond the last bit: with 888 scans each of the seven points of the
CPM lies on a whole number of false positives, where the curve may be vertical, and rounding decides which end is read.
"""

from __future__ import annotations

from dataclasses import dataclass

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

    Args:
        events: of the scans.
        weights: (resamples, S) how often each scan counts.
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
        x, y = _points(events, part, ends[:needed])
        if needed < len(ends) and (x[:, -1] <= at.max()).any():
            x, y = _points(events, part, ends)
        for row, (own_x, own_y) in enumerate(zip(x, y, strict=True), start):
            result[row] = np.interp(at, own_x, own_y)
    return result


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
