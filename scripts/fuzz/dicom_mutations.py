"""What is done to a DICOM file: to its elements, its sequences, its encoding, its codestreams, its bytes."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator

import hostile
import pydicom
from dicom_files import PACKED, PLAIN, encode
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

CLAIMS = (
    *("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel"),
    *("PixelRepresentation", "PhotometricInterpretation", "PlanarConfiguration"),
)
GEOMETRY = (
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    *("RescaleSlope", "RescaleIntercept", "GantryDetectorTilt", "ContourData"),
)
IDENTITY = (
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality", "ImageType"),
    *("FrameOfReferenceUID", "SpecificCharacterSet", "RescaleType", "LossyImageCompression", "SegmentationType"),
    *("ReferencedSegmentNumber", "SegmentNumber", "ROINumber", "ReferencedROINumber", "ContourGeometricType"),
    *("NumberOfContourPoints", "MaximumFractionalValue", "ReferencedFrameOfReferenceUID", "ROIName", "PatientAge"),
)
UNKNOWN_SYNTAXES = ("1.2.3", "", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.98")  # fmt: skip
VRS = ("UN", "OB", "OW", "SQ", "DS", "IS", "US", "SS", "UL", "FD", "FL", "AT", "UI", "PN", "LO", "UT", "OV", "??")
DEEP = 3000


def mutate(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """One file with one to three things done to it, and what they were."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        written = _syntax(dataset)
    except Exception:  # a difficult file that pydicom does not read whole: its bytes can still be changed
        return hostile.mutate_bytes(rng, content)
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        change = rng.choices(list(CHANGES), list(CHANGES.values()))[0]
        try:
            done.append(change(rng, dataset) or "nothing")
        except Exception:  # pydicom stumbles over what was done before; that is for the reader to do
            break
    declared = written
    if rng.random() < 0.06:
        declared = rng.choice((*PLAIN, *PACKED, *UNKNOWN_SYNTAXES))
        done.append(f"declared as {declared!r}")
    if rng.random() < 0.04 and written in PLAIN:
        written = rng.choice(PLAIN)
        done.append(f"written as {written}")
    try:
        content = encode(dataset, written=written if written in PLAIN else ExplicitVRLittleEndian, declared=declared)
    except Exception:  # not every damage can be written by pydicom
        done = []
    if not done or rng.random() < 0.25:
        try:
            content, how = rng.choice(ON_BYTES)(rng, content)
        except Exception:  # damaged so far that it cannot be taken apart for more
            content, how = hostile.mutate_bytes(rng, content)
        done.append(how)
    return content, "; ".join(done)


def _syntax(dataset: Dataset) -> str:
    plain = {(True, True): ImplicitVRLittleEndian, (False, False): ExplicitVRBigEndian}
    return str(dataset.file_meta.get("TransferSyntaxUID", "")) or str(
        plain.get(dataset.original_encoding, ExplicitVRLittleEndian)
    )


def _everywhere(dataset: Dataset, depth: int = 0) -> Iterator[tuple[Dataset, BaseTag]]:
    for tag in list(dataset.keys()):
        yield dataset, tag
        if depth < 6 and _is_sequence(tag):
            for item in dataset[tag].value or ():
                yield from _everywhere(item, depth + 1)


def _is_sequence(tag: BaseTag) -> bool:
    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return False


def _raw(dataset: Dataset, tag: BaseTag, vr: str, value: bytes) -> None:
    value += b"\0" * (len(value) % 2)
    dataset._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def _number(rng: random.Random, vr: str) -> bytes:
    if vr in ("US", "SS"):
        return struct.pack("<H", rng.choice(hostile.COUNTS))
    if vr in ("UL", "SL", "AT"):
        return struct.pack("<I", rng.choice((*hostile.COUNTS, 2**31, 2**32 - 1)))
    if vr == "FD":
        return struct.pack("<d", rng.choice((*hostile.FLOATS, 1e308)))
    return struct.pack("<f", rng.choice(hostile.FLOATS))


def _value(rng: random.Random, vr: str) -> bytes:
    if vr in ("US", "SS", "UL", "SL", "FD", "FL", "AT") and rng.random() < 0.8:
        return _number(rng, vr) * rng.choice((1, 1, 1, 0, 2, 3))
    if vr in ("OB", "OW", "UN"):
        return rng.randbytes(rng.choice((0, 1, 2, 64, 512)))
    return rng.choice(hostile.TEXTS).encode("utf-8", "surrogatepass")


def claim(rng: random.Random, dataset: Dataset) -> str:
    """A size, or a layout of pixels, that is not there."""
    return _set_one(rng, dataset, CLAIMS, add=0.9)


def geometry(rng: random.Random, dataset: Dataset) -> str:
    """A position, direction, spacing or rescale of no use, in the file or in a functional group."""
    keyword = rng.choice(GEOMETRY)
    tag = Tag(tag_for_keyword(keyword))
    owners = [owner for owner, own in _everywhere(dataset) if own == tag] or [dataset]
    owner = rng.choice(owners)
    if tag in owner and rng.random() < 0.5:  # one of its numbers, the others as they are
        parts = str(_text(owner, tag)).split("\\")
        parts[rng.randrange(len(parts))] = rng.choice(hostile.TEXTS)
        value = "\\".join(parts)
    else:
        value = rng.choice(hostile.TEXTS)
    _raw(owner, tag, "DS", value.encode("utf-8", "surrogatepass"))
    return f"{keyword} {value[:40]!r}"


def _text(dataset: Dataset, tag: BaseTag) -> str:
    value = dataset.get_item(tag).value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return "\\".join(map(str, value)) if hasattr(value, "__iter__") and not isinstance(value, str) else str(value)


def identity(rng: random.Random, dataset: Dataset) -> str:
    """Who, what and by whom: another value."""
    return _set_one(rng, dataset, IDENTITY, add=0.3)


def _set_one(rng: random.Random, dataset: Dataset, keywords: tuple[str, ...], add: float) -> str:
    keyword = rng.choice(keywords)
    tag = Tag(tag_for_keyword(keyword))
    owners = [owner for owner, own in _everywhere(dataset) if own == tag]
    if not owners and rng.random() > add:
        return ""
    owner = rng.choice(owners or [dataset])
    vr = str(dictionary_VR(tag)).split(" ")[0]
    value = str(rng.choice(hostile.COUNTS)).encode() if vr == "IS" and rng.random() < 0.7 else _value(rng, vr)
    _raw(owner, tag, vr, value)
    return f"{keyword} {value[:40]!r}"


def remove(rng: random.Random, dataset: Dataset) -> str:
    """An element that is not there."""
    owner, tag = rng.choice(list(_everywhere(dataset)))
    del owner._dict[tag]
    return f"without {tag}"


def any_value(rng: random.Random, dataset: Dataset) -> str:
    """Another value of any element."""
    owner, tag = rng.choice(list(_everywhere(dataset)))
    vr = str(owner.get_item(tag).VR or "UN")
    value = _value(rng, "UN" if vr == "SQ" else vr.split(" ")[0])
    _raw(owner, tag, vr, value)
    return f"{tag} {vr} {value[:40]!r}"


def other_vr(rng: random.Random, dataset: Dataset) -> str:
    """The same bytes, or others, as another kind of value."""
    owner, tag = rng.choice(list(_everywhere(dataset)))
    vr = rng.choice(VRS)
    held = owner.get_item(tag).value
    _raw(owner, tag, vr, held if isinstance(held, bytes) else _value(rng, vr))
    return f"{tag} as {vr}"


def sequence(rng: random.Random, dataset: Dataset) -> str:
    """Items of a sequence removed, repeated, emptied."""
    found = [(owner, tag) for owner, tag in _everywhere(dataset) if _is_sequence(tag) and owner[tag].value]
    if not found:
        return nest(rng, dataset)
    owner, tag = rng.choice(found)
    items = list(owner[tag].value)
    kind = rng.choice(("none", "one less", "twice", "many", "empty items"))
    if kind == "none":
        items = []
    elif kind == "one less":
        items.pop(rng.randrange(len(items)))
    elif kind == "twice":
        items.append(rng.choice(items))
    elif kind == "many":
        items = [rng.choice(items) for _ in range(rng.choice((100, 500)))]
    else:
        items = [Dataset() for _ in items]
    owner[tag].value = items
    return f"{tag} {kind}"


def nest(rng: random.Random, dataset: Dataset) -> str:
    """A sequence within a sequence, deeper than any reader needs to go."""
    depth = rng.choice((3, 50, 500, DEEP))
    tag = rng.choice(("ReferencedSeriesSequence", "SharedFunctionalGroupsSequence", "ReferencedStudySequence"))
    start = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    inner = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + start
    _raw(dataset, Tag(tag_for_keyword(tag)), "SQ", start + inner * depth)
    return f"{tag} {depth} deep"


def pixels(rng: random.Random, dataset: Dataset) -> str:
    """Pixels, or what they were compressed to, damaged."""
    tag = Tag("PixelData")
    element = dataset.get_item(tag) if tag in dataset else None
    if element is None or not isinstance(element.value, bytes):
        return ""
    value, how = hostile.mutate_bytes(rng, element.value)
    if rng.random() < 0.3:
        value, more = _codestream(rng, element.value)
        how = more or how
    packed = element.VR in ("OB", "OW") and getattr(element, "length", 0) == 0xFFFFFFFF or _undefined(element)
    vr = str(element.VR or "OW")
    length = 0xFFFFFFFF if packed else len(value)
    dataset._dict[tag] = RawDataElement(tag, vr, length, value, 0, False, True)
    return f"pixels {how}"


def _undefined(element: object) -> bool:
    return bool(getattr(element, "is_undefined_length", False))


def _codestream(rng: random.Random, value: bytes) -> tuple[bytes, str]:
    """The sizes that a codestream claims of itself."""
    for mark, offset, form in ((b"\xff\x4f\xff\x51", 8, ">I"), (b"\xff\xf7", 5, ">H"), (b"\xff\xc3", 5, ">H")):
        at = value.find(mark)
        if at >= 0:
            changed = bytearray(value)
            size = rng.choice((0, 1, 17, 4096, 65535))
            where = at + offset + struct.calcsize(form) * rng.randrange(2)
            changed[where : where + struct.calcsize(form)] = struct.pack(form, size)
            return bytes(changed), f"codestream claims {size}"
    return value, ""


CHANGES: dict[Callable[[random.Random, Dataset], str], int] = {
    claim: 6, geometry: 6, identity: 4, remove: 3, any_value: 3, other_vr: 2, sequence: 3, nest: 1, pixels: 4,
}  # fmt: skip


def _duplicate(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """An element twice, or two out of order."""
    at = content.find(b"\x28\x00\x10\x00US")
    if at < 0:
        return hostile.mutate_bytes(rng, content)
    element = content[at : at + 10]
    where = rng.choice((at, at + 10, len(content)))
    value = struct.pack("<H", rng.choice(hostile.COUNTS))
    return content[:where] + element[:8] + value + content[where:], "Rows twice"


def _without_preamble(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    return rng.choice(
        ((content[132:], "no preamble"), (content[128:], "no blank preamble"), (b"MZ" * 64 + content[128:], "MZ"),
         (content[:132] + content[132:][300:], "no meta"), (content[:132], "preamble alone"), (b"", "empty"))
    )  # fmt: skip


def bomb(rng: random.Random, content: bytes) -> tuple[bytes, str]:
    """A deflated data set with gigabytes of zeros behind it, in a kilobyte a megabyte."""
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    if _syntax(dataset) not in PLAIN:
        return hostile.mutate_bytes(rng, content)
    content = encode(dataset, written=ExplicitVRLittleEndian, declared=DeflatedExplicitVRLittleEndian)
    meta = 132 + 12 + dataset.file_meta.FileMetaInformationGroupLength
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    head = packer.compress(content[meta:]) + packer.flush(zlib.Z_FULL_FLUSH)
    count = rng.choice((1, 32, 128, 256))
    return content[:meta] + head + hostile.zeros() * count + packer.flush(), f"deflated, then {count * 16} MiB of zeros"


ON_BYTES: tuple[Callable[[random.Random, bytes], tuple[bytes, str]], ...] = (
    *([hostile.mutate_bytes] * 12), _duplicate, _duplicate, _without_preamble, bomb,
)  # fmt: skip
