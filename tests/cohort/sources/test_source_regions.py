"""NSCLC-Radiomics, NSCLC-Radiogenomics and plain folders: lesions drawn as SEG and RTSTRUCT."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from monai_staging.cohort.audit import audit_cohort
from monai_staging.cohort.dicom import read_series, scan
from monai_staging.cohort.ingest import IngestOptions, IngestResult, ingest
from monai_staging.cohort.sources import regions
from monai_staging.cohort.sources.base import SourceOptions
from monai_staging.cohort.volume import read_mask
from monai_staging.tnm import categories

BOX = (3, 6, 2, 4, (1, 2))


def mask_of(result: IngestResult, index: int = 0) -> np.ndarray:
    path = result.cohort.mask_path(result.cohort.cases[index])
    assert path is not None
    return np.asarray(read_mask(path)[0])


def painted(*boxes: tuple[int, tuple[int, int, int, int, tuple[int, ...]]]) -> np.ndarray:
    mask = np.zeros((14, 12, 5), np.uint8)
    for label, (i0, i1, j0, j1, slices) in boxes:
        mask[i0 : i1 + 1, j0 : j1 + 1, list(slices)] = label
    return mask


def frames(*boxes: tuple[int, int, int, int, tuple[int, ...]]) -> np.ndarray:
    """Slices, rows, columns, as a SEG is written."""
    return painted(*((1, box) for box in boxes)).transpose(2, 1, 0)


def test_nsclc_radiomics(
    raw: Path,
    tmp_path: Path,
    patient_series: Callable[..., Any],
    write_rtstruct: Callable[..., Path],
    write_seg: Callable[..., Path],
) -> None:
    first = patient_series("LUNG1-001", "NSCLC-Radiomics/LUNG1-001/09-18-2008-StudyID-NA-69331/0.000000-NA-82046", 1)
    folder = raw / "NSCLC-Radiomics/LUNG1-001/09-18-2008-StudyID-NA-69331"
    rois = {"Lung-Left": (0, 13, 0, 11, (0,)), "GTV-1": BOX}
    write_rtstruct(folder / "3.000000-NA-78236/1-1.dcm", first, rois)
    # The SEG says something else here, to see which is taken.
    write_seg(folder / "300.000000-Segmentation/1-1.dcm", first, {"Neoplasm, Primary": frames((0, 1, 0, 1, (0,)))})
    second = patient_series("LUNG1-002", "NSCLC-Radiomics/LUNG1-002/a/b", 2)
    write_seg(
        raw / "NSCLC-Radiomics/LUNG1-002/a/c/1-1.dcm",
        second,
        {"Heart": frames((0, 1, 0, 1, (0,))), "GTV-1": frames(BOX)},
    )
    third = patient_series("LUNG1-003", "NSCLC-Radiomics/LUNG1-003/a/b", 3)
    write_rtstruct(raw / "NSCLC-Radiomics/LUNG1-003/a/c/1-1.dcm", third, {"Lung-Left": BOX})
    (raw / "NSCLC Radiomics Lung1.clinical-version3-Oct-2019.csv").write_text(
        "PatientID,age,clinical.T.Stage,Clinical.N.Stage,Clinical.M.Stage,Overall.Stage,Histology,gender\n"
        "LUNG1-001,78.75,2,3,0,IIIb,large cell,male\nLUNG1-002,83.8,5,4,3,I,NA,female\n"
        "LUNG1-003,60,4,0,0,IIIb,nos,male\n"
    )
    result = ingest("nsclc-radiomics", raw, tmp_path / "out")
    cases = {case.patient: case for case in result.cohort.cases}
    case = cases["LUNG1-001"]
    assert (case.t, case.n, case.m, case.edition, case.prefix) == (("T2",), ("N3",), ("M0",), "6", "c")
    assert (case.subtype, case.clinical["stage"], case.clinical["sex"]) == ("large cell", "IIIb", "M")
    for letter in "tnm":
        assert getattr(cases["LUNG1-002"], letter) == categories(letter, "6")
    assert result.report.unknown_codes == {"t": {"5": 1}, "n": {"4": 1}, "m": {"3": 1}}
    for patient in ("LUNG1-001", "LUNG1-002"):
        index = [own.patient for own in result.cohort.cases].index(patient)
        np.testing.assert_array_equal(mask_of(result, index), painted((1, BOX)))
        (lesion,) = cases[patient].lesions
        assert (lesion.kind, lesion.label) == ("primary", 1)
        assert lesion.center_mm == pytest.approx((10 - 4.5 * 0.8, 20 - 3 * 0.7, -207.5))
        assert lesion.size_mm == pytest.approx((3.2, 2.1, 6.0))
    assert cases["LUNG1-003"].mask is None
    (rejection,) = result.rejections
    assert (rejection.patient, rejection.rule) == ("LUNG1-003", "no-lesion-region")
    assert "Lung-Left" in rejection.found


def test_nsclc_radiogenomics(
    raw: Path, tmp_path: Path, patient_series: Callable[..., Any], write_seg: Callable[..., Path]
) -> None:
    first = patient_series("R01-001", "NSCLC Radiogenomics/R01-001/ct/1", 1)
    write_seg(raw / "NSCLC Radiogenomics/R01-001/ct/2/1-1.dcm", first, {"Segment 1": frames(BOX)})
    patient_series("AMC-001", "NSCLC Radiogenomics/AMC-001/ct/1", 2)
    (raw / "NSCLCR01Radiogenomic_DATA_LABELS_2018-05-22_1500-shifted.csv").write_text(
        "Patient ID,Age at Histological Diagnosis,Gender,Smoking status,Histology ,Pathological T stage,"
        "Pathological N stage,Pathological M stage\n"
        "R01-001,66,Male,Former,Adenocarcinoma,T1a,N0,M0\n"
        "AMC-001,34,Male,Nonsmoker,Adenocarcinoma,Not Collected,Not Collected,Not Collected\n"
    )
    result = ingest("nsclc-radiogenomics", raw, tmp_path / "out")
    unknown, known = sorted(result.cohort.cases, key=lambda case: case.patient)
    assert (known.t, known.edition, known.prefix, known.clinical["smoking"]) == (("T1a",), "7", "p", "former")
    assert unknown.t == categories("t", "7")
    assert (unknown.prefix, unknown.lesions) == ("p", ())
    (lesion,) = known.lesions
    assert lesion.kind == "primary"
    assert not result.report.unknown_codes


def test_folder(
    raw: Path,
    tmp_path: Path,
    patient_series: Callable[..., Any],
    write_rtstruct: Callable[..., Path],
    write_seg: Callable[..., Path],
) -> None:
    first = patient_series("P1", "some/where", 1, PatientAge="058Y")
    far = (10, 11, 9, 10, (3,))
    write_rtstruct(raw / "anywhere" / "rt", first, {"Tumor": BOX, "Lymph node 7": far, "Heart": (0, 1, 0, 1, (0,))})
    second = patient_series("P2", "else", 2)
    write_seg(raw / "seg.dcm", second, {"lesions": frames(BOX, far)})
    patient_series("P3", "third", 3)
    (raw / "clinical.csv").write_text("patient,T,N,M\nP1,T1c,N1,M0\nP2,T2a,N0,MX\nP9,T1a,N0,M0\n")
    result = ingest("folder", raw, tmp_path / "out")
    cases = {case.patient: case for case in result.cohort.cases}
    patients = [case.patient for case in result.cohort.cases]
    assert cases["P1"].t == ("T1c",)
    assert cases["P1"].clinical == {"age": 58.0, "sex": "F", "smoking": None}
    assert [(lesion.kind, lesion.site, lesion.label) for lesion in cases["P1"].lesions] == [
        ("primary", "Tumor", 1),
        ("node", "Lymph node 7", 2),
    ]
    np.testing.assert_array_equal(mask_of(result, patients.index("P1")), painted((1, BOX), (2, far)))
    # One region of two parts: two lesions.
    assert [lesion.kind for lesion in cases["P2"].lesions] == ["primary", "nodule"]
    np.testing.assert_array_equal(mask_of(result, patients.index("P2")), painted((1, BOX), (2, far)))
    assert cases["P2"].m == categories("m", "8")
    assert cases["P3"].t == categories("t", "8")
    assert result.report.patients_without_images == ("P9",)
    assert result.report.patients_without_row == ("P3",)
    assert not result.rejections


@pytest.mark.parametrize("source", ["folder", "lung-pet-ct-dx", "nsclc-radiomics"])
def test_reading_the_headers_shows_progress(
    raw: Path, tmp_path: Path, patient_series: Callable[..., Any], capsys: pytest.CaptureFixture[str], source: str
) -> None:
    patient_series("P1", "x", 1)
    ingest(source, raw, tmp_path / "out", IngestOptions(workers=1))
    told = capsys.readouterr()
    assert re.search(r"^headers: 5/5 files, [\d.]+ files/s$", told.err, re.MULTILINE)
    assert not told.out


def test_folder_without_a_table(raw: Path, tmp_path: Path, patient_series: Callable[..., Any]) -> None:
    patient_series("P1", "x", 1)
    options = IngestOptions(source=SourceOptions(edition="9", prefix="p"))
    result = ingest("folder", raw, tmp_path / "out", options)
    (case,) = result.cohort.cases
    assert [getattr(case, letter) for letter in "tnm"] == [categories(letter, "9") for letter in "tnm"]
    assert (case.edition, case.prefix) == ("9", "p")
    assert any("No clinical table" in note for note in result.report.notes)


def test_annotations_that_do_not_fit_are_refused_alone(
    raw: Path, tmp_path: Path, patient_series: Callable[..., Any], write_rtstruct: Callable[..., Path]
) -> None:
    first = patient_series("P1", "a", 1)
    second = patient_series("P2", "b", 2)
    write_rtstruct(raw / "outside", first, {"GTV": (3, 20, 2, 4, (1,))})
    write_rtstruct(raw / "stranger", second, {"GTV": BOX})
    other = write_rtstruct(raw / "of-another", first, {"GTV": BOX})
    ds = pydicom.dcmread(other)
    ds.PatientID = "P2"
    ds.save_as(other)
    for file in second.files:
        file.unlink()
    result = ingest("folder", raw, tmp_path / "out")
    (case,) = result.cohort.cases
    assert case.mask is None
    assert {(r.rule, r.files) for r in result.rejections} == {
        ("annotation-of-another-patient", ("of-another",)),
        ("annotation-without-image", ("stranger",)),
        ("mask-outside-volume", ("outside",)),
    }


def without(*path: str) -> Callable[[pydicom.Dataset], None]:
    """An edit that takes an attribute of the first items along ``path``."""

    def edit(ds: pydicom.Dataset) -> None:
        for name in path[:-1]:
            ds = ds[name][0]
        delattr(ds, path[-1])

    return edit


def setting(value: Any, *path: str) -> Callable[[pydicom.Dataset], None]:
    def edit(ds: pydicom.Dataset) -> None:
        for name in path[:-1]:
            ds = ds[name][0]
        setattr(ds, path[-1], value)

    return edit


PER_FRAME = "PerFrameFunctionalGroupsSequence"


@pytest.mark.parametrize(
    ("modality", "edit", "rule", "words"),
    [
        (
            "RTSTRUCT",
            without("StructureSetROISequence", "ROINumber"),
            "unreadable",
            "structure 1, 'GTV', has no ROINumber",
        ),
        ("RTSTRUCT", without("ROIContourSequence", "ReferencedROINumber"), "unreadable", "has no ReferencedROINumber"),
        ("RTSTRUCT", without("StructureSetROISequence"), "not-a-mask", "contours of ROI 1"),
        (
            "RTSTRUCT",
            without("ROIContourSequence", "ContourSequence", "ContourData"),
            "missing-geometry",
            "0 coordinates",
        ),
        ("SEG", without("SegmentSequence"), "unreadable", "no SegmentSequence"),
        ("SEG", without("SegmentSequence", "SegmentNumber"), "unreadable", "segment 1 has no SegmentNumber"),
        ("SEG", without("Rows"), "unreadable", "Rows"),
        ("SEG", without("PixelData"), "undecodable", "cannot be decoded"),
        ("SEG", without(PER_FRAME), "missing-geometry", "the geometry of 0"),
        (
            "SEG",
            without("SharedFunctionalGroupsSequence", "SegmentIdentificationSequence", "ReferencedSegmentNumber"),
            "unreadable",
            "frame 1 has no ReferencedSegmentNumber",
        ),
        (
            "SEG",
            setting([1, 2], PER_FRAME, "PlanePositionSequence", "ImagePositionPatient"),
            "missing-geometry",
            "frame 1",
        ),
        ("SEG", setting("FRACTIONAL", "SegmentationType"), "unreadable", "the SEG has no MaximumFractionalValue"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_malformed_file_is_refused_alone(
    raw: Path,
    tmp_path: Path,
    patient_series: Callable[..., Any],
    write_rtstruct: Callable[..., Path],
    write_seg: Callable[..., Path],
    modality: str,
    edit: Callable[[pydicom.Dataset], None],
    rule: str,
    words: str,
) -> None:
    series = patient_series("P1", "a", 1)
    far = (10, 11, 9, 10, (3,))
    broken = raw / "broken"
    if modality == "SEG":
        write_seg(broken, series, {"Tumor": frames(far)})
    else:
        write_rtstruct(broken, series, {"GTV": far})
    write_rtstruct(raw / "good", series, {"Tumor": BOX})
    ds = pydicom.dcmread(broken)
    edit(ds)
    ds.save_as(broken)
    result = ingest("folder", raw, tmp_path / "out", IngestOptions(workers=1))
    np.testing.assert_array_equal(mask_of(result), painted((1, BOX)))
    (rejection,) = result.rejections
    assert (rejection.rule, rejection.files) == (rule, ("broken",))
    assert words in rejection.found


def test_an_error_that_no_rule_foresees_is_that_file_s(
    raw: Path,
    tmp_path: Path,
    patient_series: Callable[..., Any],
    write_rtstruct: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_rtstruct(raw / "rt", patient_series("P1", "a", 1), {"GTV": BOX})

    def fail(*_: Any, **__: Any) -> None:
        raise AttributeError("'Dataset' object has no attribute 'Unforeseen'")

    monkeypatch.setattr(regions, "mask_from_rtstruct", fail)
    series, *others = scan(raw)
    files, _ = regions.match_regions([series, *others])
    ct = next(own for own in (series, *others) if own.modality == "CT")
    annotation = regions.RegionAnnotator(files[ct.series], regions.Naming((("gtv", "primary"),))).annotate(
        ct, read_series(ct)
    )
    (rejection,) = annotation.rejections
    assert (rejection.rule, "no attribute 'Unforeseen'" in rejection.found) == ("unreadable", True)


@pytest.mark.parametrize(
    ("modality", "path"),
    [
        ("SEG", ["FrameOfReferenceUID"]),
        ("RTSTRUCT", ["ReferencedFrameOfReferenceSequence", "FrameOfReferenceUID"]),
        ("RTSTRUCT", ["StructureSetROISequence", "ReferencedFrameOfReferenceUID"]),
    ],
)
@pytest.mark.parametrize("other", ["1.2.3.4", ""])
def test_a_mask_in_another_frame_of_reference_is_refused(
    raw: Path,
    tmp_path: Path,
    patient_series: Callable[..., Any],
    write_rtstruct: Callable[..., Path],
    write_seg: Callable[..., Path],
    modality: str,
    path: list[str],
    other: str,
) -> None:
    series = patient_series("P1", "a", 1)
    file = raw / "mask"
    if modality == "SEG":
        write_seg(file, series, {"Tumor": frames(BOX)})
    else:
        write_rtstruct(file, series, {"Tumor": BOX})
    ds = pydicom.dcmread(file)
    setting(other, *path)(ds)
    ds.save_as(file)
    result = ingest("folder", raw, tmp_path / "out", IngestOptions(workers=1))
    (case,) = result.cohort.cases
    if not other:  # nothing is stated, nothing contradicts
        assert (len(case.lesions), result.rejections) == (1, ())
        return
    assert (case.lesions, case.mask) == ((), None)
    (rejection,) = result.rejections
    assert (rejection.rule, rejection.files) == ("other-frame-of-reference", ("mask",))
    assert "in the frame of reference 1.2.3.4, the images are in 1.2.826.0.1.3680043.10.1.2" in rejection.found


def test_a_structure_in_another_frame_of_reference_that_is_no_lesion_does_not_matter(
    raw: Path, tmp_path: Path, patient_series: Callable[..., Any], write_rtstruct: Callable[..., Path]
) -> None:
    series = patient_series("P1", "a", 1)
    file = write_rtstruct(raw / "rt", series, {"Lung": BOX, "Tumor": BOX})
    ds = pydicom.dcmread(file)
    ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.3.4"
    ds.save_as(file)
    result = ingest("folder", raw, tmp_path / "out", IngestOptions(workers=1))
    assert (len(result.cohort.cases[0].lesions), result.rejections) == (1, ())


@pytest.mark.parametrize("seg", [BOX, (3, 6, 2, 4, (1, 2, 3)), (3, 6, 1, 5, (1, 2))])
def test_a_region_that_two_files_give_is_one_lesion(
    raw: Path,
    tmp_path: Path,
    patient_series: Callable[..., Any],
    write_rtstruct: Callable[..., Path],
    write_seg: Callable[..., Path],
    seg: tuple[int, int, int, int, tuple[int, ...]],
) -> None:
    series = patient_series("P1", "a", 1)
    far = (10, 11, 9, 10, (3,))
    write_rtstruct(raw / "rt" / "1-1.dcm", series, {"GTV-1": BOX})
    write_seg(raw / "seg" / "1-1.dcm", series, {"Tumor": frames(seg), "Lymph node": frames(far)})
    result = ingest("folder", raw, tmp_path / "out", IngestOptions(workers=1))
    (case,) = result.cohort.cases
    assert [(lesion.kind, lesion.label) for lesion in case.lesions] == [("primary", 1), ("node", 2)]
    # Which file comes first is for their series' UIDs to say.
    first = case.lesions[0].site == "GTV-1"
    kept = BOX if first else seg
    np.testing.assert_array_equal(mask_of(result), painted((1, kept), (2, far)))
    (rejection,) = result.rejections
    assert rejection.rule == "duplicate-region"
    assert set(rejection.files) == {"rt/1-1.dcm", "seg/1-1.dcm"}
    refused, other = ("Tumor", "'GTV-1' of rt/1-1.dcm") if first else ("GTV-1", "'Tumor' of seg/1-1.dcm")
    assert f"region '{refused}' is region {other} again" in rejection.found
    assert "0.5 or more is one lesion" in rejection.found
    assert not audit_cohort(result.cohort).problems


def test_regions_that_share_less_are_lesions_of_their_own(
    raw: Path, tmp_path: Path, patient_series: Callable[..., Any], write_rtstruct: Callable[..., Path]
) -> None:
    series = patient_series("P1", "a", 1)
    write_rtstruct(raw / "one", series, {"GTV-1": BOX})
    write_rtstruct(raw / "two", series, {"Nodule": (3, 4, 2, 4, (2, 3))})
    result = ingest("folder", raw, tmp_path / "out", IngestOptions(workers=1))
    assert [lesion.kind for lesion in result.cohort.cases[0].lesions] == ["primary", "nodule"]
    assert not result.rejections


def test_a_region_that_smaller_ones_cover_is_no_lesion(
    raw: Path, tmp_path: Path, patient_series: Callable[..., Any], write_rtstruct: Callable[..., Path]
) -> None:
    series = patient_series("P1", "a", 1)
    thirds = {f"Nodule {n}": (3 + 2 * n, 4 + 2 * n, 2, 4, (1, 2)) for n in range(3)}
    write_rtstruct(raw / "rt", series, {"GTV": (3, 8, 2, 4, (1, 2)), **thirds})
    result = ingest("folder", raw, tmp_path / "out", IngestOptions(workers=1))
    (case,) = result.cohort.cases
    assert [(lesion.site, lesion.label) for lesion in case.lesions] == [(f"Nodule {n}", n + 1) for n in range(3)]
    np.testing.assert_array_equal(mask_of(result), painted(*((n + 1, thirds[f"Nodule {n}"]) for n in range(3))))
    (rejection,) = result.rejections
    assert (rejection.rule, "'GTV' is covered by smaller regions" in rejection.found) == ("duplicate-region", True)
    assert not audit_cohort(result.cohort).problems


def test_many_parts_of_a_repeated_region_are_one_record(
    raw: Path,
    tmp_path: Path,
    patient_series: Callable[..., Any],
    write_rtstruct: Callable[..., Path],
    write_seg: Callable[..., Path],
) -> None:
    series = patient_series("P1", "a", 1)
    far = (10, 11, 9, 10, (3,))
    write_seg(raw / "one", series, {"lesions": frames(BOX, far)})
    write_seg(raw / "two", series, {"lesions": frames(BOX, far)})
    result = ingest("folder", raw, tmp_path / "out", IngestOptions(workers=1))
    assert [lesion.kind for lesion in result.cohort.cases[0].lesions] == ["primary", "nodule"]
    (rejection,) = result.rejections
    assert "again in 2 parts" in rejection.found


def test_a_patient_with_contradicting_rows_is_refused(
    raw: Path, tmp_path: Path, patient_series: Callable[..., Any]
) -> None:
    patient_series("P1", "a", 1)
    patient_series("P2", "b", 2)
    (raw / "clinical.csv").write_text("patient,T,N,M\nP1,T1c,N1,M0\nP1,T2a,N1,M0\nP2,T1a,N0,M0\n")
    result = ingest("folder", raw, tmp_path / "out")
    assert [case.patient for case in result.cohort.cases] == ["P2"]
    (rejection,) = result.rejections
    assert (rejection.patient, rejection.rule) == ("P1", "conflicting-clinical-rows")
    assert "'T1c' and 'T2a'" in rejection.found
    assert len(rejection.files) == 5
