"""Images and masks as files: NIfTI, MetaImage, or a folder with one DICOM series; and whether two share a grid."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.limits import DEFLATE, implausible, overclaimed, oversized
from monai_staging.errors import DataError, UsageError
from monai_staging.measure.mesh import Affine, check_affine

GRID_TOLERANCE_VOXELS = 0.01
"""How far apart two grids may put a voxel's centre, as a part of its shortest edge: what is lost in writing affines."""
_MILLIMETRES = (0, 2)  # spatial unit of a NIfTI file: not stated, or mm

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Image:
    """A file of voxels, of which no more is read than is asked for.

    Attributes:
        path: the file, or the folder of its series.
        shape: voxels along i, j and k.
        affine: float64 (4, 4), voxel index to RAS millimetres.
        read: gives the values of a box of voxels.
    """

    path: Path
    shape: tuple[int, int, int]
    affine: Affine
    read: Callable[[Box], npt.NDArray[Any]]

    @property
    def whole(self) -> Box:
        """The box of all voxels."""
        i, j, k = (slice(0, size) for size in self.shape)
        return i, j, k


def read_image(path: Path, ratio: int = DEFLATE) -> Image:
    """The image at ``path``: ``.nii``, ``.nii.gz``, ``.mhd``, or a folder with one DICOM CT series.

    Args:
        path: the file or folder.
        ratio: how many times its size a ``.nii.gz`` may hold, see `monai_staging.cohort.limits`; a mask any times.

    Raises:
        DataError: it is of another kind, damaged, not of three dimensions, or does not say where its voxels lie.
        OSError: it is not there.
    """
    from monai_staging.cohort.dicom import load_series
    from monai_staging.cohort.metaimage import read_metaimage

    path.stat()
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return _read_nifti(path, ratio)
    if path.is_dir():
        volume = load_series(path)
    elif name.endswith(".mhd"):
        volume = read_metaimage(path)
    else:
        kinds = ".nii, .nii.gz, .mhd with its data beside it or a folder with one DICOM series"
        raise DataError(f"{path.name}: an image is {kinds}; found none of them.")
    return Image(path, volume.shape, volume.affine, volume.array.__getitem__)


def check_same_grid(image: Image, mask: Image) -> None:
    """Whether an image and a mask have the same voxels at the same places.

    Raises:
        DataError: shapes differ, or affines by more than :data:`GRID_TOLERANCE_VOXELS` anywhere on the grid.
    """
    whose = f"Mask {mask.path.name} and image {image.path.name}"
    if mask.shape != image.shape:
        shapes = " and ".join(" x ".join(map(str, own.shape)) for own in (mask, image))
        raise DataError(f"{whose}: they must share one grid; found {shapes} voxels; refuse to resample.")
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, size - 1) for size in mask.shape))])
    apart = np.linalg.norm(corners @ (mask.affine - image.affine).T, axis=1)
    allowed = GRID_TOLERANCE_VOXELS * float(np.linalg.norm(mask.affine[:3, :3], axis=0).min())
    # Voxel 0 alone says nothing of a grid of one voxel.
    steps = np.linalg.norm(mask.affine[:3, :3] - image.affine[:3, :3], axis=0).max()
    if apart.max() > allowed or steps > allowed:
        corner = tuple(corners[apart.argmax(), :3].tolist())
        rows = " and ".join(str(np.round(own.affine[:3], 4).tolist()) for own in (mask, image))
        found = f"voxel {corner} lies {apart.max():.3g} mm apart ({allowed:.2g} allowed), by the affines {rows}"
        raise DataError(f"{whose}: they must share one grid; found {found}; refuse to resample.")


def _read_nifti(path: Path, ratio: int) -> Image:
    import nibabel

    def refuse(found: str) -> DataError:
        # Whoever sent the file need not know where it lies.
        return DataError(f"{path.name}: {found.replace(str(path), path.name)}.")

    # What nibabel, gzip and NumPy raise of a damaged file; all of it means the same here.
    damage = (
        nibabel.filebasedimages.ImageFileError,
        nibabel.spatialimages.HeaderDataError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        OverflowError,
        zlib.error,
    )
    try:
        loaded: Any = nibabel.load(path)
        header, shape = loaded.header, loaded.shape
        unit = int(header["xyzt_units"]) & 7
        placed = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
        affine = np.asarray(loaded.affine, np.float64)
    except damage as error:
        raise refuse(f"not read as NIfTI ({' '.join(str(error).split())})") from error
    if len(shape) < 3 or any(size != 1 for size in shape[3:]) or min(shape) < 1:
        raise refuse(f"three dimensions are measured; found {' x '.join(map(str, shape))}")
    _check_claim(loaded, path, ratio, refuse)
    if loaded.get_data_dtype().kind not in "biuf":
        raise refuse(f"a voxel is one number; found {loaded.get_data_dtype()}")
    if unit not in _MILLIMETRES:
        raise refuse(f"lengths must be in mm; found NIfTI unit {unit} (1 metre, 3 micrometre)")
    if not placed:
        raise refuse("neither sform nor qform says how it lies")
    try:
        check_affine(affine)
    except UsageError as error:
        raise refuse(str(error).rstrip(".")) from error
    broken = implausible(shape[:3], affine)
    if broken is not None:
        raise refuse(broken)
    beyond = (0,) * (len(shape) - 3)

    def read(box: Box) -> npt.NDArray[Any]:
        try:
            return np.asanyarray(loaded.dataobj[(*box, *beyond)])
        except damage as error:
            raise refuse(f"its voxels are not read ({' '.join(str(error).split())})") from error
        except MemoryError as error:
            size = " x ".join(map(str, shape[:3]))
            raise refuse(f"its {size} voxels ({loaded.get_data_dtype()}) take more memory than there is") from error

    return Image(path, (int(shape[0]), int(shape[1]), int(shape[2])), affine, read)


def _check_claim(loaded: Any, path: Path, ratio: int, refuse: Callable[[str], DataError]) -> None:
    """Whether a file of this size may hold what its header claims: looked at before any of it is read."""
    needed = math.prod(map(int, loaded.shape)) * loaded.get_data_dtype().itemsize
    offset, there = int(loaded.dataobj.offset), path.stat().st_size
    broken = oversized(loaded.shape)
    if broken is None and path.name.lower().endswith(".gz"):
        broken = overclaimed(offset + needed, there, ratio)
    elif broken is None and not 0 <= offset <= there - needed:
        broken = f"its voxels are not read ({needed} bytes from byte {offset} on, of {there})"
    if broken is not None:
        raise refuse(broken)
