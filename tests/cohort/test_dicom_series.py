"""A series to a volume: the right voxels in the right order, or a refusal that names patient, rule and value."""

from __future__ import annotations

import pickle
import random
import shutil

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import (
    EnhancedCTImageStorage,
    JPEGBaseline8Bit,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
)

from monai_staging.cohort.dicom import Rule, SeriesRefused, load_series, read_series, scan, series_positions
from monai_staging.errors import DataError


def refused(folder, **options) -> SeriesRefused:
    (series,) = scan(folder)
    with pytest.raises(SeriesRefused) as caught:
        read_series(series, **options)
    assert (caught.value.patient, caught.value.series, caught.value.files) == (
        series.patient,
        series.series,
        series.files,
    )
    return caught.value


def only(k: int, **values):
    """An edit of slice ``k`` alone."""

    def edit(own, ds):
        if own == k:
            for keyword, value in values.items():
                setattr(ds, keyword, value)

    return edit


def every(**values):
    def edit(own, ds):
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return edit


@pytest.mark.parametrize("workers", [1, 3])
def test_slices_come_in_order_of_position(write_ct, workers):
    written = write_ct(count=9)
    (series,) = scan(written.folder, workers=workers)
    volume = read_series(series, workers=workers)
    assert volume.array.dtype == np.int16
    assert volume.array.flags.f_contiguous
    np.testing.assert_array_equal(volume.array.T, written.hu)
    np.testing.assert_allclose(volume.affine, written.affine, atol=1e-9)


def test_positions_by_instance(write_ct):
    written = write_ct(count=5)
    uids = [str(pydicom.dcmread(file).SOPInstanceUID) for file in written.files]
    (series,) = scan(written.folder)
    assert series_positions(series) == {uid: k for k, uid in enumerate(uids)}
    written.files[2].unlink()
    with pytest.raises(SeriesRefused, match="missing"):
        series_positions(scan(written.folder)[0])


def test_every_slice_has_its_own_rescale(write_ct):
    def own(k, ds):
        ds.RescaleIntercept = -1000 - 10 * k

    written = write_ct(own)
    expected = written.hu + (24 - 10 * np.arange(6))[:, None, None]
    np.testing.assert_array_equal(load_series(written.folder).array.T, expected)


def test_missing_slices_name_the_patient(write_ct):
    written = write_ct(count=8)
    for k in (3, 4, 5):
        written.files[k].unlink()
    error = refused(written.folder)
    assert str(error) == (
        "Case LUNG1-001: 3 slices missing between z=-206.0 and z=-194.0 mm (spacing 3); refuse to interpolate."
    )
    record = error.rejection()
    assert (record.patient, record.rule, len(record.files)) == ("LUNG1-001", "missing-slices", 5)
    assert record.found in str(error)


def test_a_refusal_comes_back_from_a_worker_process(write_ct):
    written = write_ct(every(GantryDetectorTilt=15))
    error = refused(written.folder)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.rejection()) == (str(error), error.rejection())


@pytest.mark.parametrize(
    ("edit", "rule", "words"),
    [
        (every(SOPClassUID=PositronEmissionTomographyImageStorage, Modality="PT"), Rule.NOT_CT, "modality PT"),
        (every(SOPClassUID=SecondaryCaptureImageStorage), Rule.NOT_CT, "Secondary Capture Image Storage, modality CT"),
        (only(2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), Rule.LOCALIZER, "IM0004 is a localizer"),
        (every(PhotometricInterpretation="MONOCHROME1"), Rule.NOT_GRAYSCALE, "MONOCHROME1"),
        (every(PhotometricInterpretation="RGB", SamplesPerPixel=3), Rule.NOT_GRAYSCALE, "RGB, 3 samples"),
        (every(RescaleSlope=None), Rule.NOT_HOUNSFIELD, "no usable RescaleSlope"),
        (every(RescaleType="HU_MOD"), Rule.NOT_HOUNSFIELD, "in HU_MOD"),
        (
            every(RescaleType="US", ImageType=["DERIVED", "PRIMARY", "PERFUSION"]),
            Rule.NOT_HOUNSFIELD,
            "ImageType DERIVED\\PRIMARY\\PERFUSION",
        ),
        (only(1, RescaleType="US"), Rule.MIXED_RESCALE_TYPES, "HU and US"),
        (every(LossyImageCompression="01"), Rule.LOSSY, "LossyImageCompression 01"),
        (only(3, ImagePositionPatient=None), Rule.MISSING_GEOMETRY, "ImagePositionPatient in IM0003"),
        (only(3, PixelSpacing=None), Rule.MISSING_GEOMETRY, "PixelSpacing in IM0003"),
        (only(3, PixelSpacing=[0.7, 0.9]), Rule.MIXED_SPACINGS, "(0.7, 0.9)"),
        (only(3, ImageOrientationPatient=[0, 1, 0, 1, 0, 0]), Rule.MIXED_ORIENTATIONS, "(0, 1, 0, 1, 0, 0)"),
        (only(3, FrameOfReferenceUID="1.9"), Rule.MIXED_FRAMES_OF_REFERENCE, "1.9"),
        (only(3, ImagePositionPatient=[-10, -20, -206]), Rule.DUPLICATE_POSITIONS, "z=-206.0"),
        (only(3, ImagePositionPatient=[-10, -20, -203.8]), Rule.UNEVEN_GAPS, "2.200"),
        (every(SOPInstanceUID="1.7"), Rule.DUPLICATE_INSTANCES, "1.7 in 6 files"),
        (only(3, Rows=0), Rule.TRUNCATED, "0 rows"),
        (every(NumberOfFrames=2), Rule.MISSING_GEOMETRY, "2 frames and the geometry of 1"),
        (every(HighBit=15), Rule.PIXEL_LAYOUT, "HighBit 15"),
    ],
)
def test_one_broken_rule_refuses_the_series(write_ct, edit, rule, words):
    written = write_ct(edit)
    error = refused(written.folder)
    assert error.rule is rule
    assert words in error.found
    assert str(error).startswith("Case LUNG1-001: ")


def test_a_slice_of_another_size(write_ct):
    def smaller(k, ds):
        if k == 2:
            ds.Rows, ds.PixelData = 5, ds.PixelData[: 5 * 7 * 2]

    assert refused(write_ct(smaller).folder).rule is Rule.MIXED_SIZES


def test_a_truncated_slice_refuses_the_series(write_ct):
    written = write_ct()
    written.files[4].write_bytes(written.files[4].read_bytes()[:-20])
    error = refused(written.folder)
    assert error.rule is Rule.TRUNCATED
    assert "IM0002 holds 64 of 84 bytes" in error.found


def test_copies_of_a_file_are_refused(write_ct):
    written = write_ct()
    shutil.copy(written.files[1], written.folder / "copy")
    error = refused(written.folder)
    assert error.rule is Rule.DUPLICATE_INSTANCES
    assert "IM0005 and copy" in error.found


def test_unspecified_units_of_an_original_image_are_hounsfield(write_ct):
    written = write_ct(every(RescaleType="US"))
    np.testing.assert_array_equal(load_series(written.folder).array.T, written.hu)


def test_lossy_pixels_are_read_when_asked_for(write_ct):
    written = write_ct(every(LossyImageCompression="01"))
    np.testing.assert_array_equal(load_series(written.folder, allow_lossy=True).array.T, written.hu)


def test_a_lossy_syntax_is_lossy_whatever_the_header_says(write_ct):
    written = write_ct()
    for file in written.files:
        ds = pydicom.dcmread(file)
        ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        ds.save_as(file)
    error = refused(written.folder)
    assert (error.rule, "JPEG Baseline" in error.found) == (Rule.LOSSY, True)
    assert refused(written.folder, allow_lossy=True).rule is Rule.UNDECODABLE


def enhanced(written, path, order, edit=None) -> None:
    """One enhanced multi-frame file of the slices of ``written``, frames in ``order``; ``edit`` gets the data set."""
    slices = [pydicom.dcmread(file) for file in written.files]
    ds = pydicom.dcmread(written.files[0])
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = EnhancedCTImageStorage
    shared, measures, plane, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = ds.PixelSpacing
    plane.ImageOrientationPatient = ds.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    frames = []
    for k in order:
        frame, position, values, kind = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = slices[k].ImagePositionPatient
        # Every frame has its own intercept.
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024 - k, "HU"
        kind.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [values]
        frame.CTImageFrameTypeSequence = [kind]
        frames.append(frame)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], frames
    ds.NumberOfFrames = len(order)
    ds.PixelData = b"".join(slices[k].PixelData for k in order)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(ds, keyword)
    if edit is not None:
        edit(ds)
    ds.save_as(path)


def test_an_enhanced_file_equals_its_slices(write_ct, tmp_path):
    written = write_ct(count=7)
    order = random.Random(5).sample(range(7), 7)
    enhanced(written, tmp_path / "enhanced.dcm", order)
    volume = load_series([tmp_path / "enhanced.dcm"])
    np.testing.assert_array_equal(volume.array.T, written.hu - np.arange(7)[:, None, None])
    np.testing.assert_allclose(volume.affine, written.affine, atol=1e-9)
    uid = str(pydicom.dcmread(written.files[0]).SOPInstanceUID)
    shutil.rmtree(written.folder)
    assert series_positions(scan(tmp_path)[0]) == {f"{uid}#{n + 1}": k for n, k in enumerate(order)}


def test_an_enhanced_file_misses_frames_as_a_series_misses_slices(write_ct, tmp_path):
    written = write_ct(count=7)
    enhanced(written, tmp_path / "enhanced.dcm", [0, 1, 2, 4, 5, 6])
    with pytest.raises(SeriesRefused, match=r"1 slice missing between z=-206.0 and z=-200.0 mm"):
        load_series([tmp_path / "enhanced.dcm"])


@pytest.mark.parametrize(
    ("sequence", "shared"),
    [
        ("CTAcquisitionDetailsSequence", True),
        ("CTAcquisitionDetailsSequence", False),
        ("UnassignedSharedConvertedAttributesSequence", True),
        ("UnassignedPerFrameConvertedAttributesSequence", False),
    ],
)
@pytest.mark.parametrize("tilt", [-15, 0])
def test_the_tilt_of_an_enhanced_file_is_a_tilt(write_ct, tmp_path, sequence, shared, tilt):
    def edit(ds):
        groups = ds.SharedFunctionalGroupsSequence[0] if shared else ds.PerFrameFunctionalGroupsSequence[3]
        details = Dataset()
        details.GantryDetectorTilt = tilt
        setattr(groups, sequence, [details])

    enhanced(write_ct(), tmp_path / "enhanced.dcm", range(6), edit)
    if not tilt:
        assert load_series([tmp_path / "enhanced.dcm"]).shape == (7, 6, 6)
        return
    with pytest.raises(SeriesRefused, match="GantryDetectorTilt -15 degrees; refuse to shear") as caught:
        load_series([tmp_path / "enhanced.dcm"])
    assert caught.value.rule is Rule.GANTRY_TILT


def test_a_folder_must_hold_one_ct_series(write_ct):
    written = write_ct(folder="both", uid="1.2.3", count=2)
    with pytest.raises(DataError, match=r"0 files: expected one CT series; found 0 \(series by modality: none\)"):
        load_series([])
    other = write_ct(folder="other", uid="1.2.4", count=3)
    for file in other.files:
        shutil.move(file, written.folder / f"other-{file.name}")
    with pytest.raises(DataError, match=r"both: expected one CT series; found 2 \(series by modality: 2 CT\)"):
        load_series(written.folder)


def test_a_broken_file_in_the_folder_is_not_passed_over(write_ct):
    written = write_ct()
    (written.folder / "more.dcm").write_bytes(b"not DICOM")
    with pytest.raises(DataError, match=r"series: more\.dcm cannot be parsed as DICOM"):
        load_series(written.folder)


def test_slices_without_identity_are_one_series_when_asked_for_as_one(write_ct):
    written = write_ct(
        every(PatientID="", StudyInstanceUID="", SeriesInstanceUID="", SOPClassUID="", SOPInstanceUID="")
    )
    np.testing.assert_array_equal(load_series(written.folder).array.T, written.hu)
    written.files[2].unlink()
    with pytest.raises(SeriesRefused, match="Case without PatientID: 1 slice missing"):
        load_series(written.folder)
