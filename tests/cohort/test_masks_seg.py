"""SEG frames to voxels: every kind of SEG, any direction of its frames, or refused."""

from __future__ import annotations

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from monai_staging.cohort.dicom import Rule, SeriesRefused, load_series
from monai_staging.cohort.masks import list_segments, mask_from_seg
from monai_staging.cohort.volume import Volume

LABELS = ["tumour", "node"]


def complete(k, ds):
    """What highdicom asks of a source image beyond what a reader needs."""
    for keyword in ("PatientName", "PatientBirthDate", "StudyID", "StudyDate", "StudyTime", "AccessionNumber"):
        setattr(ds, keyword, "")
    ds.ReferringPhysicianName = ds.Manufacturer = ""
    ds.SeriesNumber, ds.InstanceNumber, ds.SliceThickness = 1, k + 1, 3


@pytest.fixture
def scanned(write_ct):
    """The slices' data sets and the volume they make."""
    # 9 x 11 = 99 pixels a frame: no frame after the first starts on a byte.
    written = write_ct(complete, count=6, shape=(9, 11))
    return [pydicom.dcmread(file) for file in written.files], load_series(written.folder)


def segmentation(images, pixels, kind="BINARY", syntax=ExplicitVRLittleEndian, **options) -> pydicom.Dataset:
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type="MANUAL",
        )
        for number, label in enumerate(LABELS, start=1)
    ]
    return highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=highdicom.UID(),
        series_number=2,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="-",
        manufacturer_model_name="-",
        software_versions="-",
        device_serial_number="-",
        transfer_syntax_uid=syntax,
        **options,
    )


def overlapping(seed=0) -> np.ndarray:
    """Two overlapping segments, (slice, row, column, segment); some slices empty."""
    pixels = np.random.default_rng(seed).integers(0, 2, (6, 9, 11, 2)).astype(np.uint8)
    pixels[[0, 3]] = 0
    return pixels


def refused(dataset, volume, **options) -> SeriesRefused:
    with pytest.raises(SeriesRefused) as caught:
        mask_from_seg(dataset, volume, **options)
    assert str(caught.value).startswith("Case LUNG1-001: ")
    return caught.value


@pytest.mark.parametrize("omit", [True, False])
def test_overlapping_binary_segments(scanned, tmp_path, omit):
    images, volume = scanned
    pixels = overlapping()
    path = tmp_path / "seg"
    segmentation(images, pixels, omit_empty_frames=omit).save_as(path)
    segments = mask_from_seg(path, volume)
    assert [(s.number, s.label) for s in segments] == [(1, "tumour"), (2, "node")]
    for n, segment in enumerate(segments):
        assert (segment.mask.dtype, segment.mask.shape) == (np.uint8, volume.shape)
        np.testing.assert_array_equal(segment.mask.T, pixels[..., n])
    assert list_segments(path) == {1: "tumour", 2: "node"}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_fractional_segments_count_from_the_threshold_on(scanned, syntax):
    images, volume = scanned
    parts = np.random.default_rng(1).integers(0, 11, (6, 9, 11, 2)) / 10
    seg = segmentation(images, parts, "FRACTIONAL", syntax, max_fractional_value=200)
    for threshold in (0.5, 0.25):
        for n, segment in enumerate(mask_from_seg(seg, volume, threshold=threshold)):
            np.testing.assert_array_equal(segment.mask.T, parts[..., n] >= threshold)


def test_a_labelmap_holds_all_segments_in_one_frame(scanned):
    images, volume = scanned
    labels = np.random.default_rng(2).integers(0, 3, (6, 9, 11)).astype(np.uint8)
    seg = segmentation(images, labels, "LABELMAP")
    segments = mask_from_seg(seg, volume)
    assert [segment.number for segment in segments] == [1, 2]  # the background is none
    for segment in segments:
        np.testing.assert_array_equal(segment.mask.T, labels == segment.number)


def test_a_cut_frame_is_refused(scanned):
    images, volume = scanned
    parts = np.random.default_rng(1).integers(0, 11, (6, 9, 11, 2)) / 10
    seg = segmentation(images, parts, "FRACTIONAL", JPEGLSLossless)
    frames = list(generate_frames(seg.PixelData, number_of_frames=seg.NumberOfFrames))
    seg.PixelData = encapsulate([*frames[:4], frames[4].rstrip(b"\0")[:-6], *frames[5:]])
    error = refused(seg, volume)
    assert (error.rule, "frame 5 of the SEG" in error.found) == (Rule.TRUNCATED, True)


def test_some_segments_only(scanned):
    images, volume = scanned
    seg = segmentation(images, overlapping())
    (only,) = mask_from_seg(seg, volume, segments=[2])
    assert (only.number, only.label) == (2, "node")
    error = refused(seg, volume, segments=[2, 7])
    assert (error.rule, "no segment 7; it has 1, 2." in error.found) == (Rule.NOT_A_MASK, True)


@settings(max_examples=24, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_axes_in_any_order_and_direction(scanned, order, flips):
    images, volume = scanned
    pixels = overlapping()
    # The same voxels under other indices: affine' maps the new index where affine maps the old one.
    change = np.eye(4)
    change[:3, :3] = 0
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        change[old, new] = -1 if flip else 1
        change[old, 3] = volume.shape[old] - 1 if flip else 0

    def turn(array):
        return np.flip(array.transpose(order), [axis for axis, flip in enumerate(flips) if flip])

    turned = Volume(turn(volume.array), volume.affine @ change)
    for n, segment in enumerate(mask_from_seg(segmentation(images, pixels), turned)):
        np.testing.assert_array_equal(segment.mask, turn(pixels[..., n].T))


def test_a_larger_volume_on_the_same_grid(scanned):
    images, volume = scanned
    affine = volume.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ (2, 3, 4)
    larger = Volume(np.zeros((20, 20, 20), np.int16), affine)
    pixels = overlapping()
    mask = mask_from_seg(segmentation(images, pixels), larger)[0].mask
    np.testing.assert_array_equal(mask[2:13, 3:12, 4:10].T, pixels[..., 0])
    assert mask.sum() == pixels[..., 0].sum()


@pytest.mark.parametrize("axis", range(3))
def test_marked_voxels_outside_are_refused(scanned, axis):
    images, volume = scanned
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, axis] * 2
    error = refused(segmentation(images, overlapping()), Volume(volume.array, affine))
    assert error.rule is Rule.MASK_OUTSIDE
    assert "segment 1 (tumour)" in error.found and f"outside the volume of {list(volume.shape)}" in error.found


def test_unmarked_pixels_may_lie_outside(scanned):
    images, volume = scanned
    pixels = np.zeros((6, 9, 11, 2), np.uint8)
    pixels[2, 4, 5] = 1
    smaller = Volume(volume.array[:6, :5, :3], volume.affine)
    for segment in mask_from_seg(segmentation(images, pixels, omit_empty_frames=False), smaller):
        assert np.argwhere(segment.mask).tolist() == [[5, 4, 2]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (np.diag([1.1, 1, 1, 1]), "0.909"),
        (np.diag([1, 1, 0.7, 1]), "off the volume's grid"),
        (np.array([[1, 0, 0, 0.4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "origin off by"),
        (np.array([[0.996, -0.087, 0, 0], [0.087, 0.996, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "off the volume's grid"),
    ],
)
def test_another_grid_is_refused(scanned, change, words):
    images, volume = scanned
    error = refused(segmentation(images, overlapping()), Volume(volume.array, volume.affine @ change))
    assert error.rule is Rule.MASK_OFF_GRID
    assert words in error.found and "refuse to resample" in error.found


def test_frames_of_thicker_slices_are_refused(scanned):
    images, volume = scanned
    seg = segmentation(images, overlapping())
    thinner = Volume(np.zeros((11, 9, 18), np.int16), volume.affine @ np.diag([1, 1, 1 / 3, 1]))
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = 3
    error = refused(seg, thinner)
    assert (error.rule, "frames are 3.00 slices apart" in error.found) == (Rule.MASK_OFF_GRID, True)


def test_frames_without_geometry_segment_or_pixels_are_refused(scanned):
    images, volume = scanned

    def broken(change) -> SeriesRefused:
        seg = segmentation(images, overlapping())
        change(seg)
        return refused(seg, volume)

    def no_position(seg):
        del seg.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence

    def no_segment(seg):
        del seg.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence

    def fewer_groups(seg):
        seg.PerFrameFunctionalGroupsSequence = seg.PerFrameFunctionalGroupsSequence[:-1]

    def truncated(seg):
        seg.PixelData = seg.PixelData[:10]

    assert broken(no_position).rule is Rule.MISSING_GEOMETRY
    assert broken(fewer_groups).found == "the SEG has 8 frames and the geometry of 7."
    assert broken(no_segment).rule is Rule.NOT_A_MASK
    assert broken(truncated).rule is Rule.UNDECODABLE


def test_an_image_is_no_segmentation(scanned):
    images, volume = scanned
    error = refused(images[0], volume)
    assert "expected Segmentation Storage or Label Map Segmentation Storage; found CT Image Storage." in error.found
