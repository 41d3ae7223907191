"""Diameters of a region of voxels, between points of its outline.

The outline is the surface of :mod:`monai_staging.measure.mesh`, and on a slice the line where the surface cuts it
(marching squares): half-way between marked and unmarked centres. So the longest diameter of a row of n voxels is n
voxels, that of one voxel is its longest edge, and an axial diameter never exceeds the three-dimensional one. A diameter
joins two points of the outline and may run through what is not marked in between: the calliper's view, and IBSI's.

Sources: maximum 3D diameter, IBSI L0JK (arXiv 1612.07003); longest diameter on an axial slice, RECIST 1.1 (Eisenhauer
et al., Eur. J. Cancer 45, 2009); its longest perpendicular on that slice, WHO (Miller et al., Cancer 47, 1981).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monai_staging.measure.mesh import Affine, Mask, Points, check_mask

TIE_MM = 1e-3
"""Diameters that differ by less than a micrometre are the same: the perpendicular may then be of either."""
_BLOCK = 512


@dataclass(frozen=True)
class AxialDiameters:
    """The longest diameter on an axial slice, and across it.

    Attributes:
        longest_mm: of all axial slices.
        perpendicular_mm: the longest distance between two points of the outline on the same slice whose line is at
            right angles to it. Of several diameters equally long, the one with the longest perpendicular counts.
        axis: the voxel axis that runs through the slices.
        slice_index: along that axis.
    """

    longest_mm: float
    perpendicular_mm: float
    axis: int
    slice_index: int


def longest_diameter_mm(vertices: Points, affine: Affine) -> float:
    """The largest distance between two points.

    Args:
        vertices: (vertices, 3), voxel indices; not all in one plane.
        affine: (4, 4), voxel index to millimetres.
    """
    return _longest(_corners(vertices) @ affine[:3, :3].T)


def axial_axis(affine: Affine) -> int:
    """The voxel axis whose slices are nearest to axial, the first of several: nothing is cut anew."""
    # Row i of the inverse is at right angles to the planes of constant index i.
    normals = np.linalg.inv(affine[:3, :3])
    steepness = np.abs(normals[:, 2]) / np.linalg.norm(normals, axis=1)
    # Rounded: of two axes at the same angle, digits at the end must not choose.
    return int(np.argmax(np.round(steepness, 6)))


def axial_diameters(mask: Mask, affine: Affine) -> AxialDiameters:
    """The longest diameter on any axial slice, with the longest perpendicular to it.

    Args:
        mask: (I, J, K), what is not 0 is marked; not empty.
        affine: (4, 4), voxel index to RAS millimetres. Oblique slices are taken as they are.

    Raises:
        UsageError: the mask is not of three dimensions, or empty.
    """
    check_mask(mask)
    axis = axial_axis(affine)
    slices = np.moveaxis(mask != 0, axis, 0)
    # In-plane millimetres from in-plane indices, on axes at right angles, whatever the voxels' own.
    to_mm = np.linalg.qr(np.delete(affine[:3, :3], axis, axis=1))[1]
    found = {}
    for index in np.flatnonzero(slices.any(axis=(1, 2))).tolist():
        outline = _outline(slices[index])
        corners = _corners(np.concatenate(outline)) @ to_mm.T
        found[index] = outline, corners, _longest(corners)
    longest_mm = max(length for _, _, length in found.values())
    best = (-1.0, 0)
    for index, (outline, corners, length) in found.items():
        if length <= longest_mm - TIE_MM:
            continue
        polygons = [polygon @ to_mm.T for polygon in outline]
        for direction in _directions(corners, longest_mm - TIE_MM):
            across = _longest_across(polygons, direction)
            # The first of several equal slices, whatever the last digits say.
            if across > best[0] + TIE_MM:
                best = across, index
    return AxialDiameters(longest_mm, best[0], axis, best[1])


def _outline(marked: npt.NDArray[np.bool_]) -> list[Points]:
    """Closed polygons (points, 2) in pixel indices, without the first point again."""
    from skimage.measure import find_contours

    # Marked pixels that touch at a corner are joined, in every direction alike.
    contours = find_contours(np.pad(marked, 1).astype(np.float32), 0.5, fully_connected="high")
    return [np.asarray(contour[:-1], np.float64) - 1 for contour in contours]


def _corners(points: Points) -> Points:
    """The points that others cannot lie between: only they can be furthest apart, in indices as in millimetres."""
    from scipy.spatial import ConvexHull

    return points[ConvexHull(points).vertices]


def _longest(points: Points) -> float:
    return max(float(distances.max()) for _, distances in _distances(points))


def _distances(points: Points) -> Iterator[tuple[int, Points]]:
    """Distances of all points to all, in blocks of rows: (first row, distances)."""
    from scipy.spatial.distance import cdist

    for row in range(0, len(points), _BLOCK):
        yield row, cdist(points[row : row + _BLOCK], points)


def _directions(corners: Points, least_mm: float) -> Points:
    """Unit vectors (directions, 2) along the pairs of points that are at least so far apart."""
    pairs = np.concatenate([np.argwhere(distances > least_mm) + (row, 0) for row, distances in _distances(corners)])
    first, second = corners[pairs[pairs[:, 0] < pairs[:, 1]].T]
    return (second - first) / np.linalg.norm(second - first, axis=1, keepdims=True)


def _longest_across(polygons: list[Points], direction: npt.NDArray[np.float64]) -> float:
    """The longest distance between two points of closed polygons on one line at right angles to ``direction``.

    Along ``direction`` the extent across is convex between two neighbouring corners of the polygons, so that the
    longest is at one of them. Edges of an outline are no longer than a pixel: a line crosses few of them, and those
    are found by where they begin, or a ragged outline of tens of thousands of corners would take minutes.
    """
    start = np.concatenate(polygons)
    end = np.concatenate([np.roll(polygon, -1, axis=0) for polygon in polygons])
    axes = np.array([direction, (-direction[1], direction[0])])
    (u0, v0), (u1, v1) = (start @ axes.T).T, (end @ axes.T).T
    tolerance = 1e-9 * float(np.ptp(u0))
    upright = np.abs(u1 - u0) <= tolerance
    length = np.where(upright, 1.0, u1 - u0)
    low, high = np.minimum(u0, u1) - tolerance, np.maximum(u0, u1) + tolerance
    order = np.argsort(low)
    low, high, u0, v0, v1, length, upright = (own[order] for own in (low, high, u0, v0, v1, length, upright))
    widest, corners = float((high - low).max()), np.sort(u0)
    longest = 0.0
    for row in range(0, len(corners), _BLOCK):
        at = corners[row : row + _BLOCK, None]
        near = slice(*np.searchsorted(low, [at[0, 0] - widest, np.nextafter(at[-1, 0], np.inf)]).tolist())
        crossed = (low[near] <= at) & (at <= high[near])
        level = v0[near] + np.clip((at - u0[near]) / length[near], 0, 1) * (v1 - v0)[near]
        upper = np.where(crossed, np.where(upright[near], np.maximum(v0, v1)[near], level), -np.inf).max(axis=1)
        lower = np.where(crossed, np.where(upright[near], np.minimum(v0, v1)[near], level), np.inf).min(axis=1)
        longest = max(longest, float((upper - lower).max()))
    return longest
