"""What a network for whole chest CTs sees: the part of a scan around the lungs, on a grid of one spacing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from monai_staging.errors import UsageError
from monai_staging.transforms.grid import Affine, Grid, plan_grid
from monai_staging.transforms.lung_mask import MARGIN_MM, LungBound, lung_bound
from monai_staging.transforms.resample import Array, resample
from monai_staging.transforms.windows import HUWindows

SPACING_MM = (1.5, 1.5, 2.5)
"""Of the grid along x, y, z."""
Box = npt.NDArray[np.float64]
"""Lowest and highest corner, (2, 3), RAS mm."""


@dataclass(frozen=True, eq=False)
class ChestView:
    """The part of a scan that is looked at.

    Attributes:
        image: (C, X, Y, Z) float32 in [0, 1], HU windows and, if asked for, the three channels of :func:`place_in`.
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
        place: with three channels more, see :func:`place_in`: in a window of a few centimetres the dome of the liver
            looks like a large tumour, and where in the chest it lies says that it is none.
        crop: to what is around the lungs; without, a view is of the whole scan, with the same bound.

    Raises:
        UsageError: a spacing that is not positive.
    """

    def __init__(
        self,
        spacing_mm: Sequence[float] = SPACING_MM,
        windows: Sequence[str | Sequence[float]] = ("lung", "mediastinum"),
        margin_mm: float = MARGIN_MM,
        place: bool = False,
        crop: bool = True,
    ) -> None:
        if len(spacing_mm) != 3 or min(spacing_mm) <= 0:
            raise UsageError(f"ChestViews: three lengths above 0 mm are needed; found {spacing_mm}")
        self.spacing_mm = (float(spacing_mm[0]), float(spacing_mm[1]), float(spacing_mm[2]))
        self.windows = HUWindows(windows)
        self.margin_mm = float(margin_mm)
        self.place = place
        self.crop = crop

    @property
    def colours(self) -> int:
        """Channels that are HU windows; they come first."""
        return len(self.windows.windows)

    @property
    def channels(self) -> int:
        """Of a view."""
        return self.colours + 3 * self.place

    def __call__(self, volume: Array | torch.Tensor, affine: Affine) -> ChestView:
        """The view.

        Args:
            volume: (I, J, K), HU.
            affine: (4, 4), voxel index to RAS mm.

        Raises:
            DataError: there are no lungs in it.
        """
        lungs = lung_bound(volume, affine, self.margin_mm)
        grid = plan_grid(tuple(volume.shape), affine, self.spacing_mm)
        grid = self._around(lungs, grid) if self.crop else grid
        return ChestView(self.look(volume, affine, grid, lungs.box_mm), lungs.on(grid), grid)

    def look(self, volume: Array | torch.Tensor, affine: Affine, grid: Grid, lungs_mm: Box) -> torch.Tensor:
        """What a network sees of a volume on any grid, a patch for instance.

        Args:
            volume: (I, J, K), HU.
            affine: (4, 4), voxel index to RAS mm.
            grid: where it is looked at.
            lungs_mm: the box of the scan's lungs, see :attr:`~monai_staging.transforms.lung_mask.LungBound.box_mm`.

        Returns:
            ``(channels, X, Y, Z)`` float32 in [0, 1].
        """
        image = self.windows(resample(volume, affine, grid)[None])
        return torch.cat([image, place_in(grid, lungs_mm)]) if self.place else image

    def _around(self, lungs: LungBound, whole: Grid) -> Grid:
        """The part of a volume's grid that holds the bound."""
        origin, spacing = np.asarray(whole.origin_mm), np.asarray(self.spacing_mm)
        faces = lungs.bound_box_mm
        first, last = np.floor((faces[0] - origin) / spacing), np.ceil((faces[1] - origin) / spacing)
        first, last = np.maximum(first, 0).astype(int), np.minimum(last, np.asarray(whole.size) - 1).astype(int)
        return Grid(*(tuple(values.tolist()) for values in (last - first + 1, spacing, origin + first * spacing)))


def place_in(grid: Grid, lungs_mm: Box) -> torch.Tensor:
    """Where in the chest the voxels of a grid lie: 1/4 to 3/4 along x, y and z from one end of the lungs to the other.

    Half a pair of lungs beyond them it is 0 and 1, and stays so.

    Args:
        grid: in RAS mm.
        lungs_mm: lowest and highest corner of the lungs.

    Returns:
        ``(3, X, Y, Z)`` float32.
    """
    low, high = np.asarray(lungs_mm, dtype=np.float64)
    channels = torch.empty(3, *grid.size)
    for axis in range(3):
        at = grid.origin_mm[axis] + grid.spacing_mm[axis] * np.arange(grid.size[axis])
        part = np.clip(0.25 + 0.5 * (at - low[axis]) / (high[axis] - low[axis]), 0, 1).astype(np.float32)
        shape = [-1 if other == axis else 1 for other in range(3)]
        channels[axis] = torch.from_numpy(part).view(shape)
    return channels
