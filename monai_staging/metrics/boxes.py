"""Overlap of boxes, and average precision of detected boxes with intervals over patients.

A box is its two corners in the order of MONAI's ``StandardMode``: (xmin, ymin, xmax, ymax) in 2-D, (xmin, ymin, zmin,
xmax, ymax, zmax) in 3-D; lengths are differences of coordinates, as they are of millimetres (a mask's box of voxels
from 3 to 5 is 3, 6). ``monai.data.box_utils`` computes in single precision and adds 1.2e-7 to every denominator: a box
in the world's millimetres loses digits there, and a tiny box does not overlap itself wholly. Here all is in double
precision and without torch; the two agree as far as single precision goes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import Estimate, FloatArray, IntArray, percentile_interval, resample

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
"""IoU at which a box counts as found, and that ``map`` is the mean over: those of MONAI's ``COCOMetric``."""

_CELLS = 2**20


def box_iou(boxes: ArrayLike, others: ArrayLike) -> FloatArray:
    """Intersection over union of every box with every other; 0 where both are empty.

    Args:
        boxes: (N, 4) or (N, 6) corners.
        others: (M, 4) or (M, 6) corners, in the same unit and frame.

    Returns:
        (N, M) in 0..1.

    Raises:
        UsageError: the arrays are no boxes, or not of the same dimension.
        DataError: a corner is not finite, or a box ends before it begins.
    """
    return _iou(*_matrix(boxes, others))


def box_pair_iou(boxes: ArrayLike, others: ArrayLike) -> FloatArray:
    """As :func:`box_iou`, of each box with the one in the same row: (N) values."""
    return _iou(*_pairs(boxes, others))


def box_giou(boxes: ArrayLike, others: ArrayLike) -> FloatArray:
    """Generalised intersection over union of every box with every other (Rezatofighi et al., CVPR 2019).

    IoU less the share of the smallest box around both that neither fills. Arguments and errors are those of
    :func:`box_iou`.

    Returns:
        (N, M) in -1..1: 1 for equal boxes, towards -1 the farther apart; 0 where the box around both is empty.
    """
    return _giou(*_matrix(boxes, others))


def box_pair_giou(boxes: ArrayLike, others: ArrayLike) -> FloatArray:
    """As :func:`box_giou`, of each box with the one in the same row: (N) values."""
    return _giou(*_pairs(boxes, others))


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of many cases: a row each.

    Attributes:
        cases: (N) the case (scan or slice) that each is in.
        corners: (N, 4) or (N, 6), in the frame of the boxes that are held against them.
        scores: (N) the larger, the surer; ``None`` for boxes that are to be found.
    """

    cases: tuple[str, ...]
    corners: FloatArray
    scores: FloatArray | None = None

    def __post_init__(self) -> None:
        """Takes anything that makes arrays.

        Raises:
            UsageError: the fields differ in length or are no boxes.
            DataError: a number is not finite, or a box ends before it begins.
        """
        corners = check_boxes(self.corners)
        scores = None if self.scores is None else np.asarray(self.scores, dtype=np.float64)
        if len(corners) != len(self.cases) or (scores is not None and scores.shape != (len(corners),)):
            shape = "" if scores is None else f" and scores of shape {scores.shape}"
            raise UsageError(f"A case and a score a box: got {len(self.cases)} cases for {len(corners)} boxes{shape}.")
        if scores is not None and not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise DataError(f"Case {self.cases[row]}: a score is finite, found {scores[row]} (box {row}).")
        object.__setattr__(self, "cases", tuple(self.cases))
        object.__setattr__(self, "corners", corners)
        object.__setattr__(self, "scores", scores)


def average_precision(
    truth: Boxes,
    found: Boxes,
    patients: Mapping[str, str],
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    n_boot: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Estimate]:
    """Average precision at several IoU, with percentile intervals over resampled patients.

    Boxes of a case are taken from the surest down (of equals, the first row first); each takes the box of the truth
    that it overlaps most among those not yet taken, if the IoU is at least the threshold, and is a false positive
    otherwise (the matching of COCO, without its cap on boxes an image).

    The area is that under the precision-recall curve with *all-point* interpolation: at each recall the highest
    precision at that recall or a higher one (Pascal VOC from 2010 on; not the 11 points before it nor COCO's 101). The
    curve has a point at each distinct score: boxes of equal score come in together, whatever their order.

    Args:
        truth: the boxes that are to be found.
        found: what a detector gives, with scores.
        patients: case to patient, of *every* case that was searched, also those without a box.
        thresholds: IoU, each in (0, 1].
        n_boot: how many resamples.
        seed: of the resampling.
        level: of the intervals.

    Returns:
        ``ap_10`` for an IoU of .1, and so on, and ``map``, their mean. NaN in a resample without a box to find.

    Raises:
        UsageError: a threshold is out of range or there twice, found boxes have no scores, or dimensions differ.
        DataError: there is no box to find, or a box belongs to a case that has no patient.
    """
    levels = list(thresholds)
    if not levels or len(set(levels)) < len(levels) or not all(0 < value <= 1 for value in levels):
        raise UsageError(f"Thresholds of IoU are different numbers above 0, at most 1; got {levels}.")
    if found.scores is None:
        raise UsageError("Average precision needs the scores of the boxes found.")
    if not len(truth.corners):
        raise DataError(f"Average precision needs at least 1 box to find, found 0 in {len(patients)} cases.")
    index = {case: place for place, case in enumerate(patients)}
    of_truth, of_found = (_places(boxes.cases, index) for boxes in (truth, found))
    order = np.argsort(-found.scores, kind="stable")
    hits = _hits(truth, found, of_truth, of_found, order, levels)
    scores, hits, of_found = found.scores[order], hits[:, order], of_found[order]
    draws = resample(list(patients.values()), n_boot, seed)
    # The first weighting is the patients themselves, the rest are the resamples.
    weights = np.concatenate([np.ones((1, len(index))), draws.weights])
    lesions = weights @ np.bincount(of_truth, minlength=len(index)).astype(np.float64)
    ends = np.flatnonzero(np.diff(scores, append=-np.inf))
    areas = np.empty((len(levels), len(weights)))
    step = max(1, _CELLS // max(1, len(scores)))
    for start in range(0, len(weights), step):
        part = slice(start, start + step)
        drawn = weights[part][:, of_found]
        every = np.cumsum(drawn, axis=1)[:, ends]
        for row, hit in enumerate(hits):
            right = np.cumsum(drawn * hit, axis=1)[:, ends]
            areas[row, part] = envelope_area(right, every, lesions[part])
    result = {}
    for name, values in [*zip(map(_name, levels), areas, strict=True), ("map", areas.mean(axis=0))]:
        result[name] = Estimate(float(values[0]), *percentile_interval(values[1:], level), n=draws.patients)
    return result


def check_boxes(boxes: ArrayLike) -> FloatArray:
    """Boxes as an array (N, 4) or (N, 6), or the error of :func:`box_iou`."""
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0 and array.ndim <= 2:
        return array.reshape(0, array.shape[-1] if array.ndim == 2 and array.shape[-1] in (4, 6) else 6)
    if array.ndim != 2 or array.shape[1] not in (4, 6):
        raise UsageError(f"Boxes have the shape (N, 4) or (N, 6), got {array.shape}.")
    half = array.shape[1] // 2
    for rule, good in (
        ("is finite", np.isfinite(array).all(axis=1)),
        ("does not end before it begins", (array[:, :half] <= array[:, half:]).all(axis=1)),
    ):
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise DataError(f"Box {row}: a box {rule}, found {array[row].tolist()}.")
    return array


def _matrix(boxes: ArrayLike, others: ArrayLike) -> tuple[FloatArray, FloatArray]:
    one, two = _alike(boxes, others)
    return one[:, None], two[None]


def _pairs(boxes: ArrayLike, others: ArrayLike) -> tuple[FloatArray, FloatArray]:
    one, two = _alike(boxes, others)
    if len(one) != len(two):
        raise UsageError(f"Pairs are as many boxes on both sides, got {len(one)} and {len(two)}.")
    return one, two


def _alike(boxes: ArrayLike, others: ArrayLike) -> tuple[FloatArray, FloatArray]:
    one, two = check_boxes(boxes), check_boxes(others)
    if len(one) and len(two) and one.shape[1] != two.shape[1]:
        raise UsageError(
            f"Boxes on both sides have the same dimension, got {one.shape[1] // 2} and {two.shape[1] // 2}."
        )
    width = one.shape[1] if len(one) else two.shape[1]
    return one.reshape(-1, width), two.reshape(-1, width)


def _shared(one: FloatArray, two: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Volume (area) of the intersection and of the union."""
    half = one.shape[-1] // 2
    sides = np.minimum(one[..., half:], two[..., half:]) - np.maximum(one[..., :half], two[..., :half])
    inside = np.prod(np.clip(sides, 0, None), axis=-1)
    sizes = [np.prod(array[..., half:] - array[..., :half], axis=-1) for array in (one, two)]
    return inside, sizes[0] + sizes[1] - inside


def _ratio(over: FloatArray, under: FloatArray) -> FloatArray:
    return np.divide(over, under, out=np.zeros(np.broadcast_shapes(over.shape, under.shape)), where=under > 0)


def _iou(one: FloatArray, two: FloatArray) -> FloatArray:
    return _ratio(*_shared(one, two))


def _giou(one: FloatArray, two: FloatArray) -> FloatArray:
    half = one.shape[-1] // 2
    inside, union = _shared(one, two)
    sides = np.maximum(one[..., half:], two[..., half:]) - np.minimum(one[..., :half], two[..., :half])
    around = np.prod(sides, axis=-1)
    giou: FloatArray = _ratio(inside, union) - _ratio(around - union, around)
    return giou


def _hits(
    truth: Boxes, found: Boxes, of_truth: IntArray, of_found: IntArray, order: IntArray, levels: Sequence[float]
) -> NDArray[np.bool_]:
    """(thresholds, found) whether a box takes one of the truth."""
    hits = np.zeros((len(levels), len(found.corners)), dtype=bool)
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    for case in np.intersect1d(of_truth, of_found):
        targets = np.flatnonzero(of_truth == case)
        rows = np.flatnonzero(of_found == case)
        rows = rows[np.argsort(ranks[rows])]
        overlaps = box_iou(found.corners[rows], truth.corners[targets])
        for place, least in enumerate(levels):
            free = np.ones(len(targets), dtype=bool)
            for row, overlap in zip(rows, overlaps, strict=True):
                best = int(np.argmax(np.where(free, overlap, -1.0)))
                if free[best] and overlap[best] >= least:
                    free[best] = False
                    hits[place, row] = True
    return hits


def envelope_area(right: FloatArray, every: FloatArray, targets: FloatArray) -> FloatArray:
    """Area under the precision-recall curve, at each recall the highest precision at that recall or a higher one.

    Args:
        right: (resamples, points) what is found and right, at each point of the curve from the surest on.
        every: the same shape, all that is found.
        targets: (resamples) what is to be found.

    Returns:
        (resamples); NaN where nothing is to be found.
    """
    if right.shape[1] == 0:
        return np.where(targets > 0, 0.0, math.nan)
    envelope = np.maximum.accumulate(_ratio(right, every)[:, ::-1], axis=1)[:, ::-1]
    steps = np.diff(right, axis=1, prepend=0.0)
    return np.divide((steps * envelope).sum(axis=1), targets, out=np.full(len(targets), math.nan), where=targets > 0)


def _places(cases: Sequence[str], index: Mapping[str, int]) -> IntArray:
    for row, case in enumerate(cases):
        if case not in index:
            raise DataError(
                f"Case {case}: every case with a box has a patient, found none among {len(index)} (box {row})."
            )
    return np.array([index[case] for case in cases], dtype=np.int64)


def _name(threshold: float) -> str:
    return f"ap_{100 * threshold:g}"
