"""A SEG holds exactly the lesions' voxels, on the images they were found in."""

from __future__ import annotations

from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from monai_staging.cohort.dicom import read_series, scan
from monai_staging.cohort.masks import list_segments, mask_from_rtstruct, mask_from_seg
from monai_staging.errors import UsageError
from monai_staging.outputs.dicom_rtstruct import write_rtstruct
from monai_staging.outputs.dicom_seg import write_seg
from monai_staging.outputs.dicom_sources import read_sources
from monai_staging.outputs.dicom_sr import read_sr, write_sr
from monai_staging.outputs.findings import Algorithm


def labels_of(path, study) -> np.ndarray:
    """The label map that our reader makes of a SEG."""
    found = np.zeros(study.volume.shape, np.uint8)
    for segment in mask_from_seg(path, study.volume, frame_of_reference=study.series.frame_of_reference):
        assert not found[segment.mask > 0].any()
        found[segment.mask > 0] = segment.number
    return found


def test_what_is_written_is_read(study, tmp_path, dciodvfy_errors):
    path = write_seg(tmp_path / "out" / "seg.dcm", study.mask, study.findings, study.sources)
    assert path == tmp_path / "out" / "seg.dcm"
    assert list_segments(path) == {1: "Lesion 1", 2: "Lesion 2"}
    np.testing.assert_array_equal(labels_of(path, study), study.mask)
    assert dciodvfy_errors(path) == []


def test_highdicom_reads_the_same(study, tmp_path):
    seg = highdicom.seg.segread(write_seg(tmp_path / "seg.dcm", study.mask, study.findings, study.sources))
    uids = [uid for _, uid in study.sources.images]
    pixels = seg.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    np.testing.assert_array_equal(pixels, study.mask.T)
    assert seg.SegmentationType == "BINARY" and seg.SegmentsOverlap == "NO"
    # Lesion 1 is on three slices, lesion 2 on two.
    assert seg.NumberOfFrames == 5


def test_segments_are_described(study, tmp_path):
    seg = highdicom.seg.segread(write_seg(tmp_path / "seg.dcm", study.mask, study.findings, study.sources))
    first, second = (seg.get_segment_description(number) for number in (1, 2))
    assert first.segmented_property_category.value == "49755003"
    assert first.segmented_property_type.meaning == "Neoplasm, Primary"
    assert second.segmented_property_category.value == "91723000"
    assert second.segmented_property_type.meaning == "Lymph Node"
    assert [region.value for region in first.anatomic_regions] == ["42400003"]
    assert [region.value for region in second.anatomic_regions] == ["72410000"]
    for description, lesion in zip((first, second), study.findings.lesions, strict=True):
        assert (description.tracking_id, description.tracking_uid) == (lesion.tracking_id, lesion.tracking_uid)
        assert description.algorithm_type.value == "AUTOMATIC"
        found = description.algorithm_identification
        assert (found.name, found.version, found.family.value) == ("predict", "0.1.0", "123110")
        assert found.parameters == {model.name: model.digest for model in study.findings.algorithm.models}


def test_every_image_is_referred_to(study, tmp_path):
    seg = pydicom.dcmread(write_seg(tmp_path / "seg.dcm", study.mask, study.findings, study.sources))
    (series,) = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == study.series.series
    found = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert found == {header.sop_uid for header in study.series.headers}
    positions = {header.sop_uid: header.planes[0].position for header in study.series.headers}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert source.SpatialLocationsPreserved == "YES"
        position = tuple(map(float, frame.PlanePositionSequence[0].ImagePositionPatient))
        assert positions[source.ReferencedSOPInstanceUID] == position
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.PixelSpacing, measures.SpacingBetweenSlices, measures.SliceThickness) == ([0.7, 0.8], 3, 3)


def test_slice_thickness_is_the_images_own(study_of, write_ct, tmp_path):
    for folder, given_mm, expected in (("thick", 5, 5), ("none", "", 3), ("zero", 0, 3)):

        def edit(_, ds, value=given_mm):
            ds.SliceThickness = value

        study = study_of(write_ct(edit, folder=folder).folder, corner)
        seg = pydicom.dcmread(write_seg(tmp_path / folder / "seg.dcm", study.mask, study.findings, study.sources))
        assert seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == expected


def corner(volume) -> np.ndarray:
    """Lesions at two opposite corners: any flip or transposition would show."""
    mask = np.zeros(volume.shape, np.uint8)
    mask[0:3, 0:2, 0] = 1
    mask[-1, -2:, -2:] = 2
    return mask


@pytest.mark.parametrize(
    "orientation",
    [[1, 0, 0, 0, 1, 0], [-1, 0, 0, 0, 1, 0], [-1, 0, 0, 0, -1, 0], [0, 1, 0, 0, 0, -1], [0.8, 0.6, 0, -0.6, 0.8, 0]],
)
@pytest.mark.parametrize("step", [2.5, -2.5])
def test_series_in_any_order_and_orientation(write_ct, study_of, tmp_path, orientation, step):
    normal = np.cross(orientation[:3], orientation[3:])

    def edit(k, ds):
        ds.ImageOrientationPatient = orientation
        ds.ImagePositionPatient = [f"{value:.6f}" for value in normal * k * step - (50, 60, 70)]

    study = study_of(write_ct(edit).folder, corner)
    path = write_seg(tmp_path / "seg.dcm", study.mask, study.findings, study.sources)
    np.testing.assert_array_equal(labels_of(path, study), study.mask)
    # By the instances too, whose pixels are the volume's.
    seg = highdicom.seg.segread(path)
    for k, (_, uid) in enumerate(study.sources.images):
        pixels = seg.get_pixels_by_source_instance([uid], combine_segments=True, assert_missing_frames_are_empty=True)
        np.testing.assert_array_equal(pixels[0], study.mask[:, :, k].T)


def test_a_multi_frame_image(write_ct, study_of, tmp_path, dciodvfy_errors):
    def complete(k, ds):
        for keyword in ("PatientName", "PatientBirthDate", "StudyID", "StudyDate", "StudyTime", "AccessionNumber"):
            setattr(ds, keyword, "")
        ds.ReferringPhysicianName, ds.Manufacturer = "", "maker"
        ds.SeriesNumber, ds.InstanceNumber, ds.SliceThickness = 1, 9 - k, 3

    written = write_ct(complete, shape=(9, 11))
    images = [pydicom.dcmread(file) for file in written.files[::-1]]  # frames against the slices
    enhanced = highdicom.legacy.LegacyConvertedEnhancedCTImage(images, highdicom.UID(), 2, highdicom.UID(), 1)
    (tmp_path / "enhanced").mkdir()
    enhanced.save_as(tmp_path / "enhanced" / "image.dcm")
    study = study_of(tmp_path / "enhanced", corner)
    assert [study.sources.frame_number(k) for k in (0, 5)] in ([1, 6], [6, 1])
    path = write_seg(tmp_path / "seg.dcm", study.mask, study.findings, study.sources)
    np.testing.assert_array_equal(labels_of(path, study), study.mask)
    # The other outputs name its frames.
    report = write_sr(tmp_path / "sr.dcm", study.findings, pydicom.dcmread(path), study.sources)
    assert read_sr(report) == study.findings
    outlines = write_rtstruct(tmp_path / "rt.dcm", study.mask, study.findings, study.sources)
    for label, own in enumerate(mask_from_rtstruct(outlines, study.volume).values(), start=1):
        np.testing.assert_array_equal(own, study.mask == label)
    first = pydicom.dcmread(outlines).ROIContourSequence[0].ContourSequence[0]
    assert first.ContourImageSequence[0].ReferencedFrameNumber == study.sources.frame_number(0)
    for own in (path, report, outlines):
        assert dciodvfy_errors(own) == []


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_mask_comes_back(study, report, tmp_path, data):
    mask = data.draw(stn.arrays(np.uint8, study.volume.shape, elements=st.integers(0, 3), fill=st.integers(0, 1)))
    used = np.unique(mask)
    renumbered = np.searchsorted(used[used > 0], mask, side="right").astype(np.int64)
    findings = report(renumbered, study.volume, study.sources)
    path = write_seg(tmp_path / "seg.dcm", renumbered, findings, study.sources)
    if path is not None:
        np.testing.assert_array_equal(labels_of(path, study), renumbered)


def test_more_lesions_than_a_byte_counts(write_ct, study_of, tmp_path):
    def paint(volume):
        return np.arange(1, volume.array.size + 1).reshape(volume.shape).astype(np.uint16) * (volume.array > -9999)

    study = study_of(write_ct(count=5, shape=(6, 9)).folder, paint)
    assert study.mask.max() == 270
    path = write_seg(tmp_path / "seg.dcm", study.mask, study.findings, study.sources)
    found = sum(segment.mask * np.uint16(segment.number) for segment in mask_from_seg(path, study.volume))
    np.testing.assert_array_equal(found, study.mask)


def test_without_lesions_nothing_is_written(study, tmp_path):
    path = tmp_path / "seg.dcm"
    assert write_seg(path, study.mask * 0, study.without_lesions(), study.sources) is None
    assert not path.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda mask: mask[:, :, :-1], r"the mask has the volume's shape, \(11, 9, 6\); found \(11, 9, 5\)"),
        (lambda mask: mask.transpose(1, 0, 2), r"found \(9, 11, 6\)"),
        (lambda mask: mask[0], "a mask is a 3-D array of labels; found 2-D uint8"),
        (lambda mask: mask / 2, "found 3-D float64"),
        (lambda mask: mask + (mask == 2), r"of a lesion reported; found \[3\] of none"),
        (lambda mask: mask * (mask == 2), r"has voxels in the mask; found none of \[1\]"),
        (lambda mask: mask * 0, r"found none of \[1, 2\]"),
        (lambda mask: -mask.astype(np.int8), r"found \[-2, -1\] of none"),
    ],
)
def test_a_mask_of_other_lesions_is_refused(study, tmp_path, change, words):
    with pytest.raises(UsageError, match=f"Case LUNG1-001: series {study.series.series}: .*{words}"):
        write_seg(tmp_path / "seg.dcm", change(study.mask), study.findings, study.sources)
    assert list(tmp_path.glob("*seg*")) == []


def test_the_same_content_has_the_same_uids_and_other_content_others(study, report, tmp_path):
    def written(mask, findings, **options):
        return write_seg(tmp_path / "seg.dcm", mask, findings, study.sources, **options).read_bytes()

    first = written(study.mask, study.findings, created=study.created)
    assert written(study.mask.astype(np.int16), study.findings, created=study.created) == first
    later = pydicom.dcmread(write_seg(tmp_path / "later.dcm", study.mask, study.findings, study.sources))
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (seg.InstanceCreationDate, seg.ContentTime) == ("20260102", "030405.600000")
    assert (later.SOPInstanceUID, later.SeriesInstanceUID) == (seg.SOPInstanceUID, seg.SeriesInstanceUID)
    mask = np.where(study.mask == 1, 1, 0)
    mask[0, 0, 0] = 2
    for own, findings in (
        (mask, study.findings),
        (study.mask, replace(study.findings, algorithm=Algorithm("predict", "0.2.0"))),
    ):
        written(own, findings)
        other = pydicom.dcmread(tmp_path / "seg.dcm")
        assert other.SOPInstanceUID != seg.SOPInstanceUID and other.SeriesInstanceUID != seg.SeriesInstanceUID


@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192", ["", "ISO 2022 IR 87"]])
def test_the_patients_identity_is_kept(write_ct, study_of, tmp_path, charset):
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう" if charset != "ISO_IR 100" else "Müller^Jörg"

    def edit(_, ds):
        ds.SpecificCharacterSet = charset
        ds.PatientName, ds.PatientBirthDate, ds.PatientSex = name, "19500229", "F"  # no such day, and kept
        ds.AccessionNumber, ds.StudyID, ds.StudyDate, ds.StudyTime = "A-1", "7", "20200102", "0304"
        ds.ReferringPhysicianName, ds.StudyDescription, ds.PatientAge = "Doctor^Any", "Chest", "069Y"

    study = study_of(write_ct(edit).folder, corner)
    seg = pydicom.dcmread(write_seg(tmp_path / "seg.dcm", study.mask, study.findings, study.sources))
    source = pydicom.dcmread(study.series.files[0])
    assert str(source.PatientName) == name
    for keyword in (
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "AccessionNumber", "StudyID"),
        *("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyDescription", "StudyInstanceUID"),
        "FrameOfReferenceUID",
    ):
        assert seg[keyword].value == source[keyword].value, keyword
    assert seg.SpecificCharacterSet == "ISO_IR 192"


def test_no_warning_and_no_log_tells_the_identity(write_ct, study_of, tmp_path, recwarn, caplog):
    keywords = {
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "AccessionNumber"),
        *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName", "NameOfPhysiciansReadingStudy"),
    }

    def edit(_, ds):
        weight = b"Marker kg "  # a number, by its type
        ds[0x00101030] = RawDataElement(Tag(0x00101030), "DS", len(weight), weight, 0, False, True)
        for keyword in keywords:
            setattr(ds, keyword, f"Marker {keyword} of more characters than some may have")

    with pydicom.config.disable_value_validation():
        folder = write_ct(edit).folder
    recwarn.clear()
    caplog.set_level("DEBUG")
    study = study_of(folder, corner)
    seg = write_seg(tmp_path / "seg.dcm", study.mask, study.findings, study.sources)
    write_sr(tmp_path / "sr.dcm", study.findings, pydicom.dcmread(seg), study.sources)
    write_rtstruct(tmp_path / "rt.dcm", study.mask, study.findings, study.sources)
    told = [str(warning.message) for warning in recwarn] + [record.getMessage() for record in caplog.records]
    assert [text for text in told if "Marker" in text] == []
    for name in ("seg.dcm", "sr.dcm", "rt.dcm"):
        with pydicom.config.disable_value_validation():
            dataset = pydicom.dcmread(tmp_path / name)
            assert str(dataset.PatientName).startswith("Marker PatientName")
            assert str(dataset.PatientBirthDate).startswith("Marker PatientBirthDate")


def test_what_the_images_do_not_say_is_empty(study, tmp_path):
    seg = pydicom.dcmread(write_seg(tmp_path / "seg.dcm", study.mask, study.findings, study.sources))
    for keyword in ("PatientName", "PatientBirthDate", "StudyID", "StudyDate", "StudyTime", "AccessionNumber"):
        assert keyword in seg and not seg[keyword].value
    assert (seg.PatientID, seg.PatientSex) == ("LUNG1-001", "F")


def test_the_sources_can_be_used_again(study, tmp_path):
    before = [dataset.to_json() for dataset in study.sources.datasets]
    write_seg(tmp_path / "seg.dcm", study.mask, study.findings, study.sources)
    assert [dataset.to_json() for dataset in study.sources.datasets] == before
    (series,) = scan(study.series.files[0].parent)
    assert read_series(series).shape == read_sources(series).shape
