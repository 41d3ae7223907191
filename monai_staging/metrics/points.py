"""Points found on slides against points to be found: F1, precision, recall and average precision, over patients.

A point found is right where it can be paired with a point of the truth within a radius, each with one at most. How many
pairs there are is not left to the order in which they are made: it is the largest possible number (a maximum matching).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.boxes import envelope_area
from monai_staging.metrics.intervals import Estimate, FloatArray, IntArray, weightings

RADIUS_UM = 7.5
"""Within which TUPAC16 and MIDOG take a point for the same mitosis: 30 pixels of 0.25 um."""


@dataclass(frozen=True, eq=False)
class Points:
    """Points of many slides: a row each.

    Attributes:
        slides: (N) the slide that each is on.
        xy_um: (N, 2) in micrometres of the slide.
        scores: (N) the larger, the surer; ``None`` for points that are to be found.
    """

    slides: tuple[str, ...]
    xy_um: FloatArray
    scores: FloatArray | None = None

    def __post_init__(self) -> None:
        """Takes anything that makes arrays.

        Raises:
            UsageError: the fields differ in length, or are no points.
            DataError: a number is not finite.
        """
        places = np.asarray(self.xy_um, dtype=np.float64)
        places = places if places.size else places.reshape(0, 2)
        scores = None if self.scores is None else np.asarray(self.scores, dtype=np.float64)
        if places.shape != (len(self.slides), 2) or (scores is not None and scores.shape != (len(self.slides),)):
            shape = "" if scores is None else f" and scores of shape {scores.shape}"
            raise UsageError(f"A slide, x, y and score a point: got {len(self.slides)} slides, {places.shape}{shape}.")
        for name, values in (("place", places.sum(axis=1)), ("score", scores)):
            if values is not None and not np.isfinite(values).all():
                row = int(np.flatnonzero(~np.isfinite(values))[0])
                raise DataError(f"Slide {self.slides[row]}: a {name} is finite, found {values[row]} (point {row}).")
        object.__setattr__(self, "slides", tuple(self.slides))
        object.__setattr__(self, "xy_um", places)
        object.__setattr__(self, "scores", scores)

    def counted(self, threshold: float) -> NDArray[np.bool_]:
        """(N) which points have such a score at least.

        Raises:
            UsageError: they have none.
        """
        if self.scores is None:
            raise UsageError("Points found need scores.")
        counted: NDArray[np.bool_] = self.scores >= threshold
        return counted


def match_points(truth: ArrayLike, found: ArrayLike, scores: ArrayLike, radius: float = RADIUS_UM) -> NDArray[np.bool_]:
    """Which points of one slide are right.

    Points come in from the surest down, and each that lets the number of pairs grow is right, be it that others change
    their partners. So the right ones among those above *any* score are a maximum matching of these, and one pass serves
    all thresholds.

    Args:
        truth: (T, 2) places.
        found: (N, 2) places, in the same unit.
        scores: (N).
        radius: at most so far apart is a pair.

    Returns:
        (N), in the order of ``found``.

    Raises:
        UsageError: a radius that is not above 0.
    """
    from scipy.spatial import KDTree

    if not radius > 0:
        raise UsageError(f"A radius is above 0, found {radius}.")
    targets, places = (np.asarray(values, dtype=np.float64).reshape(-1, 2) for values in (truth, found))
    right = np.zeros(len(places), dtype=bool)
    if not len(targets) or not len(places):
        return right
    near = KDTree(targets).query_ball_point(places, radius)
    owner: dict[int, int] = {}
    holds: dict[int, int] = {}
    for row in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable").tolist():
        right[row] = _pair(row, near, owner, holds)
    return right


def point_metrics(
    truth: Points,
    found: Points,
    patients: Mapping[str, str],
    *,
    threshold: float,
    radius_um: float = RADIUS_UM,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """``f1``, ``precision`` and ``recall`` of the points from a score on, and ``average_precision`` of all.

    Counts are of all slides together, as the challenges do, and intervals of resampled patients.

    Args:
        truth: the points to be found.
        found: what was found, with scores.
        patients: slide to patient, of *every* slide that was searched.
        threshold: the least score of a point that counts; chosen on other slides.
        radius_um: see :func:`match_points`.
        n_boot: how many resamples; 0 for no intervals.
        seed: of the resampling.
        level: of the intervals.

    Returns:
        Precision is NaN where no point counts, recall where there is none to be found, F1 where there is neither.

    Raises:
        UsageError: found points have no scores, or a radius that is not above 0.
        DataError: a point is on a slide that has no patient.
    """
    curve = _curve(truth, found, patients, radius_um)
    draws = weightings(list(patients.values()), n_boot, seed)
    weights = draws.weights
    targets = weights @ np.bincount(curve.of_truth, minlength=len(patients)).astype(np.float64)
    drawn = weights[:, curve.of_found]
    counts = drawn * (curve.scores >= threshold)
    right = (counts * curve.right).sum(axis=1)
    every = counts.sum(axis=1)
    ends = np.flatnonzero(np.diff(curve.scores, append=-np.inf))
    area = envelope_area(np.cumsum(drawn * curve.right, axis=1)[:, ends], np.cumsum(drawn, axis=1)[:, ends], targets)
    values = {
        "f1": _share(2 * right, every + targets),
        "precision": _share(right, every),
        "recall": _share(right, targets),
        "average_precision": area,
    }
    return {name: draws.estimate(each, level) for name, each in values.items()}


def best_threshold(truth: Points, found: Points, radius_um: float = RADIUS_UM) -> tuple[float, float]:
    """The score from which points count at the highest F1, the highest of equals, and that F1.

    Raises:
        UsageError: found points have no scores, or a radius that is not above 0.
        DataError: nothing is found, or there is nothing to be found: there is no F1 to choose by.
    """
    if not truth.slides or not found.slides:
        raise DataError(
            f"A threshold is chosen by points found and to be found, found {len(found.slides)} and {len(truth.slides)}."
        )
    slides = dict.fromkeys([*truth.slides, *found.slides], "")
    curve = _curve(truth, found, slides, radius_um)
    ends = np.flatnonzero(np.diff(curve.scores, append=-np.inf))
    f1 = 2 * np.cumsum(curve.right)[ends] / (ends + 1 + len(truth.slides))
    best = int(np.argmax(f1))
    return float(curve.scores[ends[best]]), float(f1[best])


def point_curve(
    truth: Points, found: Points, patients: Mapping[str, str], radius_um: float = RADIUS_UM
) -> tuple[FloatArray, FloatArray]:
    """Recall and precision from each score on, from the highest down; of no points, none.

    Args:
        truth: the points to be found.
        found: what was found, with scores.
        patients: slide to patient, of every slide that was searched.
        radius_um: see :func:`match_points`.
    """
    curve = _curve(truth, found, patients, radius_um)
    ends = np.flatnonzero(np.diff(curve.scores, append=-np.inf))
    right = np.cumsum(curve.right)[ends].astype(np.float64)
    return _share(right, np.full(len(ends), float(len(truth.slides)))), right / (ends + 1)


@dataclass(frozen=True, eq=False)
class _Curve:
    """Points found from the surest down: their scores, whether they are right, and the places of their slides."""

    scores: FloatArray
    right: NDArray[np.bool_]
    of_found: IntArray
    of_truth: IntArray


def _curve(truth: Points, found: Points, patients: Mapping[str, str], radius_um: float) -> _Curve:
    if found.scores is None:
        raise UsageError("Points found need scores.")
    index = {slide: place for place, slide in enumerate(patients)}
    of_truth, of_found = (_places(points.slides, index) for points in (truth, found))
    right = np.zeros(len(of_found), dtype=bool)
    for slide in range(len(index)):
        rows = np.flatnonzero(of_found == slide)
        right[rows] = match_points(truth.xy_um[of_truth == slide], found.xy_um[rows], found.scores[rows], radius_um)
    order = np.argsort(-found.scores, kind="stable")
    return _Curve(found.scores[order], right[order], of_found[order], of_truth)


def _places(slides: Sequence[str], index: Mapping[str, int]) -> IntArray:
    for row, slide in enumerate(slides):
        if slide not in index:
            raise DataError(f"Slide {slide}: every slide has a patient, found none among {len(index)} (point {row}).")
    return np.array([index[slide] for slide in slides], dtype=np.int64)


def _pair(row: int, near: Sequence[Sequence[int]], owner: dict[int, int], holds: dict[int, int]) -> bool:
    """Whether a point finds a partner, others giving theirs up for another if need be (an augmenting path).

    Args:
        row: the point, without a partner.
        near: of each point, the targets within the radius.
        owner: of the targets that have one; ``holds`` is its inverse. Both are changed.
    """
    came_from: dict[int, int] = {}
    waiting = deque([row])
    while waiting:
        point = waiting.popleft()
        for target in near[point]:
            if target in came_from:
                continue
            came_from[target] = point
            if target in owner:
                waiting.append(owner[target])
                continue
            # Back along the way: each point takes the target it reached, and leaves its old one to the one before.
            free: int | None = target
            while free is not None:
                taker = came_from[free]
                left = holds.get(taker)
                owner[free], holds[taker] = taker, free
                free = left
            return True
    return False


def _share(over: FloatArray, under: FloatArray) -> FloatArray:
    return np.divide(over, under, out=np.full(len(over), math.nan), where=under > 0)
