"""Where in a chest CT a lung lesion can be: aerated lungs, and a bound around them that opacified lung is inside of.

A threshold finds aerated lung only: a tumour, a collapse or an effusion is as dense as the chest wall, and the mask of
the lungs has a hole or a bay there. The bound is therefore not the lungs' outline but their convex hull, slice by
slice, together with its mirror image, so that a lung without any air is inside too, and a margin around.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from monai_staging.errors import DataError
from monai_staging.transforms.grid import Affine, Grid, plan_grid
from monai_staging.transforms.resample import Array, resample

Mask = npt.NDArray[np.bool_]

SPACING_MM = 4.0
"""Of the grid that lungs are looked for on; vessels and noise are averaged away."""
AIR_HU = -400.0
"""Half way between aerated lung, about -850 HU, and soft tissue."""
SMALLEST_PART = 0.15
"""Of the largest part: smaller ones are gas in bowel or stomach."""
SMALLEST_LUNGS_ML = 300.0
"""Less air than this in a body is no lung."""
MARGIN_MM = 20.0
"""Of the bound: growth into chest wall, hilum and diaphragm."""


@dataclass(frozen=True, eq=False)
class LungBound:
    """The lungs of a scan on a coarse RAS grid.

    Attributes:
        lungs: (X, Y, Z), aerated lung with airways, vessels filled in.
        bound: (X, Y, Z), where a lung lesion can be.
        grid: of both.
    """

    lungs: Mask
    bound: Mask
    grid: Grid

    @property
    def box_mm(self) -> npt.NDArray[np.float64]:
        """Lowest and highest corner of the lungs' box, (2, 3), RAS mm, to the outer faces of voxels."""
        return _faces_mm(self.lungs, self.grid)

    @property
    def bound_box_mm(self) -> npt.NDArray[np.float64]:
        """The same of the bound."""
        return _faces_mm(self.bound, self.grid)

    def on(self, grid: Grid) -> torch.Tensor:
        """The bound on another grid, bool (X, Y, Z)."""
        return resample(self.bound.view(np.uint8), self.grid.affine, grid, "nearest", pad_value=0.0) > 0.5


def _faces_mm(mask: Mask, grid: Grid) -> npt.NDArray[np.float64]:
    ends = np.array([np.flatnonzero(mask.any(axis=axes))[[0, -1]] for axes in ((1, 2), (0, 2), (0, 1))])
    faces: npt.NDArray[np.float64] = np.asarray(grid.origin_mm) + (ends.T + [[-0.5], [0.5]]) * np.asarray(
        grid.spacing_mm
    )
    return faces


def lung_bound(volume: Array | torch.Tensor, affine: Affine, margin_mm: float = MARGIN_MM) -> LungBound:
    """Finds the lungs of a chest CT.

    Args:
        volume: (I, J, K), HU; read once.
        affine: (4, 4), voxel index to RAS mm.
        margin_mm: of the bound around the lungs' hull.

    Raises:
        DataError: there is less than 300 ml of air inside the body.
    """
    from scipy import ndimage

    grid = plan_grid(tuple(volume.shape), affine, (SPACING_MM,) * 3)
    hu = np.ascontiguousarray(resample(volume, affine, grid).numpy())
    air = hu < AIR_HU
    outside = _outside(air)
    lungs = _lungs(air & ~outside)
    both = lungs | _mirrored(lungs, ~outside)
    hull = np.zeros_like(both)
    for place in np.flatnonzero(both.any(axis=(0, 1))):
        hull[:, :, place] = _hull(both[:, :, place])
    bound: Mask = ndimage.distance_transform_edt(~hull, sampling=SPACING_MM) <= margin_mm
    return LungBound(lungs, bound, grid)


def _outside(air: Mask) -> Mask:
    """Air that goes on, within its slice, to the edge of the picture."""
    from scipy import ndimage

    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[1, :, 1] = in_plane[:, 1, 1] = True
    labels, count = ndimage.label(air, structure=in_plane)
    touching = np.zeros(count + 1, dtype=bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        touching[np.unique(edge)] = True
    touching[0] = False
    outside: Mask = touching[labels]
    return outside


def _lungs(inner: Mask) -> Mask:
    """The large parts of the air within the body, closed over vessels, without holes."""
    from scipy import ndimage

    labels, count = ndimage.label(inner)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    voxel_ml = SPACING_MM**3 / 1000
    if sizes.max() * voxel_ml < SMALLEST_LUNGS_ML:
        raise DataError(
            f"Lungs: a chest CT has a part of {SMALLEST_LUNGS_ML:g} ml of air within the body at least; the largest "
            f"found has {sizes.max() * voxel_ml:.0f} ml"
        )
    lungs = (sizes >= SMALLEST_PART * sizes.max())[labels]
    # What closing would take from the edge of the array is kept.
    closed: Mask = ndimage.binary_closing(np.pad(lungs, 2), iterations=2)[2:-2, 2:-2, 2:-2] | lungs
    for place in np.flatnonzero(closed.any(axis=(0, 1))):
        closed[:, :, place] = ndimage.binary_fill_holes(closed[:, :, place])
    return closed


def _mirrored(lungs: Mask, body: Mask) -> Mask:
    """The lungs on the other side of the body's middle, half way between its left and its right edge beside them."""
    across = np.flatnonzero(body[:, :, lungs.any(axis=(0, 1))].any(axis=(1, 2)))
    columns = np.flatnonzero(lungs.any(axis=(1, 2)))
    target = int(across[0] + across[-1]) - columns
    inside = (target >= 0) & (target < len(lungs))
    mirrored = np.zeros_like(lungs)
    mirrored[target[inside]] = lungs[columns[inside]]
    return mirrored


def _hull(mask: Mask) -> Mask:
    """Convex hull of what is set in a slice."""
    from skimage.morphology import convex_hull_image

    # Two voxels have no hull that scikit-image can make.
    if mask.sum() < 3 or min(np.ptp(np.argwhere(mask), axis=0)) == 0:
        return mask
    hull: Mask = convex_hull_image(mask)  # type: ignore[no-untyped-call]  # scikit-image has no hints here
    return hull
