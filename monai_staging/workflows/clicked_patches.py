"""Patches around a lesion that somebody has clicked at, to learn outlining just that one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.click import ClickedViews, Clicks
from monai_staging.transforms.loading import map_file
from monai_staging.workflows.chest_data import ChestCase
from monai_staging.workflows.chest_patches import NEAR_MM, ChestPatches, lesion_share_of, stored

MOST_INSIDE, MOST_OUTSIDE = 3, 2
"""Clicks in a lesion, of which there is one at least, and around it."""
JITTER, JITTER_MM = 0.1, 1.0
"""How far the first click is from the lesion's middle, as a standard deviation along each axis: a part of the lesion's
extent, and something more. Neither a reader nor the middle of a detector's box hits it exactly."""


class ClickedPatches(ChestPatches):
    """Random patches with a lesion, clicks at it, and what of the patch is this one lesion; some clicked at nothing.

    A patch is drawn as :class:`~monai_staging.workflows.chest_patches.ChestPatches` draws one with a lesion. The first
    click is near the lesion's middle; where that lies outside of the patch, as in a lesion larger than it, it is at the
    voxel that the patch was drawn around. Up to two more are anywhere in the lesion. Clicks outside of it, up to two,
    are within :data:`~monai_staging.workflows.chest_patches.NEAR_MM` of it.

    Args:
        cases: scans with masks; those without a lesion are left out.
        views: spacing, windows and clicks.
        size: voxels of a patch along x, y, z.
        count: patches a scan and epoch.
        outside_fraction: of the patches, with a click or two outside of the lesion.
        nothing_fraction: of the patches, clicked at where no lesion is near, as a detector does that is wrong: nothing
            is to be outlined there.
        reach: see ``ChestPatches``.
        cache: likewise.

    Returns:
        ``image`` (C, *size), its last two channels the clicks, and ``share`` (1, *size), as those of ``ChestPatches``.

    Raises:
        DataError: no scan has a lesion.
        UsageError: a setting out of range.
    """

    views: ClickedViews

    def __init__(
        self,
        cases: Sequence[ChestCase],
        views: ClickedViews,
        size: Sequence[int] = (64, 64, 40),
        count: int = 3,
        outside_fraction: float = 0.5,
        nothing_fraction: float = 0.2,
        reach: float = 0.3,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        if not 0 <= outside_fraction <= 1 or not 0 <= nothing_fraction < 1:
            raise UsageError(
                "ClickedPatches: an outside_fraction of 0 to 1 and a nothing_fraction of 0 to below 1 are needed; "
                f"found {outside_fraction} and {nothing_fraction}"
            )
        with_lesion = [case for case in cases if case.labels]
        if not with_lesion:
            raise DataError(f"ClickedPatches: a scan with a lesion is needed; found none in {len(cases)}.")
        super().__init__(with_lesion, views, size, count, lesion_fraction=1.0, reach=reach, cache=cache)
        self.outside_fraction = outside_fraction
        self.nothing_fraction = nothing_fraction

    def __getitem__(self, index: int) -> dict[str, Any]:
        which_case = index % len(self.cases)
        which, chance, *jitter = torch.rand(5).tolist()
        places = self.places[which_case]
        if chance < self.nothing_fraction:
            point = _drawn(places.elsewhere, 1)
            if all(np.linalg.norm(own - point, axis=1).min() > NEAR_MM for own in places.lesions):
                return {**self.read_nothing(which_case, point, jitter), "case": self.cases[which_case].name}
        lesion = min(int(which * len(places.lesions)), len(places.lesions) - 1)
        anchor = _drawn(places.lesions[lesion], 1)[0]
        center = anchor + (np.asarray(jitter) - 0.5) * self.extent_mm
        item = self.read_clicked(which_case, lesion, center, self.clicks(which_case, lesion, anchor, center))
        return {**item, "case": self.cases[which_case].name}

    def clicks(
        self,
        index: int,
        lesion: int,
        anchor_mm: npt.NDArray[np.floating[Any]],
        center_mm: npt.NDArray[np.floating[Any]],
    ) -> Clicks:
        """Clicks as somebody could make them at a lesion of a scan.

        Args:
            index: of the scan.
            lesion: which of its target's.
            anchor_mm: (3), where the first click is if the lesion's middle is not in the patch, RAS mm.
            center_mm: (3) of the patch, RAS mm.
        """
        places = self.places[index]
        points = places.lesions[lesion]
        extent = points.max(axis=0) - points.min(axis=0)
        first = places.middles[lesion] + (JITTER * extent + JITTER_MM) * torch.randn(3).numpy()
        if (np.abs(first - center_mm) > np.asarray(self.size) / 2 * self.views.spacing_mm).any():
            first = anchor_mm
        more = int(torch.randint(MOST_INSIDE, ()))
        outside = int(torch.randint(1, MOST_OUTSIDE + 1, ())) if float(torch.rand(())) < self.outside_fraction else 0
        inside = np.concatenate([first[None], _drawn(points, more)])
        return Clicks.of(inside, _drawn(places.nearby[lesion], outside))

    def read_clicked(
        self, index: int, lesion: int, center_mm: npt.NDArray[np.floating[Any]], clicks: Clicks
    ) -> dict[str, Tensor]:
        """The patch of a scan around a point (RAS mm), and what of it is one lesion."""
        case = self.cases[index]
        array, affine = map_file(case.image)
        grid = self.grid(array.shape, affine, center_mm)
        image = self.views.look(array, affine, grid, self.places[index].lungs_mm, clicks)
        share = lesion_share_of(case, grid, case.labels[lesion : lesion + 1])
        return {"image": stored(image), "share": stored(share[None])}

    def read_nothing(
        self, index: int, point_mm: npt.NDArray[np.floating[Any]], jitter: Sequence[float]
    ) -> dict[str, Tensor]:
        """The patch of a scan with a click, (1, 3) in RAS mm, at where there is no lesion."""
        array, affine = map_file(self.cases[index].image)
        grid = self.grid(array.shape, affine, point_mm[0] + (np.asarray(jitter) - 0.5) * self.extent_mm)
        image = self.views.look(array, affine, grid, self.places[index].lungs_mm, Clicks.of(point_mm))
        return {"image": stored(image), "share": torch.zeros(1, *self.size, dtype=torch.uint8)}


def _drawn(points: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    """So many of some points at random, from torch's global generator; fewer only where there is none."""
    return points[torch.randint(len(points), (count,)).numpy()] if len(points) else points
