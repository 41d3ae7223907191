"""NIfTI-1 (``.nii``, ``.nii.gz``) to CT volumes and labels, strictly: what is not stated or not read is refused.

Of the format (https://nifti.nimh.nih.gov/nifti-1) it takes what data sets of CT scans are written in: one file, three
dimensions, one number a voxel, millimetres. The sform says where voxels lie, the qform where there is no sform; nothing
in a header says what the numbers are, so whether they may be Hounsfield units is for the values to show.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.dicom import Rule, SeriesRefused
from monai_staging.cohort.dicom.pixels import HU_TOLERANCE
from monai_staging.cohort.limits import CT_DEFLATE, DEFLATE, implausible, overclaimed, oversized
from monai_staging.cohort.volume import Volume

_MILLIMETRES = (0, 2)  # spatial unit: not stated, or mm
# A direction is written with about six digits.
_DIRECTION_TOLERANCE = 1e-4
_SPACING_TOLERANCE = 1e-3
# A quaternion in single precision may turn a grid by 0.01 degrees: a tenth of a millimetre at the edge of a chest.
_FORMS_TOLERANCE_VOXELS = 0.5

Affine = npt.NDArray[np.float64]
Refuse = Callable[[Rule, str], NoReturn]


def read_nifti(path: Path) -> Volume:
    """The volume of a file, whose values are Hounsfield units.

    Raises:
        SeriesRefused: the file is damaged, does not say where its voxels lie, or holds what int16 Hounsfield units
            cannot be: fractions, values beyond int16.
    """
    refuse = _refuser(path)
    stored, scale, affine = _read(path, refuse, CT_DEFLATE)
    return Volume(_whole(stored, scale, refuse, fractional=Rule.FRACTIONAL_HU, beyond=Rule.OUT_OF_RANGE), affine)


def read_nifti_labels(path: Path) -> tuple[npt.NDArray[np.int16], Affine]:
    """The labels of a file, int16, shape (I, J, K), and their affine, voxel index to RAS millimetres.

    Raises:
        SeriesRefused: as `read_nifti`; values that are no whole numbers are no mask.
    """
    refuse = _refuser(path)
    # A mask may mark nothing, and then packs as well as deflate can.
    stored, scale, affine = _read(path, refuse, DEFLATE)
    return _whole(stored, scale, refuse, fractional=Rule.NOT_A_MASK, beyond=Rule.NOT_A_MASK), affine


def _refuser(path: Path) -> Refuse:
    def refuse(rule: Rule, found: str) -> NoReturn:
        raise SeriesRefused(rule, f"{path.name}: {found}", files=(path,))

    return refuse


def _read(path: Path, refuse: Refuse, ratio: int) -> tuple[npt.NDArray[Any], tuple[float, float], Affine]:
    """The voxels as stored, slope and intercept of their values, and the affine.

    Args:
        path: of the file.
        refuse: raises the refusal.
        ratio: how many times its size a packed file may hold, see `monai_staging.cohort.limits`.
    """
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    try:
        with _opened(path) as stream:
            header = _header(stream, refuse)
            _check_claim(header, path, refuse, ratio)
            affine = _affine(header, refuse)
            slope, intercept = header.get_slope_inter()
            stored = _voxels(header, stream, refuse)
    except EOFError:
        refuse(Rule.TRUNCATED, "its compressed data ends before the file does.")
    except (gzip.BadGzipFile, zlib.error) as error:
        refuse(Rule.UNDECODABLE, f"cannot be decompressed ({error}).")
    except OSError as error:
        refuse(Rule.UNREADABLE, f"cannot be read ({error.strerror}).")
    except (HeaderDataError, WrapStructError, ValueError, OverflowError) as error:
        refuse(Rule.UNREADABLE, f"its header is not read as NIfTI-1 ({' '.join(str(error).split())}).")
    return stored, (1.0 if slope is None else slope, 0.0 if intercept is None else intercept), affine


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if _is_packed(path) else open(path, "rb")


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _header(stream: BinaryIO, refuse: Refuse) -> Any:
    import nibabel

    header: Any = nibabel.Nifti1Header.from_fileobj(stream)
    if bytes(header["magic"]).rstrip(b"\0") != b"n+1":
        refuse(Rule.UNREADABLE, f"no NIfTI-1 file with its voxels in it (magic {bytes(header['magic'])!r}).")
    shape = header.get_data_shape()
    if len(shape) != 3 or min(shape) < 1:
        refuse(Rule.PIXEL_LAYOUT, f"three dimensions make a volume; found {' x '.join(map(str, shape)) or 'none'}.")
    if shape[2] < 2:
        refuse(Rule.TOO_FEW_SLICES, f"{shape[2]} slice; two or more make a volume.")
    if header.get_data_dtype().kind not in "iuf":
        refuse(Rule.PIXEL_LAYOUT, f"a voxel is one number; found {header.get_data_dtype()}.")
    return header


def _check_claim(header: Any, path: Path, refuse: Refuse, ratio: int) -> None:
    """Whether a file of this size may hold what its header claims: looked at before any of it is read."""
    shape, there = header.get_data_shape(), path.stat().st_size
    needed = math.prod(map(int, shape)) * header.get_data_dtype().itemsize
    offset = int(header.get_data_offset())
    broken = oversized(shape)
    if broken is not None:
        refuse(Rule.IMPLAUSIBLE_SIZE, f"{broken}.")
    if offset < 0:
        refuse(Rule.UNREADABLE, f"its voxels begin at byte {offset}.")
    if not _is_packed(path):
        if offset + needed > there:
            refuse(Rule.TRUNCATED, f"{max(there - offset, 0)} bytes of voxels, of {needed}.")
        return
    broken = overclaimed(offset + needed, there, ratio)
    if broken is not None:
        refuse(Rule.IMPLAUSIBLE_SIZE, f"{broken}.")


def _affine(header: Any, refuse: Refuse) -> Affine:
    """Where the voxels lie, by the sform, or the qform without one."""
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MILLIMETRES:
        refuse(Rule.MISSING_GEOMETRY, f"lengths must be in mm; found NIfTI unit {unit} (1 metre, 3 micrometre).")
    forms = [form for form, code in (header.get_sform(coded=True), header.get_qform(coded=True)) if code > 0]
    if not forms:
        refuse(Rule.MISSING_GEOMETRY, "neither sform nor qform says how it lies.")
    affine = np.asarray(forms[0], np.float64)
    steps = affine[:3, :3]
    if not np.isfinite(affine).all() or abs(np.linalg.det(steps)) < np.finfo(np.float32).tiny:
        refuse(Rule.MISSING_GEOMETRY, f"its affine gives voxels no volume: {affine[:3].tolist()}.")
    if (affine == np.eye(4)).all():
        refuse(Rule.MISSING_GEOMETRY, "its affine is the identity, as programs write it that know of no geometry.")
    spacing_mm = np.linalg.norm(steps, axis=0)
    directions = steps / spacing_mm
    if not np.allclose(directions.T @ directions, np.eye(3), atol=_DIRECTION_TOLERANCE):
        refuse(Rule.NOT_ORTHOGONAL, f"its axes are not perpendicular: {np.round(directions.T, 5).tolist()}.")
    stated = np.asarray(header.get_zooms()[:3], np.float64)
    if not np.allclose(stated, spacing_mm, rtol=_SPACING_TOLERANCE):
        sizes = " and ".join(str(np.round(sizes, 4).tolist()) for sizes in (stated, spacing_mm))
        refuse(Rule.MISSING_GEOMETRY, f"voxel sizes by pixdim and by the affine differ: {sizes} mm; refuse to choose.")
    corners = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)]) * (*header.get_data_shape(), 1)
    apart_mm = np.linalg.norm(corners @ (forms[-1] - affine).T, axis=1).max()
    if not apart_mm <= _FORMS_TOLERANCE_VOXELS * spacing_mm.min():
        refuse(Rule.MISSING_GEOMETRY, f"sform and qform put a corner {apart_mm:.3g} mm apart; refuse to choose.")
    broken = implausible(header.get_data_shape(), affine)
    if broken is not None:
        refuse(Rule.IMPLAUSIBLE_SIZE, f"{broken}; no scan lies like that.")
    return affine


def _voxels(header: Any, stream: BinaryIO, refuse: Refuse) -> npt.NDArray[Any]:
    """As stored. The file is read to its end, which is where gzip says whether its content is what was written."""
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    stream.seek(header.get_data_offset())
    # One byte more than needed says that there is more, however much that would be.
    content = stream.read(needed + 1)
    if len(content) < needed:
        refuse(Rule.TRUNCATED, f"{len(content)} bytes of voxels, of {needed}.")
    if len(content) > needed:
        refuse(Rule.PIXEL_LAYOUT, f"more than the {needed} bytes of {list(shape)} {dtype}.")
    return np.frombuffer(content, dtype).reshape(shape, order="F")


def _whole(
    stored: npt.NDArray[Any], scale: tuple[float, float], refuse: Refuse, *, fractional: Rule, beyond: Rule
) -> npt.NDArray[np.int16]:
    """``stored * slope + intercept`` as int16, exactly."""
    slope, intercept = scale
    if scale == (1, 0) and np.can_cast(stored.dtype, np.int16):
        return stored.astype(np.int16, order="F", copy=False)
    target = np.empty(stored.shape, np.int16, order="F")
    for k in range(stored.shape[2]):
        values = stored[:, :, k].astype(np.float64) * slope + intercept
        low, high = values.min(), values.max()
        if not (low >= -32768 and high <= 32767):  # nor NaN
            refuse(beyond, f"slice {k} has values from {low:g} to {high:g}; int16 holds -32768 to 32767.")
        rounded = np.rint(values)
        off = np.abs(values - rounded)
        if off.max() > HU_TOLERANCE:
            first = values.flat[int(np.argmax(off > HU_TOLERANCE))]
            refuse(fractional, f"slice {k} has values that are no whole numbers, as {first:g}; refuse to round.")
        target[:, :, k] = rounded
    return target
