"""The surroundings of a box or a click in which a lesion is outlined, and which of what is found there it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from monai_staging.cohort.lesions import Part
from monai_staging.transforms.click import Clicks
from monai_staging.transforms.grid import Affine, Grid, plan_grid
from monai_staging.transforms.lesion_parts import LesionParts
from monai_staging.workflows.window_inferer import MULTIPLE

Box = npt.NDArray[np.float64]
"""Lowest and highest corner, (6), RAS mm."""
SIZE = (64, 64, 40)
"""Voxels that are looked at around a box at the least: those of a patch the network has learned from."""
MARGIN_MM = 16.0
"""Around a box: a detector's box may be smaller than its lesion."""
LARGEST_MM = 240.0
"""No more is looked at along an axis."""
SEEN_MM = 16.0
"""Edge of the box around a place at which a reader sees a lesion."""
OF_PEAK, LEAST = 0.5, 0.1
"""Somebody says that there is a lesion in the box: a voxel counts from this part of the box's highest probability
on, if that is lower than the threshold. Where the highest does not reach the second number there is no outline."""


def box_at(points_mm: Sequence[Sequence[float]]) -> Box:
    """The box around places, (N, 3) in RAS mm and one at least, at which a reader sees a lesion."""
    points = np.asarray(points_mm, dtype=np.float64)
    return np.concatenate([points.min(axis=0) - SEEN_MM / 2, points.max(axis=0) + SEEN_MM / 2])


def middle_of(box: Box) -> Clicks:
    """A click in the middle of a box."""
    return Clicks.of(((box[:3] + box[3:]) / 2)[None])


def window_around(box: Box, shape: tuple[int, ...], affine: Affine, spacing_mm: tuple[float, float, float]) -> Grid:
    """The grid around a box, no smaller than :data:`SIZE`.

    Args:
        box: corners, RAS mm.
        shape: (I, J, K) of the scan.
        affine: (4, 4), the scan's voxel index to RAS mm.
        spacing_mm: of the grid.
    """
    center, extent_mm = (box[:3] + box[3:]) / 2, box[3:] - box[:3]
    wanted = np.minimum(extent_mm + 2 * MARGIN_MM, LARGEST_MM) / np.asarray(spacing_mm)
    # A network halves its map: whole cells, and no less than it has learned from.
    cells = np.ceil(wanted / MULTIPLE).astype(int) * MULTIPLE
    x, y, z = np.maximum(SIZE, cells).tolist()
    middle = (float(center[0]), float(center[1]), float(center[2]))
    return plan_grid(shape, affine, spacing_mm, (x, y, z), middle)


def lesion_in(
    chance: torch.Tensor,
    grid: Grid,
    shape: tuple[int, int, int],
    affine: Affine,
    box: Box,
    clicks: Clicks,
    parts: LesionParts,
) -> Part | None:
    """The lesion of a box: of the parts found around it the one with the most clicks, then with the most of the box.

    Args:
        chance: (X, Y, Z), probabilities around the box.
        grid: where they lie.
        shape: (I, J, K) of the scan.
        affine: (4, 4), the scan's voxel index to RAS mm.
        box: corners, RAS mm.
        clicks: that the network was given.
        parts: makes lesions of probabilities.

    Returns:
        The part, whole; ``None`` where no probability in the box reaches :data:`LEAST`, or no part the box or a click.
    """
    peak = _highest(chance, grid, box)
    if peak < LEAST:
        return None
    threshold = min(parts.threshold, OF_PEAK * peak)
    found = LesionParts(threshold, parts.smallest_mm3)(chance, grid, shape, affine)
    shares = [(_clicks_in(part, clicks, affine), _voxels_in(part, box, affine)) for part in found]
    best = max(range(len(found)), key=shares.__getitem__, default=None)
    return None if best is None or shares[best] == (0, 0) else found[best]


def _highest(chance: torch.Tensor, grid: Grid, box: Box) -> float:
    """The highest probability of a grid's voxels inside a box."""
    origin, spacing = np.asarray(grid.origin_mm), np.asarray(grid.spacing_mm)
    low = np.clip(np.floor((box[:3] - origin) / spacing), 0, np.asarray(grid.size) - 1).astype(int)
    high = np.clip(np.ceil((box[3:] - origin) / spacing), 0, np.asarray(grid.size) - 1).astype(int)
    i, j, k = (slice(first, last + 1) for first, last in zip(low, high, strict=True))
    return float(chance[i, j, k].max())


def _voxels_in(part: Part, box: Box, affine: Affine) -> int:
    """How many of a part's voxels have their centre in a box."""
    points = (np.argwhere(part.mask) + part.corner) @ affine[:3, :3].T + affine[:3, 3]
    return int(((points >= box[:3]) & (points <= box[3:])).all(axis=1).sum())


def _clicks_in(part: Part, clicks: Clicks, affine: Affine) -> int:
    """How many of the clicks inside of a lesion are on a part's voxels."""
    points = np.asarray(clicks.inside, dtype=np.float64).reshape(-1, 3)
    places = np.rint(np.linalg.solve(affine[:3, :3], (points - affine[:3, 3]).T).T).astype(int) - part.corner
    within = ((places >= 0) & (places < part.mask.shape)).all(axis=1)
    return int(part.mask[tuple(places[within].T)].sum())
