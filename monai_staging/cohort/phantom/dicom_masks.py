"""Writes the lesions of a phantom as DICOM SEG or RTSTRUCT, from its label map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import CTImageStorage, RTStructureSetStorage, SegmentationStorage

from monai_staging.cohort.dicom.objects import code_item, encode, new_file, reference_item
from monai_staging.cohort.dicom.structures import Contour, ImageSeries, Structure, add_structures, contours_of
from monai_staging.cohort.phantom.dicom_ct import DATE, TIME, CTWriter, describe

LesionName = tuple[int, str]  # label and name


def _slices(ct: CTWriter, label: int) -> list[tuple[int, NDArray[np.bool_]]]:
    """The slices that hold a label, with its mask (rows, columns)."""
    canvas = ct.canvas
    where = canvas.where(label)
    found = []
    for k in range(where[0].start, where[0].stop):
        mask = canvas.labels[k] == label
        if mask.any():
            found.append((k, mask))
    return found


def _segment(number: int, name: str) -> Dataset:
    item = Dataset()
    item.SegmentNumber, item.SegmentLabel = number, name
    item.SegmentAlgorithmType = "MANUAL"
    item.SegmentedPropertyCategoryCodeSequence = DicomSequence(
        [code_item("49755003", "SCT", "Morphologically Abnormal Structure")]
    )
    item.SegmentedPropertyTypeCodeSequence = DicomSequence([code_item("108369006", "SCT", "Neoplasm")])
    return item


def write_seg(path: Path, lesions: Sequence[LesionName], ct: CTWriter) -> None:
    """Writes a binary SEG: one segment per lesion, frames only where it is; segment numbers are the labels' order.

    Segment numbers must count from one without gaps (DICOM PS3.3 C.8.20.4), so the labels must, too.
    """
    identity, canvas = ct.identity, ct.canvas
    scanner = canvas.scanner
    dataset = new_file(SegmentationStorage, identity.uid("seg-image"))
    describe(dataset, identity, "SEG", "seg", 100)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SeriesDescription = "Lesions"
    dataset.ContentDate, dataset.ContentTime = DATE, TIME
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = "1", "1"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.InstanceNumber = "1"
    dataset.ContentLabel, dataset.ContentDescription, dataset.ContentCreatorName = "LESIONS", "", ""
    dataset.SegmentationType = "BINARY"
    dataset.LossyImageCompression = "00"
    dataset.Rows = dataset.Columns = scanner.matrix
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    dataset.SegmentSequence = DicomSequence([_segment(label, name) for label, name in lesions])
    organisation = Dataset()
    organisation.DimensionOrganizationUID = identity.uid("dimensions")
    dataset.DimensionOrganizationSequence = DicomSequence([organisation])
    dataset.DimensionIndexSequence = DicomSequence(
        [
            _dimension(organisation.DimensionOrganizationUID, 0x0062000B, 0x0062000A, "SegmentNumber"),
            _dimension(organisation.DimensionOrganizationUID, 0x00200032, 0x00209113, "ImagePositionPatient"),
        ]
    )
    dataset.SharedFunctionalGroupsSequence = DicomSequence(
        [_shared(scanner.spacing_mm, scanner.slice_thickness_mm, scanner.slice_spacing_mm)]
    )
    frames, groups, used = [], [], set()
    for label, _ in lesions:
        for k, mask in _slices(ct, label):
            frames.append(mask.ravel())
            groups.append(_frame(ct, label, k))
            used.add(k)
    dataset.NumberOfFrames = str(len(frames))
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(groups)
    series = Dataset()
    series.SeriesInstanceUID = identity.series_uid
    series.ReferencedInstanceSequence = DicomSequence([reference_item(CTImageStorage, ct.uid(k)) for k in sorted(used)])
    dataset.ReferencedSeriesSequence = DicomSequence([series])
    bits = np.packbits(np.concatenate(frames), bitorder="little").tobytes()
    dataset.PixelData = bits + b"\0" * (len(bits) % 2)
    dataset["PixelData"].VR = "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(dataset))


def _dimension(organisation: str, pointer: int, group: int, name: str) -> Dataset:
    item = Dataset()
    item.DimensionOrganizationUID = organisation
    item.DimensionIndexPointer, item.FunctionalGroupPointer = pointer, group
    item.DimensionDescriptionLabel = name
    return item


def _shared(spacing_mm: float, thickness_mm: float, between_mm: float) -> Dataset:
    orientation, measures, group = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    measures.SliceThickness = f"{thickness_mm:g}"
    measures.SpacingBetweenSlices = f"{between_mm:g}"
    measures.PixelSpacing = [f"{spacing_mm:.6f}"] * 2
    group.PlaneOrientationSequence = DicomSequence([orientation])
    group.PixelMeasuresSequence = DicomSequence([measures])
    return group


def _frame(ct: CTWriter, label: int, k: int) -> Dataset:
    canvas = ct.canvas
    content, position, segment, derivation, group = (Dataset() for _ in range(5))
    content.DimensionIndexValues = [label, k + 1]
    position.ImagePositionPatient = [f"{v:.6f}" for v in (canvas.origin[0], canvas.origin[1], canvas.z_mm(k))]
    segment.ReferencedSegmentNumber = label
    source = reference_item(CTImageStorage, ct.uid(k))
    source.PurposeOfReferenceCodeSequence = DicomSequence(
        [code_item("121322", "DCM", "Source image for image processing operation")]
    )
    source.SpatialLocationsPreserved = "YES"
    derivation.SourceImageSequence = DicomSequence([source])
    derivation.DerivationCodeSequence = DicomSequence([code_item("113076", "DCM", "Segmentation")])
    group.FrameContentSequence = DicomSequence([content])
    group.PlanePositionSequence = DicomSequence([position])
    group.SegmentIdentificationSequence = DicomSequence([segment])
    group.DerivationImageSequence = DicomSequence([derivation])
    return group


def write_rtstruct(path: Path, lesions: Sequence[LesionName], ct: CTWriter) -> None:
    """Writes an RTSTRUCT: one ROI per lesion, numbered by its label, with the outlines of every slice."""
    identity, canvas = ct.identity, ct.canvas
    dataset = new_file(RTStructureSetStorage, identity.uid("rtstruct-image"))
    describe(dataset, identity, "RTSTRUCT", "rtstruct", 101)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SeriesDescription = "Lesions"
    dataset.OperatorsName = ""
    dataset.InstanceNumber = "1"
    dataset.StructureSetDate, dataset.StructureSetTime = DATE, TIME
    images = [(CTImageStorage, ct.uid(k)) for k in range(canvas.shape[0])]
    drawn_on = ImageSeries(identity.study_uid, identity.series_uid, identity.frame_uid, images)
    structures = [Structure(label, name, "MANUAL", _contours(ct, label)) for label, name in lesions]
    add_structures(dataset, "LESIONS", drawn_on, structures)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(dataset))


def _contours(ct: CTWriter, label: int) -> list[Contour]:
    canvas = ct.canvas
    found = []
    for k, mask in _slices(ct, label):
        for line in contours_of(mask):
            xy = line * canvas.scanner.spacing_mm + canvas.origin[:2]
            points = np.column_stack([xy, np.full(len(xy), canvas.z_mm(k))])
            found.append(Contour(points, (CTImageStorage, ct.uid(k))))
    return found
