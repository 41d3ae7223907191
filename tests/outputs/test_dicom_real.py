"""Real and phantom studies: written, validated, and read back by three other programs."""

from __future__ import annotations

import json
import time

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from monai_staging.cohort.masks import mask_from_rtstruct, mask_from_seg
from monai_staging.cohort.phantom import PhantomConfig, write_phantom_study
from monai_staging.outputs.dicom_rtstruct import write_rtstruct
from monai_staging.outputs.dicom_seg import write_seg
from monai_staging.outputs.dicom_sr import read_sr, write_sr

SECONDS = 30.0  # on a busy machine; on a quiet core it takes three


def balls(*lesions):
    """Paints balls of (centre in LPS mm, radius in mm), the first as 1; None: one that touches three faces."""

    def paint(volume):
        mask = np.zeros(volume.shape, np.uint8)
        for label, (centre, radius_mm) in enumerate(lesions, start=1):
            if centre is None:
                index = np.array([0.0, volume.shape[1] - 1, volume.shape[2] - 1])
            else:
                index = np.linalg.solve(volume.affine, [-centre[0], -centre[1], centre[2], 1])[:3]
            reach = np.ceil(radius_mm / np.array(volume.spacing_mm)).astype(int)
            low = np.maximum(np.rint(index).astype(int) - reach, 0)
            high = np.minimum(np.rint(index).astype(int) + reach + 1, volume.shape)
            grid = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
            off = sum(((own - at) * step) ** 2 for own, at, step in zip(grid, index, volume.spacing_mm, strict=True))
            mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))][off <= radius_mm**2] = label
        return mask

    return paint


@pytest.fixture(scope="module")
def lidc(lidc_series, shared_data, study_of):
    luna16 = json.loads((shared_data / "lidc_idri_0314" / "nodule.json").read_text())["luna16"]
    paint = balls((luna16["world_lps_mm"], luna16["diameter_mm"] / 2), (None, 20))
    return study_of(lidc_series, paint)


@pytest.fixture(scope="module")
def a0001(lung_pet_ct_dx_root, study_of):
    def paint(volume):
        middle = volume.affine @ [*(size / 2 for size in volume.shape), 1]
        return balls(((-middle[0], -middle[1], middle[2]), 30), (None, 25))(volume)

    return study_of(lung_pet_ct_dx_root, paint, edition="9")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory, study_of):
    """A tiny phantom, with the lesions that its own SEG or RTSTRUCT marks."""
    out = tmp_path_factory.mktemp("phantom")
    truth = write_phantom_study(out, 0, 8, PhantomConfig(resolution="tiny"))
    (masks,) = (path for kind in ("SEG", "RTSTRUCT") for path in (out / truth.patient).rglob(f"{kind}/*.dcm"))

    def paint(volume):
        kind = pydicom.dcmread(masks, specific_tags=["Modality"]).Modality
        if kind == "SEG":
            found = [segment.mask for segment in mask_from_seg(masks, volume)]
        else:
            found = list(mask_from_rtstruct(masks, volume).values())
        painted = np.zeros(volume.shape, np.uint8)
        for label, own in enumerate(found, start=1):
            painted[own > 0] = label
        return painted

    return study_of(out / truth.patient, paint)


@pytest.fixture(scope="module", params=["lidc", "a0001", "phantom"])
def written(request, tmp_path_factory):
    """A study, with the paths of its SEG, report and RTSTRUCT, and the seconds they took."""
    study = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp("written")
    start = time.perf_counter()
    seg = write_seg(folder / "seg.dcm", study.mask, study.findings, study.sources)
    report = write_sr(folder / "sr.dcm", study.findings, pydicom.dcmread(seg), study.sources)
    outlines = write_rtstruct(folder / "rt.dcm", study.mask, study.findings, study.sources)
    return study, seg, report, outlines, time.perf_counter() - start


def test_our_readers_give_the_same_back(written):
    study, seg, report, outlines, seconds = written
    assert seconds < SECONDS
    frame = study.series.frame_of_reference
    for segment in mask_from_seg(seg, study.volume, frame_of_reference=frame):
        np.testing.assert_array_equal(segment.mask, study.mask == segment.number)
    found = mask_from_rtstruct(outlines, study.volume, frame_of_reference=frame)
    assert len(found) == study.mask.max()
    for label, own in enumerate(found.values(), start=1):
        np.testing.assert_array_equal(own, study.mask == label)
    assert read_sr(report) == study.findings


def test_the_validator_finds_no_error(written, dciodvfy_errors):
    for path in written[1:4]:
        assert dciodvfy_errors(path) == []


def test_highdicom_reads_the_same_voxels(written):
    study, seg = written[:2]
    uids = [uid for _, uid in study.sources.images]
    pixels = highdicom.seg.segread(seg).get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(pixels, study.mask.T)


def test_simpleitk_reads_the_same_voxels(written):
    study, seg = written[:2]
    frames = sitk.GetArrayFromImage(sitk.ReadImage(seg))
    slices = {plane.position: k for k, plane in enumerate(study.sources.planes)}
    found = np.zeros_like(study.mask)
    for frame, own in zip(frames, pydicom.dcmread(seg).PerFrameFunctionalGroupsSequence, strict=True):
        k = slices[tuple(map(float, own.PlanePositionSequence[0].ImagePositionPatient))]
        found[:, :, k][frame.T > 0] = own.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    np.testing.assert_array_equal(found, study.mask)


def test_dcmqi_reads_the_same_voxels(written, tmp_path, tool):
    study, seg = written[:2]
    done = tool("segimage2itkimage", "--inputDICOM", seg, "--outputDirectory", tmp_path, package="pip: dcmqi")
    assert done.returncode == 0, done.stderr
    for label in range(1, int(study.mask.max()) + 1):
        image = sitk.ReadImage(tmp_path / f"{label}.nrrd")
        marked = np.argwhere(sitk.GetArrayViewFromImage(image).T > 0)
        steps = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        points = marked @ steps.T + image.GetOrigin()
        ras = np.column_stack([points * (-1, -1, 1), np.ones(len(points))])
        index = (ras @ np.linalg.inv(study.volume.affine).T)[:, :3]
        assert np.abs(index - np.rint(index)).max() < 0.01
        found = np.zeros(study.mask.shape, bool)
        found[tuple(np.rint(index).astype(int).T)] = True
        np.testing.assert_array_equal(found, study.mask == label)


def test_the_identity_is_the_images_own(written):
    study = written[0]
    source = pydicom.dcmread(study.series.files[0], stop_before_pixels=True)
    for path in written[1:4]:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyDate"):
            assert dataset[keyword].value == source.get(keyword, ""), keyword
        assert dataset.StudyInstanceUID == source.StudyInstanceUID
