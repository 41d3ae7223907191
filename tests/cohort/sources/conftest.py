"""Trees of small series, and the annotations drawn on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

WriteSeries = Callable[..., Any]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


@pytest.fixture
def patient_series(write_ct: Callable[..., Any]) -> WriteSeries:
    """Writes a CT series of a patient into a folder under ``raw``; ``number`` tells series apart."""

    def write(patient: str, folder: str, number: int = 1, **attributes: Any) -> Any:
        def edit(_: int, ds: Dataset) -> None:
            ds.PatientID = patient
            for name, value in attributes.items():
                setattr(ds, name, value)

        return write_ct(edit, folder=f"raw/{folder}", uid=f"1.2.826.0.1.3680043.10.{number}", count=5, shape=(12, 14))

    return write


@pytest.fixture
def write_rtstruct() -> Callable[..., Path]:
    """Writes an RTSTRUCT of rectangles: name -> (first and last column, first and last row, slices)."""

    def write(path: Path, series: Any, rois: Mapping[str, tuple[int, int, int, int, tuple[int, ...]]]) -> Path:
        image = pydicom.dcmread(series.files[0], stop_before_pixels=True)
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = RTStructureSetStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
        ds.Modality = "RTSTRUCT"
        for name in ("PatientID", "StudyInstanceUID"):
            setattr(ds, name, getattr(image, name))
        ds.SeriesInstanceUID = generate_uid()
        frame, study, own = Dataset(), Dataset(), Dataset()
        own.SeriesInstanceUID = image.SeriesInstanceUID
        study.RTReferencedSeriesSequence = [own]
        frame.FrameOfReferenceUID = image.FrameOfReferenceUID
        frame.RTReferencedStudySequence = [study]
        ds.ReferencedFrameOfReferenceSequence = [frame]
        ds.StructureSetROISequence, ds.ROIContourSequence = [], []
        to_lps = np.diag([-1, -1, 1, 1]) @ series.affine
        for number, (name, (i0, i1, j0, j1, slices)) in enumerate(rois.items(), start=1):
            roi, outline = Dataset(), Dataset()
            roi.ROINumber, roi.ROIName = number, name
            outline.ReferencedROINumber, outline.ContourSequence = number, []
            for k in slices:
                corners = [(i0 - 0.5, j0 - 0.5), (i1 + 0.5, j0 - 0.5), (i1 + 0.5, j1 + 0.5), (i0 - 0.5, j1 + 0.5)]
                points = [to_lps @ (i, j, k, 1) for i, j in corners]
                contour = Dataset()
                contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
                contour.ContourData = [f"{value:.4f}" for point in points for value in point[:3]]
                outline.ContourSequence.append(contour)
            ds.StructureSetROISequence.append(roi)
            ds.ROIContourSequence.append(outline)
        path.parent.mkdir(parents=True, exist_ok=True)
        ds.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def write_seg() -> Callable[..., Path]:
    """Writes a SEG with highdicom: label -> mask (slice, row, column) in order along the normal."""

    def write(path: Path, series: Any, segments: Mapping[str, np.ndarray]) -> Path:
        images = [pydicom.dcmread(file) for file in series.files]
        for image in images:
            for name in ("PatientName", "PatientBirthDate", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"):
                setattr(image, name, "")
            image.ReferringPhysicianName = ""
            image.SliceThickness = 3
        tumour = Code("108369006", "SCT", "Neoplasm")
        morphology = Code("49755003", "SCT", "Morphologically Abnormal Structure")
        seg = highdicom.seg.Segmentation(
            source_images=images,
            pixel_array=np.stack(list(segments.values()), axis=-1).astype(np.uint8),
            segmentation_type=SegmentationTypeValues.BINARY,
            segment_descriptions=[
                SegmentDescription(number, label, morphology, tumour, SegmentAlgorithmTypeValues.MANUAL)
                for number, label in enumerate(segments, start=1)
            ],
            series_instance_uid=generate_uid(),
            series_number=100,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="test",
            manufacturer_model_name="test",
            software_versions="1",
            device_serial_number="1",
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        seg.save_as(path)
        return path

    return write
