"""What a compressed frame says of itself: whether it is whole, and whether compressing it lost anything.

JPEG (ITU-T T.81), JPEG-LS (T.87) and JPEG 2000 (T.800, T.814 for HTJ2K) are marker segments around coded data. Decoders
fill in what a cut codestream misses without a word, and a transfer syntax that may be lossy does not say if it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from monai_staging.cohort.dicom.header import Header

if TYPE_CHECKING:
    from pydicom import Dataset

_JPEG = "1.2.840.10008.1.2.4."
_CODESTREAMS = frozenset(
    _JPEG + own for own in (*map(str, range(50, 71)), "80", "81", "90", "91", "92", "93", "201", "202", "203")
)
LOSSY = frozenset(_JPEG + str(own) for own in (*range(50, 57), *range(59, 65)))
"""Transfer syntaxes that lose something by definition: JPEG's processes with a cosine transform."""
MAYBE_LOSSY = frozenset(_JPEG + own for own in ("81", "91", "93", "203"))
"""Transfer syntaxes that may lose something or not: JPEG-LS near-lossless, JPEG 2000, its part 2, HTJ2K."""
_J2K_MAYBE_LOSSY = frozenset(_JPEG + own for own in ("91", "93", "203"))

_END = b"\xff\xd9"
_PADDED = 16
# Segments of JPEG and JPEG-LS.
_LOSSLESS_FRAMES = (0xC3, 0xC7, 0xCB, 0xCF)
_NO_FRAMES = (0xC4, 0xC8, 0xCC)
_JPEG_LS_FRAME, _SCAN = 0xF7, 0xDA
# Segments of JPEG 2000.
_J2K_START, _COD, _COC, _TILE, _DATA = b"\xff\x4f\xff\x51", 0x52, 0x53, 0x90, 0x93
_REVERSIBLE = 1


def cut_frame(dataset: Dataset) -> int | None:
    """The number, from 1, of the first frame whose codestream does not end; ``None`` where all do.

    A syntax without codestreams of the three kinds gives ``None``.

    Raises:
        ValueError: the fragments cannot be told apart.
    """
    number, count = 0, int(dataset.get("NumberOfFrames") or 1)
    for number, frame in enumerate(_encapsulated(dataset, count), start=1):
        # A fragment of odd length is padded with a zero; some writers pad with more, or with other bytes. The marker
        # cannot occur within coded data.
        if _END not in frame.rstrip(b"\0")[-_PADDED:]:
            return number
    return number + 1 if number < count and _has_codestreams(dataset) else None


def wrong_size(dataset: Dataset) -> str | None:
    """What a codestream says of its size, where that is not the data set's: decoders make room for what it says.

    Raises:
        ValueError: the fragments cannot be told apart.
    """
    stated = (int(dataset.Columns), int(dataset.Rows))
    for number, frame in enumerate(_encapsulated(dataset, int(dataset.get("NumberOfFrames") or 1)), start=1):
        coded = _size(frame)
        if coded is not None and coded != stated:
            sizes = [" x ".join(map(str, size)) for size in (coded, stated)]
            return f"the codestream of frame {number} is of {sizes[0]} pixels, the file says {sizes[1]}"
    return None


def _has_codestreams(dataset: Dataset) -> bool:
    return str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", "")) in _CODESTREAMS


def _encapsulated(dataset: Dataset, count: int) -> Iterator[bytes]:
    """The first ``count`` codestreams; none of a syntax that has no codestreams."""
    from pydicom.encaps import generate_frames

    if not _has_codestreams(dataset):
        return iter(())
    table = (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
    offsets = (table[0], table[1]) if table[0] and table[1] else None
    return islice(generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=offsets), count)


def _size(frame: bytes) -> tuple[int, int] | None:
    """Columns and rows of a codestream; ``None`` where it does not say."""
    try:
        if not frame.startswith(b"\xff\xd8"):
            start = frame.find(_J2K_START)
            if start < 0:
                return None
            right, bottom, left, top = (
                int.from_bytes(frame[at : at + 4], "big") for at in range(start + 8, start + 24, 4)
            )
            return right - left, bottom - top
        for marker, at in _segments(frame):
            if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES or marker == _JPEG_LS_FRAME:
                rows, columns = (int.from_bytes(frame[own : own + 2], "big") for own in (at + 5, at + 7))
                return columns, rows
    except IndexError:  # it ends within its headers
        pass
    return None


def loss_of(header: Header) -> str | None:
    """What speaks against the pixels of a file being the scanner's: a few words, or ``None``.

    The transfer syntax, LossyImageCompression, then what each codestream says: JPEG its process, JPEG-LS its NEAR, JPEG
    2000 its wavelet. A reversible wavelet may still have been cut at a rate, which only the header can deny.
    """
    if header.syntax in LOSSY:
        return f"was compressed with loss ({_name(header.syntax)})"
    if header.lossy:
        return "was compressed with loss (LossyImageCompression 01)"
    if header.syntax not in _CODESTREAMS:
        return None
    told = [_coding(frame) for frame in _frames(header)]
    lossy = next((how for lossless, how in told if lossless is False), None)
    if lossy is not None:
        return f"was compressed with loss ({lossy})"
    if header.syntax not in MAYBE_LOSSY:
        return None
    if not told or any(lossless is None for lossless, _ in told):
        return f"is not stated to be lossless ({_name(header.syntax)})"
    if header.syntax in _J2K_MAYBE_LOSSY and not header.stated_lossless:
        return (
            f"is not stated to be lossless ({_name(header.syntax)}, reversible wavelet, LossyImageCompression not 00)"
        )
    return None


def _frames(header: Header) -> Iterator[bytes]:
    """The codestreams of a file, as far as they can be told apart; what is wrong with the rest, decoding will say."""
    from pydicom.encaps import generate_frames

    if header.pixel_offset is None or header.pixel_bytes is not None:
        return
    try:
        with open(header.path, "rb") as file:
            file.seek(header.pixel_offset)
            yield from generate_frames(file, number_of_frames=header.frames)
    # pydicom's ways to say that the fragments end early.
    except (OSError, EOFError, ValueError, RuntimeError):
        return


def _coding(frame: bytes) -> tuple[bool | None, str]:
    """Whether a codestream is lossless (``None`` where it does not say), and by what."""
    try:
        if frame.startswith(b"\xff\xd8"):
            return _jpeg(frame)
        start = frame.find(_J2K_START)
        return (None, "") if start < 0 else _jpeg_2000(frame, start)
    except IndexError:  # it ends within its headers
        return None, ""


def _segments(frame: bytes) -> Iterator[tuple[int, int]]:
    """The marker segments of a JPEG or JPEG-LS up to its coded data: what they are, and where."""
    at = 2
    while frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        yield marker, at
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")


def _jpeg(frame: bytes) -> tuple[bool | None, str]:
    for marker, at in _segments(frame):
        if marker in _LOSSLESS_FRAMES:
            return True, "lossless process"
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            return False, f"JPEG process of marker FF{marker:02X}"
        if marker == _SCAN:  # of JPEG-LS: every other frame has been named by now
            near = frame[at + 5 + 2 * frame[at + 4]]
            return near == 0, f"JPEG-LS NEAR {near}"
    return None, ""


def _jpeg_2000(frame: bytes, start: int) -> tuple[bool | None, str]:
    """The wavelets of the main header and of every tile-part's."""
    wide = int.from_bytes(frame[start + 40 : start + 42], "big") > 256  # components are then numbered in two bytes
    at, tile, wavelets = start + 2, start, set()
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xD9:
            break
        if marker == _DATA:
            length = int.from_bytes(frame[tile + 6 : tile + 10], "big")
            if tile + length <= at:  # 0: the last tile-part runs to the end
                break
            at = tile + length
            continue
        if marker == _TILE:
            tile = at
        elif marker == _COD:
            wavelets.add(frame[at + 13])
        elif marker == _COC:
            wavelets.add(frame[at + (11 if wide else 10)])
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    if not wavelets:
        return None, ""
    if wavelets == {_REVERSIBLE}:
        return True, "reversible wavelet"
    return False, "irreversible wavelet of JPEG 2000"


def _name(syntax: str) -> str:
    from pydicom.uid import UID

    return UID(syntax).name
