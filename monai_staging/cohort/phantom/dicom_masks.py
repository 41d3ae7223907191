"""Writes the lesions of a phantom as DICOM SEG or RTSTRUCT, from its label map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import CTImageStorage, RTStructureSetStorage, SegmentationStorage
from skimage.measure import find_contours

from monai_staging.cohort.phantom.dicom_ct import DATE, TIME, CTWriter, describe, encode, new_file

LesionName = tuple[int, str]  # label and name
COLOURS = ((255, 80, 80), (80, 200, 120), (80, 140, 255), (240, 200, 60), (200, 90, 220), (90, 210, 220))


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _reference(sop_class: str, sop_instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return item


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
        [_code("49755003", "SCT", "Morphologically Abnormal Structure")]
    )
    item.SegmentedPropertyTypeCodeSequence = DicomSequence([_code("108369006", "SCT", "Neoplasm")])
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
    series.ReferencedInstanceSequence = DicomSequence([_reference(CTImageStorage, ct.uid(k)) for k in sorted(used)])
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
    source = _reference(CTImageStorage, ct.uid(k))
    source.PurposeOfReferenceCodeSequence = DicomSequence(
        [_code("121322", "DCM", "Source image for image processing operation")]
    )
    source.SpatialLocationsPreserved = "YES"
    derivation.SourceImageSequence = DicomSequence([source])
    derivation.DerivationCodeSequence = DicomSequence([_code("113076", "DCM", "Segmentation")])
    group.FrameContentSequence = DicomSequence([content])
    group.PlanePositionSequence = DicomSequence([position])
    group.SegmentIdentificationSequence = DicomSequence([segment])
    group.DerivationImageSequence = DicomSequence([derivation])
    return group


def contours_of(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed outlines (N, 2) as (column, row) of a slice's mask, half way between pixel centres inside and outside.

    A pixel belongs to the mask exactly where its centre is inside an odd number of outlines.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    r0, c0 = rows[0] - 1, columns[0] - 1
    part = np.pad(mask[r0 + 1 : rows[-1] + 1, c0 + 1 : columns[-1] + 1].astype(np.float32), 1)
    lines = find_contours(part, 0.5)
    return [line[:-1, ::-1] + (c0, r0) for line in lines]


def write_rtstruct(path: Path, lesions: Sequence[LesionName], ct: CTWriter) -> None:
    """Writes an RTSTRUCT: one ROI per lesion, numbered by its label, with the outlines of every slice."""
    identity, canvas = ct.identity, ct.canvas
    dataset = new_file(RTStructureSetStorage, identity.uid("rtstruct-image"))
    describe(dataset, identity, "RTSTRUCT", "rtstruct", 101)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SeriesDescription = "Lesions"
    dataset.OperatorsName = ""
    dataset.InstanceNumber = "1"
    dataset.StructureSetLabel, dataset.StructureSetDate, dataset.StructureSetTime = "LESIONS", DATE, TIME
    dataset.ApprovalStatus = "UNAPPROVED"
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = identity.series_uid
    series.ContourImageSequence = DicomSequence([_reference(CTImageStorage, ct.uid(k)) for k in range(canvas.shape[0])])
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", identity.study_uid
    study.RTReferencedSeriesSequence = DicomSequence([series])
    frame.FrameOfReferenceUID = identity.frame_uid
    frame.RTReferencedStudySequence = DicomSequence([study])
    dataset.ReferencedFrameOfReferenceSequence = DicomSequence([frame])
    rois, outlines, observations = [], [], []
    for label, name in lesions:
        roi, outline, observation = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ReferencedFrameOfReferenceUID = str(label), identity.frame_uid
        roi.ROIName, roi.ROIGenerationAlgorithm = name, "MANUAL"
        outline.ROIDisplayColor = list(COLOURS[label % len(COLOURS)])
        outline.ReferencedROINumber = str(label)
        outline.ContourSequence = DicomSequence(_contours(ct, label))
        observation.ObservationNumber, observation.ReferencedROINumber = str(label), str(label)
        observation.RTROIInterpretedType, observation.ROIInterpreter = "GTV", ""
        rois.append(roi)
        outlines.append(outline)
        observations.append(observation)
    dataset.StructureSetROISequence = DicomSequence(rois)
    dataset.ROIContourSequence = DicomSequence(outlines)
    dataset.RTROIObservationsSequence = DicomSequence(observations)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(dataset))


def _contours(ct: CTWriter, label: int) -> list[Dataset]:
    canvas = ct.canvas
    spacing = canvas.scanner.spacing_mm
    items = []
    for k, mask in _slices(ct, label):
        z = f"{canvas.z_mm(k):.4f}"
        for line in contours_of(mask):
            item = Dataset()
            item.ContourImageSequence = DicomSequence([_reference(CTImageStorage, ct.uid(k))])
            item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", str(len(line))
            xy = line * spacing + canvas.origin[:2]
            item.ContourData = [text for x, y in xy for text in (f"{x:.4f}", f"{y:.4f}", z)]
            items.append(item)
    return items
