"""Thin things (vessels, airways, fissures, strands) as points with a volume, dropped into the slices.

Each point adds its volume to the four pixels around it; where a pixel is full, it is full. That gives right partial
volumes for things thinner than a voxel at any slice thickness, at a cost that depends on the things and not on the
image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from monai_staging.cohort.phantom.grid import Array
from monai_staging.cohort.phantom.trees import Segments


@dataclass(frozen=True)
class Cloud:
    """Points (N, 3) in mm and the volume in mm3 that each stands for."""

    points: Array
    volume: Array

    @staticmethod
    def join(clouds: list[Cloud]) -> Cloud:
        """All points of several clouds."""
        if not clouds:
            return Cloud(np.zeros((0, 3), np.float32), np.zeros(0, np.float32))
        return Cloud(np.concatenate([c.points for c in clouds]), np.concatenate([c.volume for c in clouds]))


@lru_cache(maxsize=64)
def _disc(rings: int) -> Array:
    """Points (M, 2) that share the unit disc evenly."""
    points = []
    for ring in range(rings):
        count = max(1, round(2 * np.pi * (ring + 0.5)))
        angle = 2 * np.pi * (np.arange(count) + 0.5 * (ring % 2)) / count
        radius = (ring + 0.5) / rings if rings > 1 else 0.0
        points.append(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1))
    return np.concatenate(points).astype(np.float32)


def tubes(segments: Segments, step_mm: float, grow_mm: float = 0.0) -> Cloud:
    """Solid tubes as a cloud; ``step_mm`` is about the distance between points, ``grow_mm`` is added to the radii."""
    along = segments.end - segments.start
    length = np.sqrt((along**2).sum(1))
    radius = segments.radius + np.float32(grow_mm)
    keep = length > 1e-3
    along, length, radius, start = along[keep], length[keep], radius[keep], segments.start[keep]
    unit = along / length[:, None]
    helper = np.where(np.abs(unit[:, 2:3]) < 0.8, np.array([[0, 0, 1]], np.float32), np.array([[1, 0, 0]], np.float32))
    u = np.cross(unit, helper)
    u /= np.sqrt((u**2).sum(1))[:, None]
    v = np.cross(unit, u)
    rings = np.clip(np.ceil(radius / step_mm - 0.35), 1, 40).astype(int)
    clouds = []
    for count in np.unique(rings):
        chosen = np.flatnonzero(rings == count)
        disc = _disc(int(count))
        steps = np.maximum(1, np.ceil(length[chosen] / step_mm)).astype(int)
        owner = np.repeat(chosen, steps)
        first = np.repeat(np.cumsum(steps) - steps, steps)
        part = (np.arange(len(owner)) - first + 0.5) / np.repeat(steps, steps)
        centre = start[owner] + part[:, None].astype(np.float32) * along[owner]
        spread = radius[owner, None, None] * (disc[None, :, :1] * u[owner, None] + disc[None, :, 1:] * v[owner, None])
        volume = np.pi * radius[owner] ** 2 * length[owner] / np.repeat(steps, steps) / len(disc)
        # Points are a lattice: inside a wide tube a little more than full hides its ripple, as full is full.
        volume = volume * (1.2 if count > 2 else 1.0)
        clouds.append(Cloud((centre[:, None] + spread).reshape(-1, 3), np.repeat(volume, len(disc)).astype(np.float32)))
    return Cloud.join(clouds)


class SliceDropper:
    """Drops a cloud into slices, one at a time."""

    def __init__(
        self,
        cloud: Cloud,
        origin: tuple[float, float, float],
        spacing: tuple[float, float],
        thickness_mm: float,
        shape: tuple[int, int, int],
    ) -> None:
        """Sorts the cloud by slice.

        Args:
            cloud: points in the scanner's frame.
            origin: centre of the first voxel (x, y, z), mm.
            spacing: in plane and between slices, mm.
            thickness_mm: thickness of a slice.
            shape: (slices, rows, columns).
        """
        self.shape = shape
        self.area = spacing[0] ** 2 * thickness_mm
        k = (cloud.points[:, 2] - origin[2]) / spacing[1]
        nearest = np.rint(k).astype(np.int32)
        order = np.argsort(nearest, kind="stable")
        self.bounds = np.searchsorted(nearest[order], np.arange(shape[0] + 1))
        self.column = ((cloud.points[order, 0] - origin[0]) / spacing[0]).astype(np.float32)
        self.row = ((cloud.points[order, 1] - origin[1]) / spacing[0]).astype(np.float32)
        # A slice thicker than the spacing shares its neighbours' points; spacing is the share of each.
        self.volume = cloud.volume[order] * np.float32(thickness_mm / spacing[1])

    def slice(self, k: int) -> tuple[np.ndarray, slice, slice] | None:
        """Part of each pixel that is filled in slice ``k`` (0 to 1), with the rows and columns it covers."""
        low, high = self.bounds[k], self.bounds[k + 1]
        rows, columns = self.shape[1:]
        x, y, volume = self.column[low:high], self.row[low:high], self.volume[low:high]
        keep = (x > 0) & (x < columns - 1) & (y > 0) & (y < rows - 1)
        if not keep.any():
            return None
        x, y, volume = x[keep], y[keep], volume[keep]
        i, j = x.astype(np.intp), y.astype(np.intp)
        fx, fy = x - i, y - j
        i0, j0 = int(i.min()), int(j.min())
        width, height = int(i.max()) - i0 + 2, int(j.max()) - j0 + 2
        flat = (j - j0) * width + (i - i0)
        top, bottom = volume * (1 - fy), volume * fy
        where = np.concatenate([flat, flat + 1, flat + width, flat + width + 1])
        what = np.concatenate([top * (1 - fx), top * fx, bottom * (1 - fx), bottom * fx])
        full = np.bincount(where, weights=what, minlength=width * height).reshape(height, width)
        return np.minimum(full / self.area, 1.0).astype(np.float32), slice(j0, j0 + height), slice(i0, i0 + width)
