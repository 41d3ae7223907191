"""Lines at sub-pixel on an axial slice: around a mask, and along a tumour's edge inside a box.

Lines come from marching squares (Lorensen and Cline, SIGGRAPH 1987, in the plane), in the patient's millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from monai.transforms import SobelGradients
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

from monai_staging.explain.axial import AxialImage, Points

LEVELS = 40
"""Values between a box's darkest and brightest that a tumour's edge is looked for at."""
TAILS = (2.0, 98.0)
"""Percentiles of a box's values that count as darkest and brightest."""
LEAST_SHARE = 0.1
"""Of a box's pixels that its tumour fills at least: a spot in it is not the tumour."""
REACH = 1.15
"""Lines end at the ellipse in the box, enlarged so much: in a box's corners is what surrounds the tumour."""
LEAST_LINE = 0.1
"""Of the longest line that others have at least: shorter ones are where vessels come in."""

Mask = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Edge:
    """A tumour's edge on a slice.

    Attributes:
        lines: closed where the edge is seen all around; where there is none, or at the box's corners, they end.
        level_hu: what the lines run along.
        gradient_hu_per_mm: mean Sobel magnitude on them: how sharp the edge is.
    """

    lines: tuple[Points, ...]
    level_hu: float
    gradient_hu_per_mm: float


def mask_contours(mask: AxialImage) -> tuple[Points, ...]:
    """Closed lines around what a mask marks (not 0), half-way between marked and unmarked centres.

    Marked pixels that touch at a corner are joined. Along a straight edge the line lies where the pixels end.
    """
    padded = np.pad(mask.values != 0, 1).astype(np.float64)
    return tuple(mask.to_mm(line - 1) for line in find_contours(padded, 0.5, fully_connected="high"))


def sobel_magnitude(image: AxialImage) -> FloatArray:
    """(X, Y) how steeply values change at each pixel, per mm, by MONAI's Sobel filter."""
    along = SobelGradients()(image.values[None].astype(np.float32)).numpy()
    magnitude: FloatArray = np.hypot(*(part / step for part, step in zip(along, image.spacing_mm, strict=True)))
    return magnitude.astype(np.float64)


def tumour_edge(image: AxialImage, low_mm: tuple[float, float], high_mm: tuple[float, float]) -> Edge | None:
    """Where the tumour in a box ends, as its own edge says: without a network, and without a threshold from a book.

    At each of :data:`LEVELS` values the brighter region around the box's middle is outlined; the outline along which
    the Sobel magnitude is largest on average is the edge. In lung that is half-way between both tissues whatever their
    densities, which is where a blurred edge lies. Where a tumour touches tissue of its own density there is no edge,
    and no line.

    Args:
        image: HU.
        low_mm: the box's least x and y, RAS mm.
        high_mm: its largest.

    Returns:
        None where nothing in the box is brighter than what is around it.

    Raises:
        UsageError: the box is not on the slice.
    """
    box = image.within(low_mm, high_mm)
    if min(box.values.shape) < 3:
        return None
    # Of the whole slice, so that the filter sees what is beyond the box.
    steepness = sobel_magnitude(image)
    best: Edge | None = None
    darkest, brightest = np.percentile(box.values, TAILS)
    for level in np.linspace(darkest, brightest, LEVELS + 2)[1:-1].tolist():
        region = _central(box.values > level)
        if region is None:
            continue
        found = [box.to_mm(line) for line in _outline(box.values.astype(np.float64), region, level)]
        lines = _worth_drawing([piece for line in found for piece in _within_ellipse(line, low_mm, high_mm)])
        if not lines:
            continue
        gradient = _mean_along(lines, image, steepness)
        if best is None or gradient > best.gradient_hu_per_mm:
            best = Edge(lines, level, gradient)
    return best


def _central(bright: Mask) -> Mask | None:
    """The region with most pixels in the middle of the box, without holes; None where it is too small."""
    labelled, _ = ndimage.label(bright, structure=np.ones((3, 3)))
    quarter = [length // 4 for length in bright.shape]
    middle = labelled[quarter[0] : bright.shape[0] - quarter[0], quarter[1] : bright.shape[1] - quarter[1]]
    counts = np.bincount(middle.ravel())
    counts[0] = 0
    if not counts.any():
        return None
    region: Mask = ndimage.binary_fill_holes(labelled == counts.argmax())
    return region if region.sum() >= LEAST_SHARE * region.size else None


def _outline(values: FloatArray, region: Mask, level: float) -> list[FloatArray]:
    """Lines around the region where values cross the level; other bright regions and holes are levelled out."""
    levelled = np.where(region, np.maximum(values, level + 1e-3), np.minimum(values, level - 1e-3))
    return [np.asarray(line, dtype=np.float64) for line in find_contours(levelled, level, fully_connected="high")]


def _within_ellipse(line: Points, low_mm: tuple[float, float], high_mm: tuple[float, float]) -> list[Points]:
    """The pieces of a line that are inside; all of a line that never leaves."""
    low, high = np.array(low_mm), np.array(high_mm)
    inside = np.hypot(*((line - (low + high) / 2) / (REACH * (high - low) / 2)).T) <= 1
    changes = np.flatnonzero(np.diff(inside)) + 1
    return [piece for piece, kept in zip(np.split(line, changes), np.split(inside, changes), strict=True) if kept[0]]


def _worth_drawing(lines: list[Points]) -> tuple[Points, ...]:
    """Without those that are short beside the longest."""
    lengths = [float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum()) for line in lines]
    least = LEAST_LINE * max(lengths, default=0.0)
    return tuple(line for line, length in zip(lines, lengths, strict=True) if length > 0 and length >= least)


def _mean_along(lines: tuple[Points, ...], image: AxialImage, values: FloatArray) -> float:
    """Mean of values along lines, by length."""
    total = length = 0.0
    for line in lines:
        steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
        middles = image.to_index((line[1:] + line[:-1]) / 2)
        found = ndimage.map_coordinates(values, middles.T, order=1, mode="nearest")
        total, length = total + float(found @ steps), length + float(steps.sum())
    return total / length
