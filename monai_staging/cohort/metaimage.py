"""MetaImage (``.mhd`` with ``.raw`` or ``.zraw``) to CT volumes, strictly: what is not stated or not read is refused.

Of the format (https://itk.org/Wiki/ITK/MetaIO/Documentation) it takes what data sets of CT scans are written in: three
dimensions, one whole-number channel, the data in one file beside the header. As ITK does, it takes Offset and
TransformMatrix for LPS millimetres, one row of the matrix an axis of the image, and AnatomicalOrientation for a remark.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.dicom import Rule, SeriesRefused
from monai_staging.cohort.limits import CT_DEFLATE, implausible, overclaimed, oversized
from monai_staging.cohort.volume import Volume

_HEADER_BYTES = 65536
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# A direction is written with about six digits.
_DIRECTION_TOLERANCE = 1e-4
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
}
_TRUE = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, eq=False)
class MetaHeader:
    """What an ``.mhd`` says.

    Attributes:
        path: the header's file.
        data: the file of the voxels.
        shape: voxels along i, j and k.
        dtype: of a voxel in the file.
        compressed: whether the data went through zlib.
        affine: float64 (4, 4), from the index (i, j, k) to RAS millimetres.
    """

    path: Path
    data: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    compressed: bool
    affine: npt.NDArray[np.float64]


def read_meta_header(path: Path) -> MetaHeader:
    """The header at ``path``; nothing is read of the voxels.

    Raises:
        SeriesRefused: it cannot be read, or says what this reader does not take.
    """
    fields = _fields(path)

    def refuse(rule: Rule, found: str) -> NoReturn:
        raise SeriesRefused(rule, f"{path.name}: {found}", files=(path,))

    def text(*names: str, default: str | None = None) -> str:
        for name in names:
            if name in fields:
                return fields[name]
        if default is None:
            refuse(Rule.UNREADABLE, f"no {names[0]}.")
        return default

    def numbers(*names: str, count: int) -> npt.NDArray[np.float64]:
        written = text(*names)
        try:
            values = np.array(written.split(), np.float64)
        except ValueError:
            values = np.array([])
        if len(values) != count or not np.isfinite(values).all():
            refuse(Rule.MISSING_GEOMETRY, f"{names[0]} must be {count} numbers; found {written!r}.")
        return values

    def switch(*names: str) -> bool:
        written = text(*names, default="False")
        if written.lower() not in _TRUE:
            refuse(Rule.UNREADABLE, f"{names[0]} must be True or False; found {written!r}.")
        return _TRUE[written.lower()]

    for name, expected, default in (
        ("ObjectType", "Image", "Image"),
        ("NDims", "3", None),
        ("ElementNumberOfChannels", "1", "1"),
        ("BinaryData", "True", None),
        ("HeaderSize", "0", "0"),
    ):
        if text(name, default=default).lower() != expected.lower():
            refuse(Rule.PIXEL_LAYOUT, f"{name} must be {expected}; found {fields[name]!r}.")
    kind = text("ElementType")
    if kind not in _TYPES:
        refuse(Rule.PIXEL_LAYOUT, f"ElementType must be one of {', '.join(_TYPES)}; found {kind!r}.")
    size = numbers("DimSize", count=3)
    if (size < 1).any() or (size > 32767).any() or (size != np.rint(size)).any():
        refuse(Rule.PIXEL_LAYOUT, f"DimSize must be whole numbers from 1 to 32767; found {fields['DimSize']!r}.")
    if size[2] < 2:
        refuse(Rule.TOO_FEW_SLICES, f"{size[2]:g} slice; two or more make a volume.")
    spacing = numbers("ElementSpacing", "ElementSize", count=3)
    if (spacing <= 0).any():
        refuse(
            Rule.MISSING_GEOMETRY, f"ElementSpacing must be positive; found {text('ElementSpacing', 'ElementSize')!r}."
        )
    directions = numbers("TransformMatrix", "Orientation", "Rotation", count=9).reshape(3, 3)
    if not np.allclose(directions @ directions.T, np.eye(3), atol=_DIRECTION_TOLERANCE):
        refuse(Rule.NOT_ORTHOGONAL, f"TransformMatrix is not of perpendicular unit vectors: {directions.tolist()}.")
    origin = numbers("Offset", "Position", "Origin", count=3)
    data = text("ElementDataFile")
    if (
        not data.isprintable()
        or data.upper() in ("", "LOCAL", "LIST")
        or Path(data).name != data
        or "\\" in data
        or "%" in data
    ):
        refuse(Rule.UNREADABLE, f"ElementDataFile must be one file beside it; found {data!r}.")
    affine = np.eye(4)
    affine[:3, :3] = directions.T * spacing
    affine[:3, 3] = origin
    broken = oversized(size.astype(int).tolist()) or implausible(size.tolist(), affine)
    if broken is not None:
        refuse(Rule.IMPLAUSIBLE_SIZE, f"{broken}.")
    return MetaHeader(
        path=path,
        data=path.with_name(data),
        shape=(int(size[0]), int(size[1]), int(size[2])),
        dtype=np.dtype((">" if switch("BinaryDataByteOrderMSB", "ElementByteOrderMSB") else "<") + _TYPES[kind]),
        compressed=switch("CompressedData"),
        affine=_LPS_TO_RAS @ affine,
    )


def read_metaimage(path: Path) -> Volume:
    """The volume of an ``.mhd``, whose values are Hounsfield units.

    Raises:
        SeriesRefused: see `read_meta_header`; or the data is missing, too short, too long, or beyond int16.
    """
    header = read_meta_header(path)
    needed = int(np.prod(header.shape)) * header.dtype.itemsize

    def refuse(rule: Rule, found: str) -> NoReturn:
        raise SeriesRefused(rule, f"{header.data.name}: {found}", files=(path, header.data))

    try:
        there = header.data.stat().st_size
        if not header.compressed and there < needed:
            refuse(Rule.TRUNCATED, f"{there} bytes of {needed}.")
        broken = overclaimed(needed, there, CT_DEFLATE) if header.compressed else None
        if broken is not None:
            refuse(Rule.IMPLAUSIBLE_SIZE, f"{broken}.")
        # One byte more than needed says that there is more, however much that would be.
        with open(header.data, "rb") as file:
            content = file.read() if header.compressed else file.read(needed + 1)
    except OSError as error:
        refuse(Rule.UNREADABLE, f"cannot be read ({error.strerror}).")
    if header.compressed:
        try:
            content = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(content, needed + 1)
        except zlib.error as error:
            refuse(Rule.UNDECODABLE, f"cannot be decompressed ({error}).")
    if len(content) < needed:
        refuse(Rule.TRUNCATED, f"{len(content)} bytes of {needed}.")
    if len(content) > needed:
        refuse(Rule.PIXEL_LAYOUT, f"more than the {needed} bytes of {list(header.shape)} {header.dtype}.")
    array = np.frombuffer(content, header.dtype).reshape(header.shape, order="F")
    if header.dtype.itemsize > 2 or header.dtype.kind == "u":
        low, high = int(array.min()), int(array.max())
        if low < -32768 or high > 32767:
            refuse(Rule.OUT_OF_RANGE, f"values from {low} to {high}; int16 holds -32768 to 32767.")
    return Volume(array.astype(np.int16, order="F", copy=False), header.affine)


def _fields(path: Path) -> dict[str, str]:
    """The ``Name = value`` lines of a header."""
    try:
        with open(path, "rb") as file:
            content = file.read(_HEADER_BYTES + 1)
        lines = content.decode("utf-8").splitlines()
    except OSError as error:
        raise SeriesRefused(
            Rule.UNREADABLE, f"{path.name} cannot be read ({error.strerror}).", files=(path,)
        ) from error
    except UnicodeDecodeError as error:
        raise SeriesRefused(Rule.UNREADABLE, f"{path.name} is no text.", files=(path,)) from error
    found: dict[str, str] = {}
    if len(content) > _HEADER_BYTES:
        raise SeriesRefused(Rule.UNREADABLE, f"{path.name} is longer than a header is.", files=(path,))
    for line in filter(str.strip, lines):
        name, sign, value = line.partition("=")
        if not sign or name.strip() in found:
            why = "twice" if sign else "without a value"
            raise SeriesRefused(Rule.UNREADABLE, f"{path.name}: {name.strip()!r} {why}.", files=(path,))
        found[name.strip()] = value.strip()
    return found
