"""Lesion shapes whose longest diameter is exact.

A shape is star-shaped: an ellipsoid whose radius is modulated by smooth lobes. Its longest diameter is the largest
distance between two points of its surface, over a dense set of directions; the shape is scaled until that is the
wanted value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from monai_staging.cohort.phantom.grid import Array

SAMPLES = 42  # points per side of the field that stands for a shape


def sphere_directions(count: int) -> NDArray[np.float64]:
    """Evenly spread unit vectors (count, 3) (Fibonacci lattice)."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    angle = np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)


DIRECTIONS = sphere_directions(1500)


def longest_distance(points: NDArray[Any]) -> float:
    """Largest distance between two of the points (N, 3)."""
    hull = points[ConvexHull(points).vertices]
    return float(pdist(hull).max())


@dataclass(frozen=True)
class Shape:
    """A closed surface around the origin, axes as the patient's (x, y, z), lengths in mm.

    ``inverse`` is the (3, 3) matrix whose quadratic form gives the ellipsoid; ``lobes`` are unit vectors (L, 3) with
    ``heights`` (L,) relative to the radius and ``sharpness`` (L,) (larger is narrower).
    """

    inverse: NDArray[np.float64]
    lobes: NDArray[np.float64]
    heights: NDArray[np.float64]
    sharpness: NDArray[np.float64]

    def radius(self, directions: NDArray[Any]) -> NDArray[np.float64]:
        """Distance from the origin to the surface in mm along unit vectors (N, 3)."""
        base = 1.0 / np.sqrt(np.einsum("ni,ij,nj->n", directions, self.inverse, directions, optimize=True))
        if not len(self.heights):
            return base
        bumps = np.exp((directions @ self.lobes.T - 1.0) * self.sharpness) @ self.heights
        return base * (1.0 + bumps)

    def surface(self) -> NDArray[np.float64]:
        """Points of the surface (1500, 3)."""
        return DIRECTIONS * self.radius(DIRECTIONS)[:, None]

    @property
    def diameter_mm(self) -> float:
        """Longest distance between two points of the surface."""
        return longest_distance(self.surface())

    def scaled(self, factor: float) -> Shape:
        """The same shape, larger."""
        return Shape(self.inverse / factor**2, self.lobes, self.heights, self.sharpness)

    def field(self) -> tuple[Array, float, float]:
        """Distances (z, y, x) on a cube of points around the origin, its half width and its step, in mm."""
        half = float(np.abs(self.surface()).max()) * 1.12 + 1.5
        axis = np.linspace(-half, half, SAMPLES)
        z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
        points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
        length = np.linalg.norm(points, axis=1)
        radius = self.radius(points / np.maximum(length, 1e-6)[:, None])
        distance = (length - radius).reshape(x.shape)
        # Along the ray to along the normal: divided by the gradient's length near the surface.
        slope = np.sqrt(sum(g**2 for g in np.gradient(distance, axis[1] - axis[0])))
        return (distance / np.clip(slope, 1.0, 2.5)).astype(np.float32), half, float(axis[1] - axis[0])


def _rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    return q * np.sign(np.diag(r))


def make_shape(rng: np.random.Generator, diameter_mm: float, margin: str, upright: bool = False) -> Shape:
    """A lesion of exactly this longest diameter.

    Args:
        rng: where the form is drawn from.
        diameter_mm: longest diameter.
        margin: ``smooth``, ``lobulated`` or ``spiculated`` (whose spicules are drawn apart from the body measured
        here).
        upright: the long axis runs roughly from foot to head, where the lung has most room.
    """
    axes = np.array([1.0, rng.uniform(0.78, 0.95), rng.uniform(0.68, 0.9)])
    if upright:
        tilt = rng.normal(0.0, 0.25, 3)
        long = np.array([tilt[0], tilt[1], 1.0])
        side = np.array([tilt[2], 1.0, -tilt[1]])
        turn, _ = np.linalg.qr(np.stack([long, side, [1.0, 0.0, 0.0]], axis=1))
    else:
        turn = _rotation(rng)
    inverse = turn @ np.diag(1.0 / (axes / 2) ** 2) @ turn.T
    count = {"smooth": 4, "lobulated": 8, "spiculated": 14}[margin]
    height = {"smooth": 0.06, "lobulated": 0.24, "spiculated": 0.17}[margin]
    width = {"smooth": 3.0, "lobulated": 6.0, "spiculated": 16.0}[margin]
    lobes = rng.standard_normal((count, 3))
    lobes /= np.linalg.norm(lobes, axis=1, keepdims=True)
    heights = rng.uniform(-0.4, 1.0, count) * height
    sharpness = width * rng.uniform(0.7, 1.4, count)
    if margin != "smooth":
        # A finer unevenness on top: real tumours have no smooth surface.
        fine = rng.standard_normal((26, 3))
        lobes = np.concatenate([lobes, fine / np.linalg.norm(fine, axis=1, keepdims=True)])
        heights = np.concatenate([heights, rng.uniform(-0.08, 0.08, 26)])
        sharpness = np.concatenate([sharpness, rng.uniform(18.0, 34.0, 26)])
    shape = Shape(inverse, lobes, heights, sharpness)
    return shape.scaled(diameter_mm / shape.diameter_mm)


def make_node(rng: np.random.Generator, short_axis_mm: float, elongation: float) -> Shape:
    """A node: a smooth bean with this short axis in the axial plane, longer across it and along the body."""
    angle = rng.uniform(0, np.pi)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    axes = short_axis_mm / 2 * np.array([1.0, elongation, rng.uniform(1.0, 1.35)])
    none = np.zeros((0, 3))
    return Shape(turn @ np.diag(1.0 / axes**2) @ turn.T, none, np.zeros(0), np.zeros(0))


def spicules(rng: np.random.Generator, shape: Shape, count: int) -> tuple[Array, Array]:
    """Start and end points (count, 3) of thin strands that leave the surface; not part of the measured body."""
    directions = rng.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radius = shape.radius(directions)[:, None]
    length = np.clip(rng.uniform(0.25, 0.6, (count, 1)) * radius, 2.0, 9.0)
    bend = rng.normal(0.0, 0.15, (count, 3))
    return (directions * radius * 0.95).astype(np.float32), ((directions + bend) * (radius + length)).astype(np.float32)
