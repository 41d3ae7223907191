"""Volumes and masks as files: uncompressed NIfTI that memory-maps, so that a patch costs a patch.

Arrays are indexed ``[i, j, k]`` = (column, row, slice), affines map that index to RAS millimetres. NIfTI stores its
affine in single precision: what is read back agrees with what was written to 1e-7 of its size (0.00003 mm at 500 mm).
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.limits import implausible
from monai_staging.errors import DataError, UsageError
from monai_staging.files import atomic_path

if TYPE_CHECKING:
    import nibabel

AIR_HU = -1024
"""What lies outside a scan, unless the caller says otherwise."""

_HEADER_BYTES = 348
_DATA_OFFSET = 352
_CODES: dict[int, np.dtype[Any]] = {2: np.dtype("u1"), 4: np.dtype("<i2"), 512: np.dtype("<u2")}
# A direction in single precision has seven digits.
_DIRECTION_TOLERANCE = 1e-4
_MASK_TYPES = (np.dtype(np.uint8), np.dtype(np.uint16))


@dataclass(frozen=True, eq=False)
class Volume:
    """One CT scan in Hounsfield units.

    Args:
        array: int16, shape (columns, rows, slices), HU. May be a read-only memory map.
        affine: float64, shape (4, 4), from the index (i, j, k) of a voxel's centre to RAS millimetres.
    """

    array: npt.NDArray[np.int16]
    affine: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or self.array.dtype != np.int16:
            raise UsageError(f"A volume is a 3-D int16 array; got {self.array.ndim}-D {self.array.dtype}.")
        if np.shape(self.affine) != (4, 4):
            raise UsageError(f"An affine has the shape (4, 4); got {np.shape(self.affine)}.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        i, j, k = self.array.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxel centres along i, j and k, mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)


def write_volume(path: str | os.PathLike[str], volume: Volume) -> None:
    """Writes a volume to ``path`` (``.nii``, int16, HU), atomically.

    Both the sform and the qform hold the affine (code 1, scanner), the sform exactly but for single precision.
    """
    _write(path, volume.array, volume.affine)


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """The volume at ``path``; its array is a read-only memory map, nothing is copied.

    Raises:
        DataError: the file is missing, truncated, or no volume of ours (int16, unscaled, uncompressed).
    """
    array, affine = _map(Path(path), (np.dtype(np.int16),))
    _check_place(Path(path), array, affine)
    return Volume(array, affine)


def read_patch(
    path: str | os.PathLike[str], start: Sequence[int], size: Sequence[int], *, pad: int = AIR_HU
) -> npt.NDArray[Any]:
    """A patch of the volume or mask at ``path``; only the pages it lies on are read from disk.

    Args:
        path: a file of `write_volume` or `write_mask`.
        start: index (i, j, k) of the first voxel; may be negative.
        size: voxels along i, j and k.
        pad: the value of voxels outside the volume; give 0 for a mask.

    Returns:
        A new array of the shape ``size`` in the file's type.

    Raises:
        UsageError: ``start`` or ``size`` is not three whole numbers, or a size is not positive.
        DataError: see `read_volume`.
    """
    first, extent = np.asarray(start), np.asarray(size)
    if first.shape != (3,) or extent.shape != (3,) or first.dtype.kind not in "iu" or extent.dtype.kind not in "iu":
        raise UsageError(f"A patch has three whole numbers as start and as size; got {start!r} and {size!r}.")
    if (extent < 1).any():
        raise UsageError(f"A patch has a positive size; got {tuple(size)}.")
    array, _ = _map(Path(path), (np.dtype(np.int16), *_MASK_TYPES))
    patch = np.full(tuple(extent), pad, array.dtype, order="F")
    low = np.clip(first, 0, array.shape)
    high = np.clip(first + extent, 0, array.shape)
    if (high > low).all():
        source = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        target = tuple(slice(int(a), int(b)) for a, b in zip(low - first, high - first, strict=True))
        patch[target] = array[source]
    return patch


def write_mask(path: str | os.PathLike[str], mask: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> None:
    """Writes a mask (uint8 or uint16, shape (columns, rows, slices)) to ``path`` (``.nii``), atomically."""
    if mask.ndim != 3 or mask.dtype not in _MASK_TYPES:
        raise UsageError(f"A mask is a 3-D uint8 or uint16 array; got {mask.ndim}-D {mask.dtype}.")
    _write(path, mask, affine)


def write_packed_mask(path: str | os.PathLike[str], mask: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> None:
    """Writes a mask as ``.nii.gz``: hardly any voxel of it is a lesion's, so packed it is small.

    Args:
        path: ends in ``.nii.gz``.
        mask: uint8 or uint16, (columns, rows, slices).
        affine: (4, 4), voxel index to RAS mm.
    """
    plain = Path(path).with_suffix("")
    write_mask(plain, mask, affine)
    with open(plain, "rb") as file, gzip.GzipFile(path, "wb", compresslevel=1, mtime=0) as packed:
        shutil.copyfileobj(file, packed, 1 << 20)
    plain.unlink()


def read_mask(path: str | os.PathLike[str]) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """The mask at ``path`` (a read-only memory map) and its affine.

    Raises:
        DataError: the file is missing, truncated, or no mask of ours (uint8 or uint16, uncompressed).
    """
    array, affine = _map(Path(path), _MASK_TYPES)
    _check_place(Path(path), array, affine)
    return array, affine


def _check_place(path: Path, array: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> None:
    broken = implausible(array.shape, affine)
    if broken is not None:
        raise DataError(f"Volume {path.name}: {broken}.")
    steps = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(steps.T @ steps - np.eye(3)).max() > _DIRECTION_TOLERANCE:
        raise DataError(f"Volume {path.name}: its axes are not perpendicular: {np.round(steps.T, 5).tolist()}.")


def _write(path: str | os.PathLike[str], array: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> None:
    import nibabel

    if Path(path).suffix != ".nii":
        raise UsageError(f"A volume is written as uncompressed .nii, which memory-maps; got {Path(path).name}.")
    header: nibabel.Nifti1Header = nibabel.Nifti1Header(endianness="<")
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_xyzt_units("mm")
    header.set_qform(affine, code=1, strip_shears=True)
    header.set_sform(affine, code=1)
    header.set_data_offset(_DATA_OFFSET)
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(header.binaryblock)
        file.write(b"\0" * (_DATA_OFFSET - _HEADER_BYTES))
        # NIfTI's first index runs fastest: the transpose of a Fortran-ordered array is written without a copy.
        # Not tofile(): on a full disk it raises an error that does not say so.
        file.write(np.ascontiguousarray(array.T, dtype=array.dtype.newbyteorder("<")).data)


def _map(path: Path, types: tuple[np.dtype[Any], ...]) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """The data as a memory map, and the affine. Patches come here often: only the fields needed are read."""
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
            bytes_there = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DataError(f"Volume {path.name}: cannot be read ({error.strerror}).") from error
    if header[:4] != _HEADER_BYTES.to_bytes(4, "little") or header[344:] != b"n+1\0":
        raise DataError(f"Volume {path.name}: not a little-endian, uncompressed NIfTI-1 file.")
    dims = np.frombuffer(header, "<i2", 8, 40)
    code = int(np.frombuffer(header, "<i2", 1, 70)[0])
    stated_offset = float(np.frombuffer(header, "<f4", 1, 108)[0])
    slope, intercept = np.frombuffer(header, "<f4", 2, 112)
    sform_code = int(np.frombuffer(header, "<i2", 1, 254)[0])
    dtype = _CODES.get(code)
    if dtype is None or dtype not in types:
        expected = " or ".join(str(t) for t in types)
        raise DataError(f"Volume {path.name}: NIfTI data type {code}; expected {expected}.")
    # A slope of 0 or NaN means "not scaled" in NIfTI.
    if np.isfinite(slope) and slope != 0 and (slope != 1 or intercept != 0):
        raise DataError(f"Volume {path.name}: scaled by {slope:g} and {intercept:g}; volumes hold HU as they are.")
    if dims[0] != 3 or (dims[1:4] < 1).any():
        raise DataError(f"Volume {path.name}: {dims[0]} dimensions of {dims[1:4].tolist()}; expected three.")
    if sform_code < 1:
        raise DataError(f"Volume {path.name}: no sform, so its position is not known.")
    i, j, k = (int(n) for n in dims[1:4])
    if not (stated_offset.is_integer() and stated_offset >= _DATA_OFFSET):  # nor NaN, nor infinite
        raise DataError(f"Volume {path.name}: voxels begin at byte {stated_offset:g}; {_DATA_OFFSET} or more expected.")
    offset = int(stated_offset)
    needed = offset + i * j * k * dtype.itemsize
    if bytes_there < needed:
        raise DataError(f"Volume {path.name}: truncated, {bytes_there} bytes of {needed}.")
    affine = np.eye(4)
    affine[:3] = np.frombuffer(header, "<f4", 12, 280).reshape(3, 4)
    return np.memmap(path, dtype, "r", offset, (i, j, k), order="F"), affine
