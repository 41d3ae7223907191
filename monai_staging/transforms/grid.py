"""The grid a volume is resampled to: axis-aligned, in RAS millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monai_staging.errors import UsageError

Affine = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """An axis-aligned RAS grid.

    Attributes:
        size: voxels along x, y, z.
        spacing_mm: along x, y, z.
        origin_mm: RAS world position of the centre of voxel (0, 0, 0).
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]

    @property
    def affine(self) -> Affine:
        """Voxel index to RAS mm, (4, 4)."""
        affine = np.diag([*self.spacing_mm, 1.0])
        affine[:3, 3] = self.origin_mm
        return affine


def plan_grid(
    shape: tuple[int, ...],
    affine: Affine,
    spacing_mm: tuple[float, float, float],
    size: tuple[int, int, int] | None = None,
    center_mm: tuple[float, float, float] | None = None,
) -> Grid:
    """The RAS grid that covers a volume, or a part of it.

    Args:
        shape: (I, J, K) of the volume.
        affine: (4, 4), its voxel index to RAS mm.
        spacing_mm: of the grid along x, y, z.
        size: voxels of the grid along x, y, z. Without it, the grid reaches from the first voxel centre to the last, as
            that of MONAI's `Spacing` does.
        center_mm: RAS world point the grid is centred on; the volume's centre where it is left out. Needs ``size``.

    Raises:
        UsageError: a spacing or a size that is not positive, or ``center_mm`` without ``size``.
    """
    spacing = np.asarray(spacing_mm, dtype=float)
    if spacing.shape != (3,) or not (spacing > 0).all():
        raise UsageError(f"Spacing: three lengths above 0 mm are needed, found {spacing_mm}")
    if center_mm is not None and size is None:
        raise UsageError("Grid: center_mm says where a grid of a given size lies, but no size is given")
    ends = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    world = ends @ affine[:3, :3].T + affine[:3, 3]
    low, high = world.min(axis=0), world.max(axis=0)
    if size is None:
        counts = np.rint((high - low) / spacing + 1).astype(int)
        origin = low
    else:
        counts = np.asarray(size, dtype=int)
        if counts.shape != (3,) or not (counts > 0).all():
            raise UsageError(f"Grid size: three counts above 0 are needed, found {size}")
        center = (low + high) / 2 if center_mm is None else np.asarray(center_mm, dtype=float)
        origin = center - (counts - 1) / 2 * spacing
    return Grid(*(tuple(values.tolist()) for values in (counts, spacing, origin)))
