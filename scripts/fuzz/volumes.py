"""What a volume must be that a reader lets through: nothing downstream looks again."""

from __future__ import annotations

import numpy as np

from monai_staging.cohort.volume import Volume

LARGEST_MM3 = 2.0**31
SMALLEST_STEP_MM, LARGEST_STEP_MM = 1e-3, 1e3


def check_volume(volume: Volume) -> None:
    """Raises AssertionError for one that is not int16 Hounsfield units on a grid in space."""
    affine = volume.affine
    assert volume.array.dtype == np.int16 and volume.array.ndim == 3 and volume.array.size, "no voxels"
    assert np.isfinite(affine).all(), f"affine {affine.tolist()}"
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    assert (steps >= SMALLEST_STEP_MM).all() and (steps <= LARGEST_STEP_MM).all(), f"spacing {steps.tolist()} mm"
    assert abs(np.linalg.det(affine[:3, :3] / steps)) > 0.99, f"axes {affine.tolist()}"
    assert np.prod(np.asarray(volume.shape) * steps) <= LARGEST_MM3, f"{volume.shape} voxels of {steps.tolist()} mm"
    assert np.abs(affine[:3, 3]).max() < 1e6, f"origin {affine[:3, 3].tolist()} mm"
    int(volume.array.min())  # its memory can be read
