"""The contours of masks as the structures of an RTSTRUCT, written so that the same voxels come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from skimage.measure import find_contours

from monai_staging.cohort.dicom.objects import reference_item

COLOURS = ((255, 80, 80), (80, 200, 120), (80, 140, 255), (240, 200, 60), (200, 90, 220), (90, 210, 220))
"""Display colours of structures, by their number."""
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"  # retired, and what an RTSTRUCT refers to a study by

Image = tuple[str, str]
"""SOPClassUID and SOPInstanceUID of an image."""


@dataclass(frozen=True, eq=False)
class Contour:
    """One closed outline: its points (points, 3) in LPS mm, the image it lies on, of a multi-frame one the frame."""

    points_mm: NDArray[np.float64]
    image: Image
    frame: int | None = None


@dataclass(frozen=True, eq=False)
class Structure:
    """One structure: its number and name, how it came about (``MANUAL``, ``AUTOMATIC``), and its outlines."""

    number: int
    name: str
    origin: str
    contours: Sequence[Contour]


@dataclass(frozen=True)
class ImageSeries:
    """What a structure set was drawn on, by UIDs."""

    study: str
    series: str
    frame_of_reference: str
    images: Sequence[Image]


def contours_of(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed outlines (N, 2) as (column, row) of a slice's mask, half way between pixel centres inside and outside.

    A pixel belongs to the mask exactly where its centre is inside an odd number of outlines.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    r0, c0 = rows[0] - 1, columns[0] - 1
    part = np.pad(mask[r0 + 1 : rows[-1] + 1, c0 + 1 : columns[-1] + 1].astype(np.float32), 1)
    lines = find_contours(part, 0.5)
    return [line[:-1, ::-1] + (c0, r0) for line in lines]


def add_structures(dataset: Any, label: str, drawn_on: ImageSeries, structures: Sequence[Structure]) -> None:
    """Adds the structure set, its contours and observations to an RTSTRUCT that has patient, study and series.

    Coordinates have four decimals: a tenth of a micrometre.
    """
    dataset.StructureSetLabel = label
    dataset.ApprovalStatus = "UNAPPROVED"
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = drawn_on.series
    series.ContourImageSequence = DicomSequence([reference_item(*image) for image in drawn_on.images])
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_CLASS, drawn_on.study
    study.RTReferencedSeriesSequence = DicomSequence([series])
    frame.FrameOfReferenceUID = drawn_on.frame_of_reference
    frame.RTReferencedStudySequence = DicomSequence([study])
    dataset.ReferencedFrameOfReferenceSequence = DicomSequence([frame])
    rois, outlines, observations = [], [], []
    for structure in structures:
        number = str(structure.number)
        roi, outline, observation = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ReferencedFrameOfReferenceUID = number, drawn_on.frame_of_reference
        roi.ROIName, roi.ROIGenerationAlgorithm = structure.name, structure.origin
        outline.ROIDisplayColor = list(COLOURS[structure.number % len(COLOURS)])
        outline.ReferencedROINumber = number
        outline.ContourSequence = DicomSequence([_contour_item(contour) for contour in structure.contours])
        observation.ObservationNumber, observation.ReferencedROINumber = number, number
        observation.RTROIInterpretedType, observation.ROIInterpreter = "GTV", ""
        rois.append(roi)
        outlines.append(outline)
        observations.append(observation)
    dataset.StructureSetROISequence = DicomSequence(rois)
    dataset.ROIContourSequence = DicomSequence(outlines)
    dataset.RTROIObservationsSequence = DicomSequence(observations)


def _contour_item(contour: Contour) -> Dataset:
    item = Dataset()
    item.ContourImageSequence = DicomSequence([reference_item(*contour.image, contour.frame)])
    item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", str(len(contour.points_mm))
    item.ContourData = [f"{value:.4f}" for value in contour.points_mm.ravel()]
    return item
