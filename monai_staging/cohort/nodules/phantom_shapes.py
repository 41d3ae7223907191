"""What a phantom nodule is drawn with: an implicit surface of lobes and spikes, and the lung around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from monai_staging.cohort.nodules.phantom import Properties

FloatArray = NDArray[np.float64]
Voxels = NDArray[np.float32]

AIR_HU, LUNG_HU, TISSUE_HU, BONE_HU = -1000.0, -860.0, 40.0, 700.0


@dataclass(frozen=True)
class Surface:
    """Radius of the nodule in every direction: lobes are wide bumps, spikes narrow ones.

    Attributes:
        radius_mm: of the sphere of the same volume, without bumps.
        axes: (3) factors on it.
        turn: (3, 3) rotation of the points to these axes.
        directions: (N, 3) unit vectors to the bumps' tops.
        heights: (N) of the bumps, as shares of the radius.
        sharpness: (N) of the bumps; the larger, the narrower.
    """

    radius_mm: float
    axes: FloatArray
    turn: FloatArray
    directions: FloatArray
    heights: FloatArray
    sharpness: FloatArray

    def level(self, points_mm: Voxels) -> Voxels:
        """How far out (..., 3) points lie: 0 at the centre, 1 on the surface."""
        local = points_mm @ (self.turn / self.axes).astype(np.float32)
        distance: Voxels = np.sqrt(np.einsum("...i,...i->...", local, local))
        level = distance / np.float32(self.radius_mm)
        # Far beyond the longest spike every point is outside, whatever its direction.
        peaks = np.exp(self.sharpness * (self.directions @ self.directions.T - 1)) @ self.heights
        near = level < 2 * (1 + peaks.max(initial=0))
        unit = local[near] / np.maximum(distance[near], 1e-6)[:, None]
        bumps = unit @ (self.directions.T * self.sharpness).astype(np.float32) - self.sharpness.astype(np.float32)
        level[near] /= 1 + np.exp(bumps, out=bumps) @ self.heights.astype(np.float32)
        return level


def draw_surface(properties: Properties, random: np.random.Generator) -> Surface:
    """A surface of these properties."""
    axes = np.array([1.0, 1.0, 1.0 + properties.elongation])
    lobes, spikes = 6, int(round(4 + 22 * properties.spiculation))
    directions = random.normal(size=(lobes + spikes, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    heights = np.concatenate(
        [
            properties.lobulation * random.uniform(-0.25, 0.55, lobes),
            properties.spiculation * random.uniform(0.2, 0.9, spikes),
        ]
    )
    sharpness = np.concatenate([random.uniform(3, 8, lobes), random.uniform(40, 120, spikes)])
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    return Surface(properties.diameter_mm / 2, axes / np.prod(axes) ** (1 / 3), turn, directions, heights, sharpness)


def draw_background(points_mm: Voxels, radius_mm: float, random: np.random.Generator) -> Voxels:
    """Hounsfield units of what surrounds a nodule: parenchyma, vessels, and for one in three the chest wall."""
    from scipy import ndimage

    z, y, x = np.moveaxis(points_mm, -1, 0)
    texture = ndimage.gaussian_filter(random.standard_normal(z.shape, np.float32), (1, 4, 4), truncate=2.5)
    values: Voxels = np.float32(LUNG_HU + random.normal(0, 25)) + 200 * texture
    for _ in range(random.integers(1, 9)):
        direction = random.normal(size=3)
        direction /= np.linalg.norm(direction)
        start = random.normal(size=3) * 14
        along = points_mm @ direction.astype(np.float32) - np.float32(start @ direction)
        bends = (0.0, *random.uniform(-0.02, 0.02, size=2))
        away = [
            axis - np.float32(begin) - along * (np.float32(step) + np.float32(bend) * along)
            for axis, begin, step, bend in zip((z, y, x), start, direction, bends, strict=True)
        ]
        distance = np.sqrt(away[0] ** 2 + away[1] ** 2 + away[2] ** 2)
        calibre = random.uniform(0.5, 2.2)
        # A tube's wall fades within 3 mm, and the rest of the picture is not worth its exponentials.
        near = distance < calibre * np.exp(1 / 3) + 3
        thinned = calibre * np.exp(-np.clip(along[near], -20, 40) / 60)
        tube = 1 / (1 + np.exp((distance[near] - thinned) / 0.35))
        values[near] = np.maximum(values[near], LUNG_HU + (TISSUE_HU - LUNG_HU) * tube)
    if random.random() < 0.35:
        angle, bow = random.uniform(0, 2 * np.pi), random.uniform(0.002, 0.01)
        out = y * np.float32(np.cos(angle)) + x * np.float32(np.sin(angle))
        aside = y * np.float32(np.sin(angle)) - x * np.float32(np.cos(angle))
        depth = out + np.float32(bow) * aside**2 - np.float32(radius_mm * random.uniform(0.7, 1.1))
        depth -= np.float32(random.exponential(4))
        wall = 1 / (1 + np.exp(np.clip(-depth / 0.5, -30, 30)))
        values += (TISSUE_HU - values) * wall
        rib = (depth - random.uniform(5, 9)) ** 2 / 9 + (aside - random.normal(0, 12)) ** 2 / 60
        values += (BONE_HU - values) * (rib < 1)
    return values
