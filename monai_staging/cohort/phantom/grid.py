"""Signed distances on the coarse anatomical grid.

The anatomical frame is the patient's: x to the left, y to the back, z to the head (as DICOM's), in millimetres of a
body of normal size, with the carina at the origin. Distances are negative inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # of float32, by convention
Point = Sequence[float] | NDArray[Any]


@dataclass(frozen=True)
class Grid:
    """A regular grid: ``shape`` is (z, y, x), ``low`` is the centre of its first voxel as (x, y, z) in mm."""

    low: tuple[float, float, float]
    shape: tuple[int, int, int]
    step_mm: float

    @cached_property
    def axes(self) -> tuple[Array, Array, Array]:
        """x as (1, 1, X), y as (1, Y, 1) and z as (Z, 1, 1), in mm."""
        x, y, z = (
            (low + self.step_mm * np.arange(n)).astype(np.float32)
            for low, n in zip(self.low, self.shape[::-1], strict=True)
        )
        return x[None, None, :], y[None, :, None], z[:, None, None]

    def box(self, low: Point, high: Point) -> Box:
        """The part of the grid between two corners (x, y, z)."""
        slices = []
        for a, b, start, n in zip(low, high, self.low, self.shape[::-1], strict=True):
            first = int(np.clip(np.floor((a - start) / self.step_mm), 0, n - 1))
            last = int(np.clip(np.ceil((b - start) / self.step_mm) + 1, first + 1, n))
            slices.append(slice(first, last))
        x, y, z = self.axes
        return Box((slices[2], slices[1], slices[0]), x[:, :, slices[0]], y[:, slices[1], :], z[slices[2], :, :])

    def around(self, points: Sequence[Point] | Array, margin_mm: float) -> Box:
        """The part of the grid within ``margin_mm`` of the points' bounding box."""
        corners = np.asarray(points, dtype=np.float64)
        return self.box(corners.min(0) - margin_mm, corners.max(0) + margin_mm)

    def full(self, value: float) -> Array:
        """A field of one value."""
        return np.full(self.shape, value, dtype=np.float32)

    def sample(self, fields: Array, points: NDArray[Any]) -> Array:
        """Trilinear values of a field (Z, Y, X) at points (N, 3) given as x, y, z; clamped at the border."""
        position = (np.asarray(points, dtype=np.float64) - np.asarray(self.low)) / self.step_mm
        position = np.clip(position, 0, np.asarray(self.shape[::-1]) - 1.001)
        base = position.astype(np.intp)
        fx, fy, fz = (position - base).astype(np.float32).T
        ix, iy, iz = base.T
        value = np.zeros(len(base), dtype=np.float32)
        for dz, wz in ((0, 1 - fz), (1, fz)):
            for dy, wy in ((0, 1 - fy), (1, fy)):
                for dx, wx in ((0, 1 - fx), (1, fx)):
                    value += wz * wy * wx * fields[iz + dz, iy + dy, ix + dx]
        return value


@dataclass(frozen=True)
class Box:
    """A part of a grid: its slices (z, y, x) and its axes, which broadcast."""

    slices: tuple[slice, slice, slice]
    x: Array
    y: Array
    z: Array


def ellipsoid(box: Box, centre: Point, radii: Point) -> Array:
    """Signed distance to an ellipsoid (first order)."""
    u, v, w = ((axis - c) / r for axis, c, r in zip((box.x, box.y, box.z), centre, radii, strict=True))
    rx, ry, rz = radii
    length = np.sqrt(u * u + v * v + w * w)
    slope = np.sqrt((u / rx) ** 2 + (v / ry) ** 2 + (w / rz) ** 2)
    return length * (length - 1) / np.maximum(slope, 1e-4)


def capsule(box: Box, start: Point, end: Point, radius: float, radius_end: float | None = None) -> Array:
    """Signed distance to a rod with round ends whose radius may change along its length."""
    ax, ay, az = (float(v) for v in start)
    bx, by, bz = (float(e - s) for s, e in zip(start, end, strict=True))
    x, y, z = box.x - ax, box.y - ay, box.z - az
    along = np.clip((x * bx + y * by + z * bz) / max(bx * bx + by * by + bz * bz, 1e-6), 0, 1)
    distance = np.sqrt((x - along * bx) ** 2 + (y - along * by) ** 2 + (z - along * bz) ** 2)
    return distance - (radius if radius_end is None else radius + along * (radius_end - radius))


def tube(
    grid: Grid, path: Sequence[Point], radius: float | Sequence[float], margin_mm: float = 6.0
) -> tuple[Box, Array]:
    """Signed distance to a bent tube through the points, in the box around it."""
    radii = [float(radius)] * len(path) if isinstance(radius, (int, float)) else [float(r) for r in radius]
    box = grid.around(path, max(radii) + margin_mm)
    distance: Array | None = None
    for k in range(len(path) - 1):
        part = capsule(box, path[k], path[k + 1], radii[k], radii[k + 1])
        distance = part if distance is None else np.minimum(distance, part)
    assert distance is not None
    return box, distance


def smooth_min(a: Array, b: Array, width_mm: float) -> Array:
    """Union with a rounded crease."""
    h = np.clip(0.5 + 0.5 * (b - a) / width_mm, 0, 1)
    return b + (a - b) * h - width_mm * h * (1 - h)


def smooth_max(a: Array, b: Array, width_mm: float) -> Array:
    """Intersection with a rounded edge."""
    h = np.clip(0.5 - 0.5 * (b - a) / width_mm, 0, 1)
    return b + (a - b) * h + width_mm * h * (1 - h)


def inside(distance: Array, width_mm: float = 2.5) -> Array:
    """Part of a voxel that lies inside, for an edge as wide as a voxel."""
    return np.clip(0.5 - distance / width_mm, 0, 1)


def paint(field: Array, box: Box, distance: Array, value: float | Array, width_mm: float = 2.5) -> None:
    """Sets ``field`` to ``value`` inside a shape, in place, mixing at its edge."""
    view = field[box.slices]
    view += inside(distance, width_mm) * (value - view)


def unite(field: Array, box: Box, distance: Array, width_mm: float = 0.0) -> None:
    """Adds a shape to a field of distances, in place; rounded where ``width_mm`` is positive."""
    view = field[box.slices]
    view[...] = smooth_min(view, distance, width_mm) if width_mm > 0 else np.minimum(view, distance)


def profile(z: Array, knots: Sequence[tuple[float, float]]) -> Array:
    """A smooth function of z through the knots (z, value), shaped as z is."""
    from scipy.interpolate import PchipInterpolator

    points = sorted(knots)
    levels = np.array([p[0] for p in points])
    curve = PchipInterpolator(levels, [p[1] for p in points])
    return curve(np.clip(z, levels[0], levels[-1])).astype(np.float32)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], coarse: int) -> Array:
    """Smooth random field of unit scale: white noise on a grid ``coarse`` times wider, interpolated."""
    import torch

    small = [max(2, -(-n // coarse) + 1) for n in shape]
    values = torch.from_numpy(rng.standard_normal(small, dtype=np.float32))[None, None]
    mode = "trilinear" if len(shape) == 3 else "bilinear"
    return torch.nn.functional.interpolate(values, size=shape, mode=mode, align_corners=True)[0, 0].numpy()
