"""Stored pixels to Hounsfield units, one plane at a time, into a place made for them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.dicom.codestream import cut_frame, wrong_size
from monai_staging.cohort.dicom.header import Header, Plane
from monai_staging.cohort.dicom.opened import OpenDicom
from monai_staging.cohort.dicom.rules import BrokenRule, Rule
from monai_staging.cohort.limits import DICOM_DEFLATE, IMAGE_CODEC, RLE, overclaimed, oversized

if TYPE_CHECKING:
    from pydicom import Dataset

_BIG = "1.2.840.10008.1.2.2"
_PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", _BIG)
_DEFLATED, _RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
_INT16 = np.iinfo(np.int16)
HU_TOLERANCE = 0.01
"""A rescaled value may miss a whole number by this much: dust of a decimal slope, not a fraction."""


def read_planes(header: Header, targets: dict[int, npt.NDArray[np.int16]]) -> None:
    """Fills ``targets`` (frame -> (rows, columns) int16, C-contiguous, native byte order) with HU.

    Raises:
        BrokenRule: truncated, undecodable, bits in use that are not stored, fractional HU, or HU beyond int16.
    """
    if _is_plain(header):
        try:
            _read_plain(header, targets)
        except OSError as error:
            found = f"{header.path.name} cannot be read ({error.strerror})."
            raise BrokenRule(Rule.UNREADABLE, found) from error
    else:
        frames = decode(header)
        for frame, target in targets.items():
            _rescale(frames[frame], header, header.planes[frame], target)


def decode(header: Header) -> npt.NDArray[np.generic]:
    """Every frame as stored (before rescale), shape (frames, rows, columns) or (frames, rows, columns, samples).

    Raises:
        BrokenRule: truncated or undecodable.
    """
    from pydicom import dcmread

    name = header.path.name
    check_claim(header)
    try:
        with OpenDicom(header.path) as file:
            dataset = dcmread(file, force=True)
        _check_complete(header, dataset)
    except BrokenRule:
        raise
    except Exception as error:  # pydicom fails on a damaged file in many ways
        reason = " ".join(str(error).split())[:300]
        raise BrokenRule(Rule.UNDECODABLE, f"pixels of {name} cannot be decoded ({reason}).") from error
    try:
        pixels = decoded(dataset)
    except Undecodable as error:
        raise BrokenRule(Rule.UNDECODABLE, f"pixels of {name} cannot be decoded ({error}).") from error
    return pixels if header.frames > 1 else pixels[None]


class Undecodable(Exception):
    """A decoder does not make pixels of what it is given; the message says why, in the decoder's words."""


def decoded(dataset: Dataset) -> npt.NDArray[Any]:
    """The pixels of a data set, as pydicom gives them.

    Raises:
        Undecodable: there are none to trust.
    """
    try:
        return np.asarray(dataset.pixel_array)
    except (KeyboardInterrupt, SystemExit):
        raise
    # Decoders raise whatever their libraries raise; one in Rust that panics raises what is no Exception.
    except BaseException as error:
        raise Undecodable(" ".join(str(error).split())[:300] or type(error).__name__) from error


def check_claim(header: Header) -> None:
    """Whether a file may hold the pixels it claims, by its size: before there is any room made for them.

    Raises:
        BrokenRule: more voxels than are read, or more than the file's bytes can hold.
    """
    shape = (header.columns, header.rows, header.frames)
    broken = oversized(shape)
    if broken is None and header.syntax not in _PLAIN:
        claimed = header.rows * header.columns * header.frames * header.samples * header.bits_allocated // 8
        ratio = {_DEFLATED: DICOM_DEFLATE, _RLE: RLE}.get(header.syntax, IMAGE_CODEC)
        broken = overclaimed(claimed, header.file_bytes, ratio)
    if broken is not None:
        raise BrokenRule(Rule.IMPLAUSIBLE_SIZE, f"{header.path.name}: {broken}.")
    if _is_plain(header):
        _check_length(header)


def _is_plain(header: Header) -> bool:
    """Whether the pixels lie in the file as 16-bit numbers."""
    return (
        header.syntax in _PLAIN
        and header.pixel_offset is not None
        and header.pixel_bytes is not None
        and header.bits_allocated == 16
        and header.samples == 1
    )


def _check_complete(header: Header, dataset: Dataset) -> None:
    name = header.path.name
    if "PixelData" not in dataset:
        how = "has no pixels" if header.pixel_offset is None else "ends within its pixels"
        raise BrokenRule(Rule.TRUNCATED, f"{name} {how} ({header.file_bytes} bytes); refuse a part.")
    if header.syntax in (*_PLAIN, _DEFLATED):
        bits = header.rows * header.columns * header.frames * header.samples * header.bits_allocated
        needed, there = (bits + 7) // 8, len(dataset.PixelData)
        if there < needed:
            raise BrokenRule(Rule.TRUNCATED, f"{name} holds {there} of {needed} bytes of pixels; refuse a part.")
    size = wrong_size(dataset)
    if size is not None:
        raise BrokenRule(Rule.PIXEL_LAYOUT, f"{name}: {size}; refuse to choose.")
    cut = cut_frame(dataset)
    if cut is not None:
        found = f"the codestream of frame {cut} of {header.frames} in {name} has no end (FF D9); refuse a part."
        raise BrokenRule(Rule.TRUNCATED, found)


def _check_length(header: Header) -> None:
    """Whether uncompressed 16-bit pixels are all there."""
    assert header.pixel_offset is not None and header.pixel_bytes is not None
    needed = header.rows * header.columns * 2 * header.frames
    there = min(header.pixel_bytes, header.file_bytes - header.pixel_offset)
    if there < needed:
        found = f"{header.path.name} holds {there} of {needed} bytes of pixels; refuse a part."
        raise BrokenRule(Rule.TRUNCATED, found)


def _read_plain(header: Header, targets: dict[int, npt.NDArray[np.int16]]) -> None:
    """Uncompressed 16-bit pixels: read straight into the target, rescaled in place."""
    assert header.pixel_offset is not None and header.pixel_bytes is not None
    _check_length(header)
    plane_bytes = header.rows * header.columns * 2
    with open(header.path, "rb", buffering=0) as file:
        for frame, target in targets.items():
            file.seek(header.pixel_offset + frame * plane_bytes)
            buffer = target.reshape(-1).view(np.uint8).data
            done = 0
            while done < plane_bytes:  # a raw read may be short
                count = file.readinto(buffer[done:])
                if not count:
                    found = f"{header.path.name} ends {plane_bytes - done} bytes early; refuse a part."
                    raise BrokenRule(Rule.TRUNCATED, found)
                done += count
            if (header.syntax == _BIG) == (sys.byteorder == "little"):
                target.byteswap(inplace=True)
            _rescale(target if header.signed else target.view(np.uint16), header, header.planes[frame], target)


def _rescale(stored: npt.NDArray[Any], header: Header, plane: Plane, target: npt.NDArray[np.int16]) -> None:
    """``stored * slope + intercept`` into ``target``, exactly; ``stored`` may be ``target``'s own memory."""
    slope, intercept = plane.slope, plane.intercept
    assert slope is not None and intercept is not None
    stored, low, high = _stored_values(stored, header)
    name = header.path.name
    ends = sorted((low * slope + intercept, high * slope + intercept))
    if ends[0] < _INT16.min or ends[1] > _INT16.max:
        found = f"{name} holds {ends[0]:g} to {ends[1]:g} HU, more than int16 can; refuse to clip."
        raise BrokenRule(Rule.OUT_OF_RANGE, found)
    whole = slope.is_integer() and intercept.is_integer()
    if slope == 1 and whole and stored.dtype.itemsize == 2:
        # Modulo 2**16 the sum is right whatever the sign of the stored type, and it is known to fit.
        offset = np.int16((int(intercept) + 0x8000) % 0x10000 - 0x8000)
        np.add(stored.view(np.int16), offset, out=target)
        return
    values = stored.astype(np.float64) * slope + intercept
    rounded = np.rint(values)
    if not whole and np.abs(values - rounded).max() > HU_TOLERANCE:
        found = (
            f"rescale slope {slope:g} and intercept {intercept:g} of {name} give fractions of a Hounsfield unit; "
            "refuse to round."
        )
        raise BrokenRule(Rule.FRACTIONAL_HU, found)
    target[...] = rounded


def _stored_values(stored: npt.NDArray[Any], header: Header) -> tuple[npt.NDArray[Any], int, int]:
    """The stored values with their sign, their minimum and maximum. Bits beyond BitsStored must not be in use."""
    bits, name = header.bits_stored, header.path.name
    if not 0 < bits <= header.bits_allocated or header.high_bit != bits - 1:
        layout = f"BitsAllocated {header.bits_allocated}, BitsStored {bits}, HighBit {header.high_bit}"
        found = f"{name} has {layout}; the high bit of CT is BitsStored - 1."
        raise BrokenRule(Rule.PIXEL_LAYOUT, found)
    low, high = int(stored.min()), int(stored.max())
    half = 1 << bits - 1
    if header.signed and low >= 0 and half <= high < 2 * half:
        # Written, or decoded, without the sign carried into the unused bits.
        stored = stored.astype(np.int32)
        stored -= (stored >= half) * (2 * half)
        low, high = int(stored.min()), int(stored.max())
    least, most = (-half, half - 1) if header.signed else (0, 2 * half - 1)
    if low < least or high > most:
        found = f"{name} holds stored values {low} to {high}, which {bits} bits cannot ({least} to {most})."
        raise BrokenRule(Rule.PIXEL_LAYOUT, found)
    return stored, low, high
