"""Clicks as further channels of what a network sees: somebody says where the lesion is, and where it is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from monai_staging.errors import UsageError
from monai_staging.transforms.chest_view import SPACING_MM, Box, ChestViews
from monai_staging.transforms.grid import Affine, Grid
from monai_staging.transforms.resample import Array

SIGMA_MM = 3.0
"""Of the Gaussian around a click."""
CHANNELS = 2
"""That clicks take: inside of the lesion, and outside."""
Points = Sequence[Sequence[float] | npt.NDArray[np.floating]] | npt.NDArray[np.floating]


@dataclass(frozen=True)
class Clicks:
    """Where somebody has clicked, RAS mm.

    Attributes:
        inside: points in the lesion that is meant.
        outside: points that are not of it.
    """

    inside: tuple[tuple[float, float, float], ...] = ()
    outside: tuple[tuple[float, float, float], ...] = ()

    @classmethod
    def of(cls, inside: Points, outside: Points = ()) -> Clicks:
        """Of any points, (N, 3) and (M, 3) in RAS mm.

        Raises:
            UsageError: a point that is not three numbers.
        """
        return cls(*(tuple((x, y, z) for x, y, z in _points(own).tolist()) for own in (inside, outside)))


def click_map(grid: Grid, points_mm: Points, sigma_mm: float = SIGMA_MM) -> torch.Tensor:
    """A Gaussian around each point, 1 at the point; where two overlap, the larger one shows.

    As DeepGrow and DeepEdit are guided (Sakinis et al. 2019, arXiv:1903.08205; Diaz-Pinto et al. 2023,
    arXiv:2305.10655), but in mm.

    Args:
        grid: where it lies.
        points_mm: (N, 3) in RAS mm, any of them outside of the grid; none leaves 0 everywhere.
        sigma_mm: of the Gaussians.

    Returns:
        (X, Y, Z) float32 in [0, 1].

    Raises:
        UsageError: a sigma that is not positive, or a point that is not three numbers.
    """
    if not sigma_mm > 0:
        raise UsageError(f"Clicks: a sigma above 0 mm is needed; found {sigma_mm}")
    found = torch.zeros(grid.size)
    for point in _points(points_mm):
        # The Gaussian of a distance is the product of those along the axes.
        axes = zip(grid.size, grid.spacing_mm, grid.origin_mm, point.tolist(), strict=True)
        x, y, z = (
            torch.exp(-0.5 * ((origin - at + spacing * torch.arange(size)) / sigma_mm) ** 2)
            for size, spacing, origin, at in axes
        )
        torch.maximum(found, x[:, None, None] * y[:, None] * z, out=found)
    return found


class ClickedViews(ChestViews):
    """What a network sees that is told which lesion is meant: two channels more, the last, for clicks.

    Args:
        spacing_mm: see :class:`~monai_staging.transforms.chest_view.ChestViews`.
        windows: likewise.
        place: likewise.
        sigma_mm: see :func:`click_map`.

    Raises:
        UsageError: a spacing or a sigma that is not positive.
    """

    def __init__(
        self,
        spacing_mm: Sequence[float] = SPACING_MM,
        windows: Sequence[str | Sequence[float]] = ("lung", "mediastinum"),
        place: bool = False,
        sigma_mm: float = SIGMA_MM,
    ) -> None:
        super().__init__(spacing_mm, windows, place=place)
        if not sigma_mm > 0:
            raise UsageError(f"ClickedViews: a sigma above 0 mm is needed; found {sigma_mm}")
        self.sigma_mm = float(sigma_mm)

    @property
    def channels(self) -> int:
        """Of a view."""
        return super().channels + CHANNELS

    def look(
        self,
        volume: Array | torch.Tensor,
        affine: Affine,
        grid: Grid,
        lungs_mm: Box,
        clicks: Clicks = Clicks(),  # noqa: B008  # frozen
    ) -> torch.Tensor:
        """What a network sees of a volume around clicks.

        Args:
            volume: (I, J, K), HU.
            affine: (4, 4), voxel index to RAS mm.
            grid: where it is looked at.
            lungs_mm: see :meth:`~monai_staging.transforms.chest_view.ChestViews.look`.
            clicks: those inside of the lesion are the last channel but one, those outside the last.

        Returns:
            ``(channels, X, Y, Z)`` float32 in [0, 1].
        """
        maps = [click_map(grid, points, self.sigma_mm) for points in (clicks.inside, clicks.outside)]
        return torch.cat([super().look(volume, affine, grid, lungs_mm), torch.stack(maps)])


def _points(points: Points) -> npt.NDArray[np.float64]:
    found = np.asarray(points, dtype=np.float64)
    if not found.size:
        return np.zeros((0, 3))
    if found.ndim != 2 or found.shape[1] != 3 or not np.isfinite(found).all():
        raise UsageError(f"Clicks: points of three finite numbers, RAS mm, are needed; found {found.tolist()}")
    return found
