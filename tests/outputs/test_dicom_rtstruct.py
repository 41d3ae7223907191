"""Outlines that give the same voxels back."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as stn

from monai_staging.cohort.masks import list_rois, mask_from_rtstruct
from monai_staging.errors import UsageError
from monai_staging.outputs.dicom_rtstruct import write_rtstruct


def same_voxels(path, study, mask) -> None:
    found = mask_from_rtstruct(path, study.volume, frame_of_reference=study.series.frame_of_reference)
    assert list(found) == [lesion.tracking_id for lesion in study.findings.lesions]
    for label, own in enumerate(found.values(), start=1):
        np.testing.assert_array_equal(own, mask == label)


def test_what_is_written_is_read(study, tmp_path, dciodvfy_errors):
    path = write_rtstruct(tmp_path / "rt.dcm", study.mask, study.findings, study.sources)
    assert list_rois(path) == {"Lesion 1": 3, "Lesion 2": 2}
    same_voxels(path, study, study.mask)
    assert dciodvfy_errors(path) == []


@pytest.mark.parametrize("orientation", [[-1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [0.8, 0.6, 0, -0.6, 0.8, 0]])
@pytest.mark.parametrize("step", [2.5, -2.5])
def test_series_in_any_order_and_orientation(write_ct, study_of, tmp_path, orientation, step):
    normal = np.cross(orientation[:3], orientation[3:])

    def edit(k, ds):
        ds.ImageOrientationPatient = orientation
        ds.ImagePositionPatient = [f"{value:.6f}" for value in normal * k * step - (50, 60, 70)]

    def paint(volume):
        mask = np.zeros(volume.shape, np.uint8)
        mask[0:3, 0:2, 0] = 1
        mask[-1, -2:, -2:] = 2
        return mask

    study = study_of(write_ct(edit).folder, paint)
    path = write_rtstruct(tmp_path / "rt.dcm", study.mask, study.findings, study.sources)
    same_voxels(path, study, study.mask)
    # Every contour lies in the plane of the image it names.
    positions = {header.sop_uid: np.array(header.planes[0].position) for header in study.series.headers}
    for roi in pydicom.dcmread(path).ROIContourSequence:
        for contour in roi.ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            off = (points - positions[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]) @ normal
            np.testing.assert_allclose(off, 0, atol=2e-4)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plane=stn.arrays(bool, (7, 5)))
def test_holes_and_corners_come_back(study, report, tmp_path, plane):
    mask = np.zeros(study.volume.shape, np.uint8)
    mask[2:9, 1:6, 2:5] = plane[:, :, None]
    findings = report(mask, study.volume, study.sources)
    path = write_rtstruct(tmp_path / "rt.dcm", mask, findings, study.sources)
    if plane.any():
        (found,) = mask_from_rtstruct(path, study.volume).values()
        np.testing.assert_array_equal(found, mask)
    else:
        assert path is None


def test_the_identity_is_kept_and_files_are_the_same(study, tmp_path):
    paths = [
        write_rtstruct(tmp_path / name, study.mask, study.findings, study.sources, created=study.created)
        for name in ("a.dcm", "b.dcm")
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    dataset = pydicom.dcmread(paths[0])
    assert (dataset.PatientID, dataset.PatientSex, dataset.StudyInstanceUID) == ("LUNG1-001", "F", study.series.study)
    assert (dataset.StructureSetDate, dataset.InstanceCreationTime) == ("20260102", "030405.600000")
    (frame,) = dataset.ReferencedFrameOfReferenceSequence
    (series,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert [item.ReferencedSOPInstanceUID for item in series.ContourImageSequence] == [
        uid for _, uid in study.sources.images
    ]
    assert {roi.ROIGenerationAlgorithm for roi in dataset.StructureSetROISequence} == {"AUTOMATIC"}


def test_without_lesions_nothing_is_written(study, tmp_path):
    assert write_rtstruct(tmp_path / "rt.dcm", study.mask * 0, study.without_lesions(), study.sources) is None
    assert list(tmp_path.glob("*.dcm")) == []


def test_a_mask_of_other_lesions_is_refused(study, tmp_path):
    with pytest.raises(UsageError, match="of a lesion reported; found .1, 2. of none"):
        write_rtstruct(tmp_path / "rt.dcm", study.mask, study.without_lesions(), study.sources)
