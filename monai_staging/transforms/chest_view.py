"""What a network for whole chest CTs sees: the part of a scan around the lungs, on a grid of one spacing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from monai_staging.errors import UsageError
from monai_staging.transforms.grid import Affine, Grid, plan_grid
from monai_staging.transforms.lung_mask import MARGIN_MM, LungBound, lung_bound
from monai_staging.transforms.resample import Array, resample
from monai_staging.transforms.windows import HUWindows

SPACING_MM = (1.5, 1.5, 2.5)
"""Of the grid along x, y, z."""


@dataclass(frozen=True, eq=False)
class ChestView:
    """The part of a scan that is looked at.

    Attributes:
        image: (C, X, Y, Z) float32, HU windows in [0, 1].
        bound: (X, Y, Z) bool, where a lesion can be.
        grid: of both, in RAS mm.
    """

    image: torch.Tensor
    bound: torch.Tensor
    grid: Grid


class ChestViews:
    """Finds the lungs and gives what is around them; no more of the scan is resampled.

    The grid is a part of the one that :func:`~monai_staging.transforms.grid.plan_grid` gives the whole volume: its
    voxels lie where that one's do.

    Args:
        spacing_mm: along x, y, z.
        windows: HU windows, see :class:`~monai_staging.transforms.windows.HUWindows`.
        margin_mm: see :func:`~monai_staging.transforms.lung_mask.lung_bound`.

    Raises:
        UsageError: a spacing that is not positive.
    """

    def __init__(
        self,
        spacing_mm: Sequence[float] = SPACING_MM,
        windows: Sequence[str | Sequence[float]] = ("lung", "mediastinum"),
        margin_mm: float = MARGIN_MM,
    ) -> None:
        if len(spacing_mm) != 3 or min(spacing_mm) <= 0:
            raise UsageError(f"ChestViews: three lengths above 0 mm are needed; found {spacing_mm}")
        self.spacing_mm = (float(spacing_mm[0]), float(spacing_mm[1]), float(spacing_mm[2]))
        self.windows = HUWindows(windows)
        self.margin_mm = float(margin_mm)

    def __call__(self, volume: Array | torch.Tensor, affine: Affine) -> ChestView:
        """The view.

        Args:
            volume: (I, J, K), HU.
            affine: (4, 4), voxel index to RAS mm.

        Raises:
            DataError: there are no lungs in it.
        """
        lungs = lung_bound(volume, affine, self.margin_mm)
        grid = self._around(lungs, plan_grid(tuple(volume.shape), affine, self.spacing_mm))
        return ChestView(self.windows(resample(volume, affine, grid)[None]), lungs.on(grid), grid)

    def _around(self, lungs: LungBound, whole: Grid) -> Grid:
        """The part of a volume's grid that holds the bound."""
        origin, spacing = np.asarray(whole.origin_mm), np.asarray(self.spacing_mm)
        ends = np.array([np.flatnonzero(lungs.bound.any(axis=axes))[[0, -1]] for axes in ((1, 2), (0, 2), (0, 1))])
        # To the outer faces of the bound's own voxels.
        faces = np.asarray(lungs.grid.origin_mm) + (ends.T + [[-0.5], [0.5]]) * np.asarray(lungs.grid.spacing_mm)
        first, last = np.floor((faces[0] - origin) / spacing), np.ceil((faces[1] - origin) / spacing)
        first, last = np.maximum(first, 0).astype(int), np.minimum(last, np.asarray(whole.size) - 1).astype(int)
        return Grid(*(tuple(values.tolist()) for values in (last - first + 1, spacing, origin + first * spacing)))
