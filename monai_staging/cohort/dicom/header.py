"""One file's header: what grouping, geometry and pixels need, read once and kept as plain values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from monai_staging.cohort.dicom.opened import OpenDicom
from monai_staging.cohort.dicom.rules import BrokenRule, Rule
from monai_staging.cohort.dicom.values import Floats, integer, join, label, numbers, text, words

if TYPE_CHECKING:
    from pydicom import Dataset

ATTRIBUTES = {
    "PatientSex": 0x00100040,
    "PatientAge": 0x00101010,
    "StudyDate": 0x00080020,
    "StudyDescription": 0x00081030,
    "SeriesDescription": 0x0008103E,
    "Manufacturer": 0x00080070,
    "SliceThickness": 0x00180050,
    "ConvolutionKernel": 0x00181210,
    "ContrastBolusAgent": 0x00180010,
}
"""Text a cohort may want of a series, kept as it stands in its first file."""

_TAGS = [
    *ATTRIBUTES.values(),
    0x00080005,  # SpecificCharacterSet
    0x00080008,  # ImageType
    0x00080016,  # SOPClassUID
    0x00080018,  # SOPInstanceUID
    0x00080060,  # Modality
    0x00081115,  # ReferencedSeriesSequence
    0x00100020,  # PatientID
    0x00181120,  # GantryDetectorTilt
    0x0020000D,  # StudyInstanceUID
    0x0020000E,  # SeriesInstanceUID
    0x00200032,  # ImagePositionPatient
    0x00200037,  # ImageOrientationPatient
    0x00200052,  # FrameOfReferenceUID
    0x00280002,  # SamplesPerPixel
    0x00280004,  # PhotometricInterpretation
    0x00280008,  # NumberOfFrames
    0x00280010,  # Rows
    0x00280011,  # Columns
    0x00280030,  # PixelSpacing
    0x00280100,  # BitsAllocated
    0x00280101,  # BitsStored
    0x00280102,  # HighBit
    0x00280103,  # PixelRepresentation
    0x00281052,  # RescaleIntercept
    0x00281053,  # RescaleSlope
    0x00281054,  # RescaleType
    0x00282110,  # LossyImageCompression
    0x30060010,  # ReferencedFrameOfReferenceSequence
    0x52009229,  # SharedFunctionalGroupsSequence
    0x52009230,  # PerFrameFunctionalGroupsSequence
]
# Functional groups of GantryDetectorTilt; files converted from single frames have it among what had no place.
_TILTS = (
    "CTAcquisitionDetailsSequence",
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)
# (implicit VR, little endian) -> transfer syntax
_PLAIN_SYNTAXES: dict[tuple[bool | None, bool | None], str] = {
    (True, True): "1.2.840.10008.1.2",
    (False, True): "1.2.840.10008.1.2.1",
    (False, False): "1.2.840.10008.1.2.2",
}


@dataclass(frozen=True, slots=True)
class Plane:
    """One image plane: a slice's file, or a frame of a multi-frame file. Vectors and positions in LPS millimetres.

    ``None`` where the header has nothing usable; whether that matters is for the rules to say.
    """

    frame: int
    position: Floats | None
    orientation: Floats | None
    pixel_spacing: Floats | None
    slope: float | None
    intercept: float | None
    rescale_type: str
    image_type: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """One file. ``pixel_offset`` and ``pixel_bytes`` locate uncompressed pixels in it, ``None`` where they are not.

    ``lossy`` and ``stated_lossless`` are LossyImageCompression 01 and 00; neither where the header does not say.
    """

    path: Path
    patient: str
    study: str
    series: str
    sop_uid: str
    sop_class: str
    modality: str
    frame_of_reference: str
    syntax: str
    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    lossy: bool
    tilt_degrees: float
    pixel_offset: int | None
    pixel_bytes: int | None
    file_bytes: int
    planes: tuple[Plane, ...] = field(repr=False)
    references: tuple[str, ...] = field(repr=False)
    attributes: Mapping[str, str] = field(repr=False)
    stated_lossless: bool = False


def read_header(path: Path) -> Header:
    """Reads ``path`` up to its pixels.

    Raises:
        BrokenRule: it is not DICOM, or cannot be parsed.
    """
    from pydicom import dcmread

    try:
        with OpenDicom(path) as file:
            dataset = dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
            # A data set without file meta information is written as pydicom found it to be.
            syntax = str(dataset.file_meta.get("TransferSyntaxUID", "")) or _PLAIN_SYNTAXES[dataset.original_encoding]
            offset, length = _locate_pixels(file, dataset, syntax)
            return _header(path, dataset, syntax, offset, length, os.fstat(file.fileno()).st_size)
    except BrokenRule:
        raise
    # A damaged file fails in pydicom in many ways (struct, value, key, attribute errors); all mean the same here.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BrokenRule(Rule.UNREADABLE, f"{path.name} cannot be parsed as DICOM ({reason}).") from error


def _header(path: Path, ds: Dataset, syntax: str, offset: int | None, length: int | None, size: int) -> Header:
    # Some anonymisers empty these in the data set; the file meta information holds the same by definition.
    meta = ds.file_meta
    sop_class = text(ds, 0x00080016) or str(meta.get("MediaStorageSOPClassUID", ""))
    if not sop_class:
        raise BrokenRule(Rule.UNREADABLE, f"{path.name} cannot be parsed as DICOM (it has no SOPClassUID).")
    modality = text(ds, 0x00080060)
    rows, columns = integer(ds, 0x00280010), integer(ds, 0x00280011)
    bits_stored = integer(ds, 0x00280101)
    is_image = rows > 0 and modality not in ("SEG", "RTSTRUCT")
    return Header(
        path=path,
        patient=label(ds, 0x00100020),
        study=text(ds, 0x0020000D),
        series=text(ds, 0x0020000E),
        sop_uid=text(ds, 0x00080018) or str(meta.get("MediaStorageSOPInstanceUID", "")),
        sop_class=sop_class,
        modality=modality,
        frame_of_reference=text(ds, 0x00200052) or _referenced_frame_of_reference(ds),
        syntax=syntax,
        rows=rows,
        columns=columns,
        frames=int(float(text(ds, 0x00280008) or 1)),
        samples=integer(ds, 0x00280002, 1),
        photometric=text(ds, 0x00280004),
        bits_allocated=integer(ds, 0x00280100),
        bits_stored=bits_stored,
        high_bit=integer(ds, 0x00280102, bits_stored - 1),
        signed=integer(ds, 0x00280103) == 1,
        lossy=text(ds, 0x00282110) == "01",
        stated_lossless=text(ds, 0x00282110) == "00",
        tilt_degrees=_tilt(ds) if is_image else 0.0,
        pixel_offset=offset,
        pixel_bytes=length,
        file_bytes=size,
        planes=_planes(ds) if is_image else (),
        references=_references(ds),
        attributes=_attributes(tuple((name, label(ds, tag)) for name, tag in ATTRIBUTES.items() if tag in ds)),
    )


@lru_cache(maxsize=256)
def _attributes(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """One mapping for all files that share it: a tree may hold a hundred thousand."""
    return dict(items)


def _locate_pixels(file: BinaryIO, ds: Dataset, syntax: str) -> tuple[int | None, int | None]:
    """Where the value of PixelData starts and how long it says it is; ``file`` stands at the element.

    A length of ``None`` with an offset means encapsulated (compressed) pixels.
    """
    if syntax == "1.2.840.10008.1.2.1.99":  # deflated: nothing lies in the file as it is
        return None, None
    implicit, little = ds.original_encoding
    order: Literal["little", "big"] = "little" if little else "big"
    head = file.read(12)
    if len(head) < 12 or (int.from_bytes(head[:2], order), int.from_bytes(head[2:4], order)) != (0x7FE0, 0x0010):
        return None, None
    start = file.tell()
    length = int.from_bytes(head[4:8] if implicit else head[8:12], order)
    return (start - 4 if implicit else start), (None if length == 0xFFFFFFFF else length)


def _planes(ds: Dataset) -> tuple[Plane, ...]:
    image_type = words(text(ds, 0x00080008))
    top = (
        text(ds, 0x00200032),
        text(ds, 0x00200037),
        text(ds, 0x00280030),
        text(ds, 0x00281053),
        text(ds, 0x00281052),
        text(ds, 0x00281054),
    )
    if 0x52009230 not in ds:
        return (_plane(0, top, image_type),)
    shared = ds.get("SharedFunctionalGroupsSequence") or [{}]
    planes = []
    for frame, own in enumerate(ds.PerFrameFunctionalGroupsSequence):
        values = (
            _group(own, shared[0], "PlanePositionSequence", "ImagePositionPatient"),
            _group(own, shared[0], "PlaneOrientationSequence", "ImageOrientationPatient"),
            _group(own, shared[0], "PixelMeasuresSequence", "PixelSpacing"),
            _group(own, shared[0], "PixelValueTransformationSequence", "RescaleSlope"),
            _group(own, shared[0], "PixelValueTransformationSequence", "RescaleIntercept"),
            _group(own, shared[0], "PixelValueTransformationSequence", "RescaleType"),
        )
        frame_type = _group(own, shared[0], "CTImageFrameTypeSequence", "FrameType")
        planes.append(_plane(frame, values, words(frame_type) if frame_type else image_type))
    return tuple(planes)


def _tilt(ds: Dataset) -> float:
    """GantryDetectorTilt in degrees, the largest of a multi-frame file's; 0 where it is not stated."""
    found = [text(ds, 0x00181120)]
    groups = [*(ds.get("SharedFunctionalGroupsSequence") or []), *(ds.get("PerFrameFunctionalGroupsSequence") or [])]
    found += [join(items[0].get("GantryDetectorTilt")) for own in groups for name in _TILTS if (items := own.get(name))]
    return max((numbers(value, 1) or (0.0,) for value in found), key=lambda value: abs(value[0]))[0]


def _plane(frame: int, values: tuple[str, ...], image_type: tuple[str, ...]) -> Plane:
    position, orientation, spacing, slope, intercept, rescale_type = values
    return Plane(
        frame=frame,
        position=numbers(position, 3),
        orientation=numbers(orientation, 6),
        pixel_spacing=numbers(spacing, 2),
        slope=(numbers(slope, 1) or (None,))[0],
        intercept=(numbers(intercept, 1) or (None,))[0],
        rescale_type=rescale_type,
        image_type=image_type,
    )


def _group(own: Any, shared: Any, sequence: str, keyword: str) -> str:
    """An attribute of a functional group, the frame's own before the shared one, as backslash-separated text."""
    for groups in (own, shared):
        items = groups.get(sequence)
        if items:
            return join(items[0].get(keyword))
    return ""


def _references(ds: Dataset) -> tuple[str, ...]:
    """SeriesInstanceUIDs that a SEG or an RTSTRUCT was drawn on."""
    found: dict[str, None] = {}
    for item in ds.get("ReferencedSeriesSequence") or []:
        found[str(item.get("SeriesInstanceUID", ""))] = None
    for frame in ds.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                found[str(series.get("SeriesInstanceUID", ""))] = None
    return tuple(uid for uid in found if uid)


def _referenced_frame_of_reference(ds: Dataset) -> str:
    items = ds.get("ReferencedFrameOfReferenceSequence") or []
    return str(items[0].get("FrameOfReferenceUID", "")) if items else ""
