"""A mask as a closed surface, and the volume within.

The surface is that of the Image Biomarker Standardisation Initiative (IBSI, Zwanenburg et al., arXiv 1612.07003,
"mesh-based representation"; marching cubes of Lewiner et al. 2003): it runs half-way between the centres of marked and
unmarked voxels, whatever lies beyond the array counting as unmarked. A voxel alone is therefore an octahedron of a
sixth of its volume, and a box of voxels loses its edges and corners; faces of a large region lie where its voxels end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from monai_staging.errors import UsageError

Mask = npt.NDArray[Any]
Affine = npt.NDArray[np.float64]
Points = npt.NDArray[np.float64]


def surface(mask: Mask) -> tuple[Points, npt.NDArray[np.int32]]:
    """The surface of what a mask marks.

    Args:
        mask: (I, J, K), what is not 0 is marked; not empty.

    Returns:
        Vertices (vertices, 3) in voxel indices, a voxel's centre being whole numbers, and triangles (faces, 3) of
        vertices, all in the same sense. Most vertices lie half a voxel from a marked centre, along one axis.
    """
    from skimage.measure import marching_cubes

    check_mask(mask)
    padded = np.pad(mask != 0, 1).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(padded, 0.5)
    return vertices.astype(np.float64) - 1, faces


def mesh_volume_mm3(vertices: Points, faces: npt.NDArray[np.int32], affine: Affine) -> float:
    """The volume within a closed surface (IBSI RNU0): the sum of the signed tetrahedra of its faces and one point.

    Args:
        vertices: (vertices, 3), voxel indices.
        faces: (faces, 3), as `surface` gives them.
        affine: (4, 4), voxel index to millimetres.
    """
    # In voxels, about a point of the surface: world coordinates far from the lesion would cost digits.
    a, b, c = np.moveaxis((vertices - vertices[0])[faces], 1, 0)
    voxels = abs(float(np.einsum("fi,fi->", a, np.cross(b, c)))) / 6
    return voxels * voxel_mm3(affine)


def voxel_volume_mm3(mask: Mask, affine: Affine) -> float:
    """Number of marked voxels times the volume of one (IBSI YEKZ)."""
    return int(np.count_nonzero(mask)) * voxel_mm3(affine)


def voxel_mm3(affine: Affine) -> float:
    """The volume of a voxel, in any orientation."""
    return abs(float(np.linalg.det(affine[:3, :3])))


def check_mask(mask: Mask) -> None:
    """Whether a mask can be measured.

    Raises:
        UsageError: it is not of three dimensions, or marks nothing.
    """
    if mask.ndim != 3 or not mask.any():
        found = f"{mask.ndim} dimensions" if mask.ndim != 3 else f"nothing marked in {mask.shape}"
        raise UsageError(f"A mask has three dimensions and marks a voxel at least; found {found}.")


def check_affine(affine: Affine) -> None:
    """Whether an affine gives voxels a size.

    Raises:
        UsageError: not (4, 4), not finite, or voxels without a volume.
    """
    if np.shape(affine) != (4, 4) or not np.isfinite(affine).all():
        raise UsageError(f"An affine is 4x4 finite numbers; found {np.asarray(affine).tolist()}.")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    # Relative to the edges: axes that lie in one plane have no volume however long they are.
    if not (lengths > 0).all() or voxel_mm3(affine) < 1e-6 * float(np.prod(lengths)):
        raise UsageError(f"An affine gives voxels a volume; found {affine[:3, :3].tolist()}.")
