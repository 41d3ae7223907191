"""What is measured of one lesion, and the T category that its size gives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.lesions import components, part_of_mask
from monai_staging.errors import DataError, UsageError
from monai_staging.measure.diameters import axial_diameters, longest_diameter_mm
from monai_staging.measure.mesh import (
    Affine,
    Mask,
    check_affine,
    check_mask,
    mesh_volume_mm3,
    surface,
    voxel_volume_mm3,
)
from monai_staging.tnm.size import SizeT, t_from_size

SOLID_ABOVE_HU = -300.0
"""A lesion's voxels above this are of its solid component, unless the caller says otherwise."""
_DECIMALS = 3  # micrometres: the affine's last digits must not lift 10 mm over a limit


@dataclass(frozen=True)
class Measurement:
    """The size of one lesion. Lengths are rounded to micrometres, volumes to thousandths of a cubic millimetre.

    Attributes:
        volume_mm3: within the surface mesh (IBSI RNU0).
        voxel_volume_mm3: by counting voxels (IBSI YEKZ).
        diameter_3d_mm: the largest distance between two points of the surface (IBSI L0JK).
        axial_diameter_mm: the longest diameter on an axial slice.
        perpendicular_mm: the longest at right angles to it, on the same slice.
        solid_diameter_mm: as ``diameter_3d_mm``, of the solid component; None without an image, and where no voxel is
            solid.
        size_t: T by size; ``size_t.not_assessed`` is what could raise it.
        axial_axis: the voxel axis that runs through the axial slices.
        axial_slice: the slice of the axial diameter, along that axis.
        voxels: how many the lesion has.
        solid_voxels: how many its solid component has; None without an image.
    """

    volume_mm3: float
    voxel_volume_mm3: float
    diameter_3d_mm: float
    axial_diameter_mm: float
    perpendicular_mm: float
    solid_diameter_mm: float | None
    size_t: SizeT
    axial_axis: int
    axial_slice: int
    voxels: int
    solid_voxels: int | None

    @property
    def t(self) -> tuple[str, ...]:
        """The T categories still possible: first what the size gives, then what a descriptor not looked at would."""
        return self.size_t.t

    def to_json(self) -> dict[str, Any]:
        """The document of ``monai-staging measure --json``."""
        return {
            "volume_mm3": self.volume_mm3,
            "voxel_volume_mm3": self.voxel_volume_mm3,
            "diameter_3d_mm": self.diameter_3d_mm,
            "axial_diameter_mm": self.axial_diameter_mm,
            "perpendicular_mm": self.perpendicular_mm,
            "solid_diameter_mm": self.solid_diameter_mm,
            "t": list(self.t),
        }


def measure_lesion(
    mask: Mask,
    affine: Affine,
    hu: npt.NDArray[Any] | None = None,
    *,
    threshold_hu: float = SOLID_ABOVE_HU,
    edition: str = "8",
) -> Measurement:
    """Measures all that a mask marks, as one lesion.

    The size that T goes by is the longest dimension in any plane, so ``diameter_3d_mm``. With an image, the size of the
    solid component counts from the 8th edition on: the largest connected part (faces, edges and corners connect) of
    the lesion's voxels above ``threshold_hu``, so that bright specks in ground glass do not span it. Without one the
    lesion is taken for solid throughout. Source: Travis et al., J. Thorac. Oncol. 11(8), 2016; see
    :func:`monai_staging.tnm.size.t_from_size`.

    Args:
        mask: (I, J, K), what is not 0 is the lesion.
        affine: (4, 4), voxel index to RAS millimetres; oblique, mirrored and sheared grids included.
        hu: (I, J, K), Hounsfield units on the mask's grid.
        threshold_hu: what is above it is solid.
        edition: "6", "7", "8" or "9".

    Raises:
        UsageError: a mask that is not of three dimensions or empty, voxels without a volume, an image of another shape,
            a threshold that is no number, an unknown edition.
        DataError: the image has voxels without a value in the lesion.
    """
    affine = np.asarray(affine, np.float64)
    check_mask(mask)
    check_affine(affine)
    if not math.isfinite(threshold_hu):
        raise UsageError(f"The threshold of the solid component is a finite number of HU; found {threshold_hu}.")
    if hu is not None and hu.shape != mask.shape:
        raise UsageError(f"Image and mask have one shape; found {hu.shape} and {mask.shape}.")
    part = part_of_mask(mask)
    assert part is not None
    vertices, faces = surface(part.mask)
    axial = axial_diameters(part.mask, affine)
    longest_mm = round(longest_diameter_mm(vertices, affine), _DECIMALS)
    solid_mm = solid_voxels = None
    if hu is not None:
        solid_mm, solid_voxels = _solid(part.mask, hu[part.box], affine, threshold_hu)
    return Measurement(
        volume_mm3=round(mesh_volume_mm3(vertices, faces, affine), _DECIMALS),
        voxel_volume_mm3=round(voxel_volume_mm3(part.mask, affine), _DECIMALS),
        diameter_3d_mm=longest_mm,
        axial_diameter_mm=round(axial.longest_mm, _DECIMALS),
        perpendicular_mm=round(axial.perpendicular_mm, _DECIMALS),
        solid_diameter_mm=solid_mm or None,
        size_t=t_from_size(longest_mm, edition, solid_mm=solid_mm),
        axial_axis=axial.axis,
        axial_slice=part.corner[axial.axis] + axial.slice_index,
        voxels=part.voxels,
        solid_voxels=solid_voxels,
    )


def _solid(mask: npt.NDArray[np.bool_], hu: npt.NDArray[Any], affine: Affine, threshold_hu: float) -> tuple[float, int]:
    """Longest diameter in mm and voxels of the solid component; zeros where there is none."""
    missing = int(np.count_nonzero(~np.isfinite(hu[mask])))
    if missing:
        raise DataError(f"Image: every voxel of the lesion has a finite value; {missing} of {mask.sum()} have none.")
    parts = components(mask & (hu > threshold_hu))
    if not parts:
        return 0.0, 0
    vertices, _ = surface(parts[0].mask)
    return round(longest_diameter_mm(vertices, affine), _DECIMALS), parts[0].voxels
