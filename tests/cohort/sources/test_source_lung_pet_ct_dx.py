from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.uid import EnhancedCTImageStorage

from monai_staging.cohort.ingest import IngestOptions, ingest
from monai_staging.cohort.sources.lung_pet_ct_dx import read_boxes
from monai_staging.cohort.volume import read_volume
from monai_staging.errors import DataError

XML = """<annotation verified="no"><size><width>{width}</width><height>{height}</height><depth>1</depth></size>
<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax>
</bndbox></object></annotation>"""


def annotate(folder: Path, sop_uid: str, box: tuple[int, int, int, int], name: str = "A", size: Any = (14, 12)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{sop_uid}.xml"
    path.write_text(XML.format(width=size[0], height=size[1], name=name, box=box))
    return path


def sop_uid(series: Any, k: int) -> str:
    return str(pydicom.dcmread(series.files[k], stop_before_pixels=True).SOPInstanceUID)


def test_public_layout(raw: Path, patient_series: Callable[..., Any], tmp_path: Path) -> None:
    manifest = "manifest-1/Lung-PET-CT-Dx"
    first = patient_series("Lung_Dx-A0001", f"{manifest}/Lung_Dx-A0001/04-04-2007-NA-Chest-07990/2.000000-5mm-40805", 1)
    patient_series("Lung_Dx-A0001", f"{manifest}/Lung_Dx-A0001/04-04-2007-NA-Chest-07990/3.000000-lung-1", 2)
    patient_series("Lung_Dx-G0002", f"{manifest}/Lung_Dx-G0002/x/y", 3)
    patient_series("Lung_Dx-A0001", f"{manifest}/Lung_Dx-A0001/04-04-2007-NA-Chest-07990/4.0-PET", 4, Modality="PT")
    for k in (1, 2):
        annotate(raw / "Annotation" / "A0001", sop_uid(first, k), (2, 3, 6, 7))
    annotate(raw / "Annotation" / "A0001", sop_uid(first, 4), (0, 0, 14, 12))
    annotate(raw / "Annotation" / "A0001", sop_uid(first, 3), (2, 3, 6, 7), size=(512, 512))
    annotate(raw / "Annotation" / "A0001", "1.2.3.4", (2, 3, 6, 7))
    annotate(raw / "Annotation" / "G0002", sop_uid(first, 0), (2, 3, 6, 7))
    (raw / "Annotation" / "A0001" / "broken.xml").write_text("<annotation>")
    (raw / "other.xml").write_text("<settings/>")
    pd.DataFrame(
        {
            "NewPatientID": ["A0001", "G0002", "B0003"],
            "Sex": ["M", "F", "M"],
            "Age": [58, 61, 70],
            "T-Stage": ["2", "is", "1c"],
            "N-Stage": [1, 0, 0],
            "\uff2d-Stage": ["1b", "2", "0"],
            "Smoking History": [1, 0, 0],
        }
    ).to_excel(raw / "statistics-clinical-20201221.xlsx", index=False)

    result = ingest("lung-pet-ct-dx", raw, tmp_path / "out")
    cases = {case.series: case for case in result.cohort.cases}
    one = next(case for case in cases.values() if case.lesions)
    assert [case.patient for case in cases.values()].count("Lung_Dx-A0001") == 2
    assert len(cases) == 3
    # The box over the whole of slice 4 has slice 3, whose XML does not fit, between it and the others.
    boxes = [lesion.boxes for lesion in one.lesions]
    assert sorted(boxes) == [((1, 2, 3, 6, 7), (2, 2, 3, 6, 7)), ((4, 0, 0, 14, 12),)]
    tumour = one.lesions[boxes.index(((1, 2, 3, 6, 7), (2, 2, 3, 6, 7)))]
    # Columns 2 to 5 of 0.8 mm from x = 10, rows 3 to 6 of 0.7 mm from y = 20, slices 1 and 2 of 3 mm from z = -212.
    assert tumour.center_mm == pytest.approx((10 - 3.5 * 0.8, 20 - 4.5 * 0.7, -207.5))
    assert tumour.size_mm == pytest.approx((3.2, 2.8, 6.0))
    assert (one.t, one.n, one.m) == (("T2a", "T2b"), ("N1",), ("M1b",))
    assert one.subtype == "adenocarcinoma"
    assert one.clinical == {"age": 58.0, "sex": "M", "smoking": None}
    other = next(case for case in cases.values() if case.patient == "Lung_Dx-G0002")
    assert other.t == ("Tis",)
    assert len(other.m) == 4  # a stray 2
    assert result.report.unknown_codes == {"m": {"2": 1}, "smoking": {"0": 2, "1": 1}}
    assert result.report.patients_without_images == ("Lung_Dx-B0003",)
    rules = sorted(rejection.rule for rejection in result.rejections)
    assert rules == [
        "annotation-of-another-patient",
        "annotation-outside-image",
        "annotation-without-image",
        "not-ct",
        "unreadable",
    ]


def test_boxes_on_a_pet_slice_are_refused(raw: Path, patient_series: Callable[..., Any], tmp_path: Path) -> None:
    first = patient_series("Lung_Dx-A0001", "Lung_Dx-A0001/ct", 1)
    pet = patient_series("Lung_Dx-A0001", "Lung_Dx-A0001/pet", 2, Modality="PT")
    annotate(raw / "A0001", sop_uid(first, 1), (2, 3, 6, 7), name="A")
    path = annotate(raw / "A0001", sop_uid(pet, 1), (2, 3, 6, 7), name="G")
    result = ingest("lung-pet-ct-dx", raw, tmp_path / "out", IngestOptions(workers=1))
    (case,) = result.cohort.cases
    # What is on a PET slice says nothing of the case.
    assert (len(case.lesions), case.subtype) == (1, "adenocarcinoma")
    (rejection,) = (own for own in result.rejections if own.rule == "annotation-without-image")
    assert (rejection.patient, rejection.files) == ("Lung_Dx-A0001", (f"A0001/{path.name}",))
    assert "its image is PT, no CT" in rejection.found


def test_boxes_on_a_file_of_several_frames_are_refused_alone(
    raw: Path, patient_series: Callable[..., Any], tmp_path: Path
) -> None:
    first = patient_series("Lung_Dx-A0001", "Lung_Dx-A0001/ct", 1)
    slices = [pydicom.dcmread(file) for file in first.files]
    ds = pydicom.dcmread(first.files[0])
    ds.SOPClassUID, ds.NumberOfFrames = EnhancedCTImageStorage, len(slices)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [pydicom.Dataset()], []
    for own in slices:
        frame = pydicom.Dataset()
        for sequence, keywords in (
            ("PlanePositionSequence", ["ImagePositionPatient"]),
            ("PlaneOrientationSequence", ["ImageOrientationPatient"]),
            ("PixelMeasuresSequence", ["PixelSpacing"]),
            ("PixelValueTransformationSequence", ["RescaleSlope", "RescaleIntercept", "RescaleType"]),
        ):
            item = pydicom.Dataset()
            for keyword in keywords:
                setattr(item, keyword, getattr(own, keyword))
            setattr(frame, sequence, [item])
        ds.PerFrameFunctionalGroupsSequence.append(frame)
    ds.PixelData = b"".join(own.PixelData for own in slices)
    for file in first.files:
        file.unlink()
    ds.save_as(first.files[0])
    annotate(raw / "A0001", ds.SOPInstanceUID, (2, 3, 6, 7))
    result = ingest("lung-pet-ct-dx", raw, tmp_path / "out", IngestOptions(workers=1))
    assert [case.lesions for case in result.cohort.cases] == [()]
    (rejection,) = result.rejections
    assert (rejection.rule, "several frames" in rejection.found) == ("annotation-without-image", True)


@pytest.mark.parametrize("box", [(6, 3, 2, 7), (2, 7, 6, 7)])
def test_refuses_a_box_without_extent(tmp_path: Path, box: tuple[int, int, int, int]) -> None:
    with pytest.raises(DataError, match="no extent"):
        read_boxes(annotate(tmp_path, "1.2", box))


def test_real_a0001(lung_pet_ct_dx_root: Path, tmp_path: Path) -> None:
    result = ingest("lung-pet-ct-dx", lung_pet_ct_dx_root, tmp_path / "out")
    (case,) = result.cohort.cases
    (lesion,) = case.lesions
    xmls = {path.stem: path for path in lung_pet_ct_dx_root.rglob("*.xml")}
    expected = {}
    for path in lung_pet_ct_dx_root.rglob("*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        if header.SOPInstanceUID in xmls:
            expected[float(header.ImagePositionPatient[2])] = read_boxes(xmls[header.SOPInstanceUID]).boxes[0][1:]
    volume = read_volume(result.cohort.image_path(case))
    found = {float(volume.affine[2, 2] * box[0] + volume.affine[2, 3]): box[1:] for box in lesion.boxes}
    assert len(expected) == 11
    assert found == expected
    assert case.subtype == "adenocarcinoma"
    # The boxes hold soft tissue; the same boxes mirrored left to right hold lung.
    middle = lesion.boxes[5]
    k, x0, y0, x1, y1 = (int(value) for value in middle)
    inside, mirrored = volume.array[x0:x1, y0:y1, k], volume.array[::-1][x0:x1, y0:y1, k]
    assert np.median(inside) > -100
    assert np.median(mirrored) < -500
    without = [rejection for rejection in result.rejections if rejection.rule == "annotation-without-image"]
    assert len(without) == len(result.rejections) == len(xmls) - 11 == 27


def test_boxes_with_a_document_type_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "1.2.3.xml"
    path.write_text('<!DOCTYPE annotation [<!ENTITY a "aaaa">]><annotation>&a;</annotation>')
    with pytest.raises(DataError, match=r"1\.2\.3\.xml cannot be read as Pascal VOC \(it declares the document type"):
        read_boxes(path)
