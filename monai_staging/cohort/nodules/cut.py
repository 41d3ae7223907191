"""Nodules cut out of a scan: which box, and in which order its voxels come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_staging.cohort.volume import Volume

WINDOW_HU = (-1000.0, 400.0)
"""What is 0 and what is 1 to a network: lung to soft tissue and calcium."""
BOX_MM, MARGIN_MM = 64.0, 16.0
"""A nodule is cut out with at least so much in all along each axis, and so much on either side of it."""
_DIRECTIONS = ("S", "P", "L")


@dataclass(frozen=True, eq=False)
class Axes:
    """How a volume's axes become slices, rows and columns.

    Attributes:
        order: of the volume's axes, the one that becomes slices first.
        flips: whether each of them, in that order, is turned around.
        spacing_mm: between slices, rows and columns.
    """

    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    spacing_mm: tuple[float, float, float]

    @classmethod
    def of(cls, affine: NDArray[np.float64]) -> Axes:
        """Of a volume with this affine, (4, 4), voxel index to RAS mm."""
        from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

        found = ornt_transform(io_orientation(affine), axcodes2ornt(_DIRECTIONS))
        # One row for each of the volume's axes: which it becomes, and 1 or -1.
        order = np.argsort(found[:, 0])
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        slices, rows, columns = (int(axis) for axis in order)
        first, second, third = (bool(found[axis, 1] < 0) for axis in order)
        between, row_mm, column_mm = (float(spacing[axis]) for axis in order)
        return cls((slices, rows, columns), (first, second, third), (between, row_mm, column_mm))

    def arrange(self, box: NDArray[Any]) -> NDArray[Any]:
        """A copy of a part of the volume as (slices, rows, columns)."""
        turned = box.transpose(self.order)
        return np.ascontiguousarray(turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)])


def index_of(volume: Volume, point_mm: Sequence[float]) -> NDArray[np.float64]:
    """Where a point (RAS mm) lies among a volume's voxels, (3,), not rounded."""
    to_index = np.linalg.inv(volume.affine)
    found: NDArray[np.float64] = to_index[:3, :3] @ np.asarray(point_mm, dtype=np.float64) + to_index[:3, 3]
    return found


def nodule_box(
    volume: Volume, center_mm: Sequence[float], size_mm: Sequence[float]
) -> tuple[slice, slice, slice] | None:
    """The part of a volume that a nodule is cut out with; it goes no further than the scan.

    Args:
        volume: the scan.
        center_mm: of the nodule, RAS mm.
        size_mm: its extents.

    Returns:
        Voxels along each axis; ``None`` where all of it lies outside.
    """
    center = index_of(volume, center_mm)
    half_mm = max(BOX_MM / 2, max(size_mm) / 2 + MARGIN_MM)
    half = half_mm / np.asarray(volume.spacing_mm)
    low = np.clip(np.floor(center - half), 0, volume.shape).astype(int)
    high = np.clip(np.ceil(center + half) + 1, 0, volume.shape).astype(int)
    if (low >= high).any():
        return None
    i, j, k = (slice(int(first), int(end)) for first, end in zip(low, high, strict=True))
    return i, j, k
