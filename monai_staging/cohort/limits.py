"""What a file may claim to hold: looked at before anything is read, inflated or allocated for the claim."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

LARGEST_VOXELS = 2**31
"""A scan of more voxels (4 GiB of int16) is refused before any of them is read."""
FREE_BYTES = 2**26
"""Claims of up to this are taken whatever the file's size: what is not there is found when it is read."""
DEFLATE, RLE, IMAGE_CODEC, CT_DEFLATE, DICOM_DEFLATE = 1032, 64, 1000, 100, 20
"""How many times its bytes a file may claim, beyond `FREE_BYTES`. Deflate (RFC 1951) and DICOM's RLE have no more to
give; a JPEG-LS or JPEG 2000 frame may be all of one value, whole scans are not; noise keeps CT below ten. A deflated
DICOM data set is parsed as well as unpacked, which takes longer."""
SMALLEST_STEP_MM, LARGEST_STEP_MM = 1e-3, 1e3
LARGEST_MM3 = 2.0**31
"""Two cubic metres: what a volume in steps of 1 mm, as every network here takes it, may have."""
FARTHEST_MM = 1e6


def oversized(shape: Sequence[int]) -> str | None:
    """Why a volume of so many voxels is not read; ``None`` where it may be."""
    voxels = 1
    for size in shape:
        voxels *= int(size)
    if voxels <= LARGEST_VOXELS:
        return None
    return f"at most {LARGEST_VOXELS / 2**30:g} Gi voxels are read; {' x '.join(map(str, shape))} are claimed"


def most_claimed(there: int, ratio: int, free: int = FREE_BYTES) -> int:
    """How many bytes may be claimed to come of ``there`` packed ones; ``free`` of them in any case."""
    return max(free, ratio * there)


def overclaimed(claimed: int, there: int, ratio: int) -> str | None:
    """Why ``claimed`` bytes cannot come of the ``there`` bytes they are packed in; ``None`` where they may."""
    if claimed <= most_claimed(there, ratio):
        return None
    return f"{claimed} bytes are claimed of {there} packed ones, more than {ratio} times as many"


def implausible(shape: Sequence[int], affine: npt.NDArray[np.float64]) -> str | None:
    """Why no scan of a person lies like that; ``None`` where one may.

    Args:
        shape: voxels along i, j and k.
        affine: (4, 4), voxel index to millimetres.
    """
    if not np.isfinite(affine).all():
        return "its position is not finite"
    steps_mm = np.linalg.norm(affine[:3, :3], axis=0)
    told = " x ".join(f"{step:g}" for step in steps_mm)
    if steps_mm.min() < SMALLEST_STEP_MM or steps_mm.max() > LARGEST_STEP_MM:
        return f"voxels of {told} mm; edges from {SMALLEST_STEP_MM:g} to {LARGEST_STEP_MM:g} mm are read"
    if np.prod(steps_mm * [float(size) for size in shape]) > LARGEST_MM3:
        return f"{' x '.join(map(str, shape))} voxels of {told} mm, more than two cubic metres"
    if np.abs(affine[:3, 3]).max() > FARTHEST_MM:
        return f"its first voxel lies at {np.round(affine[:3, 3]).tolist()} mm, more than a kilometre away"
    return None
