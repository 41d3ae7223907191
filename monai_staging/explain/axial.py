"""One axial slice of a volume of any orientation, in the patient's millimetres."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_staging.errors import UsageError
from monai_staging.measure.mesh import check_affine
from monai_staging.transforms.grid import Affine, Grid, plan_grid
from monai_staging.transforms.resample import Interpolation, resample

Points = NDArray[np.float64]
"""(N, 2), x and y in RAS mm."""


@dataclass(frozen=True, eq=False)
class AxialImage:
    """An axial slice.

    Attributes:
        values: (X, Y); X grows towards the patient's right, Y towards anterior.
        origin_mm: RAS x and y of the centre of pixel (0, 0).
        spacing_mm: of the pixels, along x and y.
        z_mm: RAS height of the slice.
        step_mm: to the next slice.
    """

    values: NDArray[Any]
    origin_mm: tuple[float, float]
    spacing_mm: tuple[float, float]
    z_mm: float
    step_mm: float

    @property
    def extent_mm(self) -> tuple[float, float, float, float]:
        """Outer edges of the outermost pixels: least and largest x, least and largest y."""
        (x0, y0), (dx, dy), (nx, ny) = self.origin_mm, self.spacing_mm, self.values.shape
        return x0 - dx / 2, x0 + (nx - 0.5) * dx, y0 - dy / 2, y0 + (ny - 0.5) * dy

    def to_mm(self, index: NDArray[Any]) -> Points:
        """Pixel indices (N, 2), whole at centres, as RAS mm."""
        return np.asarray(index, dtype=np.float64) * self.spacing_mm + self.origin_mm

    def to_index(self, points: NDArray[Any]) -> Points:
        """The inverse of `to_mm`."""
        index: Points = (np.asarray(points, dtype=np.float64) - self.origin_mm) / self.spacing_mm
        return index

    def within(self, low_mm: tuple[float, float], high_mm: tuple[float, float]) -> AxialImage:
        """The part whose pixels touch a rectangle; raises `UsageError` where there is none."""
        low, high = np.rint(self.to_index(np.array([low_mm, high_mm]))).astype(int)
        low, high = np.clip(low, 0, None), np.clip(high + 1, 0, self.values.shape)
        if (low >= high).any():
            raise UsageError(
                f"Axial slice: a rectangle within x and y of {np.round(self.extent_mm, 1).tolist()} mm is needed, "
                f"found {low_mm} to {high_mm}"
            )
        x, y = self.to_mm(low[None])[0].tolist()
        return replace(self, values=self.values[low[0] : high[0], low[1] : high[1]], origin_mm=(x, y))


def voxel_grid(shape: tuple[int, ...], affine: Affine) -> Grid:
    """A volume's own voxels as an axis-aligned RAS grid; of an oblique volume one around it with voxels as large.

    Args:
        shape: (I, J, K).
        affine: (4, 4), index to RAS mm.
    """
    # Along the patient's axes the largest entry of a row is the spacing, exactly.
    x, y, z = np.abs(affine[:3, :3]).max(axis=1).tolist()
    return plan_grid(shape, affine, (x, y, z))


def axial_image(
    array: NDArray[Any],
    affine: Affine,
    z_mm: float | None = None,
    *,
    mode: str = Interpolation.LINEAR.value,
) -> AxialImage:
    """The axial slice nearest to a height.

    Of a volume along the patient's axes, however flipped or permuted, it is the voxels themselves; an oblique one is
    interpolated. Only the slice is read of a memory-mapped array.

    Args:
        array: (I, J, K), or (I, J) for a slice alone.
        affine: (4, 4), index to RAS mm; a slice alone has k = 0.
        z_mm: RAS height; the middle of the volume where it is left out.
        mode: ``linear``, or ``nearest`` for a mask.

    Raises:
        UsageError: a height more than half a slice outside the volume, an array that is neither, or an affine that
            gives voxels no volume.
    """
    volume = array[:, :, None] if array.ndim == 2 else array
    affine = np.asarray(affine, dtype=np.float64)
    if volume.ndim != 3:
        raise UsageError(f"Axial slice: an array (I, J, K) or (I, J) is needed, found {array.shape}")
    check_affine(affine)
    whole = voxel_grid(volume.shape, affine)
    (x, y, first), (step_x, step_y, step_z) = whole.origin_mm, whole.spacing_mm
    last = first + (whole.size[2] - 1) * step_z
    place = (whole.size[2] - 1) / 2 if z_mm is None else (z_mm - first) / step_z
    if not -0.5 <= round(place, 6) <= whole.size[2] - 0.5:
        raise UsageError(f"Axial slice: a height from {first:.1f} to {last:.1f} mm is needed, found {z_mm}")
    height = first + min(max(0, round(place)), whole.size[2] - 1) * step_z
    grid = Grid((*whole.size[:2], 1), whole.spacing_mm, (x, y, height))
    outside = 0.0 if Interpolation(mode) is Interpolation.NEAREST else -1024.0
    values = resample(volume, affine, grid, mode, pad_value=outside).numpy()[:, :, 0]
    return AxialImage(values, (x, y), (step_x, step_y), height, step_z)
