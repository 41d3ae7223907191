"""RTSTRUCT contours to voxels: by the centre of the voxel, on the right slice, or refused."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Polygon
from pydicom import Dataset
from pydicom.uid import CTImageStorage, RTStructureSetStorage
from scipy.spatial.transform import Rotation
from skimage.draw import polygon2mask

from monai_staging.cohort.dicom import Rule, SeriesRefused
from monai_staging.cohort.masks import list_rois, mask_from_rtstruct
from monai_staging.cohort.masks_rtstruct import fill
from monai_staging.cohort.volume import Volume

SHAPE = (30, 26, 8)
LPS = np.diag([-1.0, -1.0, 1.0])


def volume(affine: np.ndarray | None = None) -> Volume:
    if affine is None:
        affine = np.diag([-0.8, -0.7, 3.0, 1.0])
        affine[:3, 3] = 10, 20, -212
    return Volume(np.zeros(SHAPE, np.int16), affine)


def structure_set(volume: Volume, rois: dict[str, list[np.ndarray]], kind: str = "CLOSED_PLANAR") -> Dataset:
    """An RTSTRUCT of contours given as voxel indices (points, 3)."""
    ds = Dataset()
    ds.SOPClassUID, ds.PatientID, ds.SeriesInstanceUID = RTStructureSetStorage, "LUNG1-001", "1.2.3"
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items(), start=1):
        item, roi = Dataset(), Dataset()
        item.ROIName, item.ROINumber = name, number
        roi.ReferencedROINumber, roi.ContourSequence = number, []
        for index in contours:
            contour = Dataset()
            world = (np.asarray(index, float) @ volume.affine[:3, :3].T + volume.affine[:3, 3]) @ LPS
            contour.ContourGeometricType = kind
            contour.NumberOfContourPoints = len(world)
            contour.ContourData = [f"{value:.8g}" for value in world.ravel()]
            roi.ContourSequence.append(contour)
        ds.StructureSetROISequence.append(item)
        ds.ROIContourSequence.append(roi)
    return ds


def box(i0, j0, i1, j1, k) -> np.ndarray:
    return np.array([(i0, j0, k), (i1, j0, k), (i1, j1, k), (i0, j1, k)], float)


def refused(dataset, own, **options) -> SeriesRefused:
    with pytest.raises(SeriesRefused) as caught:
        mask_from_rtstruct(dataset, own, **options)
    assert str(caught.value).startswith("Case LUNG1-001: ")
    return caught.value


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(3, 30))
def test_random_polygons_as_matplotlib_and_scikit_image_fill_them(seed, points):
    # Self-crossing ones too: all three go by the even-odd rule.
    polygon = np.random.default_rng(seed).uniform(-0.5, (29.5, 25.5), (points, 2))
    ours = fill([polygon], (30, 26)).astype(bool)
    centres = np.stack(np.meshgrid(np.arange(30), np.arange(26), indexing="ij"), axis=-1).reshape(-1, 2)
    by_scikit = polygon2mask((30, 26), polygon)
    np.testing.assert_array_equal(ours, by_scikit)
    if points <= 4:  # matplotlib fills by winding number, which is the same for simple polygons only
        simple = polygon[np.argsort(np.arctan2(*(polygon - polygon.mean(axis=0)).T))]
        filled = Polygon(simple).contains_points(centres).reshape(30, 26)
        np.testing.assert_array_equal(fill([simple], (30, 26)).astype(bool), filled)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_polygons_that_share_an_edge_share_no_pixel_and_leave_none_out(seed):
    # Corners on pixel centres, where it matters.
    rng = np.random.default_rng(seed)
    a, b, c, d = ((x, y) for x, y in rng.integers(0, 25, (4, 2)).astype(float))
    whole = fill([np.array([a, b, c, d])], (30, 26))
    halves = fill([np.array([a, b, c])], (30, 26)), fill([np.array([a, c, d])], (30, 26))
    np.testing.assert_array_equal(whole, halves[0] ^ halves[1])


def test_a_box_holds_the_centres_within_it():
    own = volume()
    masks = mask_from_rtstruct(structure_set(own, {"GTV-1": [box(3.5, 4.5, 9.5, 6.5, 2)]}), own)
    expected = np.zeros(SHAPE, np.uint8)
    expected[4:10, 5:7, 2] = 1
    np.testing.assert_array_equal(masks["GTV-1"], expected)
    assert masks["GTV-1"].dtype == np.uint8


def test_contours_through_centres_do_not_depend_on_single_precision():
    exact = volume()
    single = Volume(exact.array, exact.affine.astype(np.float32).astype(float) * (1 + 1e-7))
    dataset = structure_set(exact, {"GTV-1": [box(3, 4, 9, 6, k) for k in range(1, 5)]})
    first, second = (mask_from_rtstruct(dataset, own)["GTV-1"] for own in (exact, single))
    np.testing.assert_array_equal(first, second)
    # A centre on an edge belongs to the higher side.
    assert first[3:9, 4:6, 1:5].all()
    assert first.sum() == 6 * 2 * 4


def test_holes_by_an_inner_contour_and_by_a_keyhole():
    own = volume()
    outer, inner = box(2.5, 2.5, 20.5, 20.5, 3), box(6.5, 6.5, 10.5, 10.5, 3)
    keyhole = np.concatenate([outer, outer[:1], inner, inner[:1]])
    masks = mask_from_rtstruct(structure_set(own, {"ring": [outer, inner], "keyhole": [keyhole]}), own)
    assert masks["ring"].sum() == 18 * 18 - 4 * 4
    assert masks["ring"][8, 8, 3] == 0
    np.testing.assert_array_equal(masks["keyhole"], masks["ring"])


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_an_oblique_volume_gives_the_same_mask(seed):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(rng=rng).as_matrix() * (0.8, 0.7, 3.0)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    contour = np.column_stack([rng.uniform(0, (29, 25), (7, 2)), np.full(7, 5.0)])
    straight, tilted = volume(), volume(affine)
    masks = [mask_from_rtstruct(structure_set(own, {"a": [contour]}), own)["a"] for own in (straight, tilted)]
    assert (masks[0] != masks[1]).sum() <= 1  # a centre within a thousandth of an edge may go either way


def test_a_contour_marks_the_nearest_slice():
    own = volume()
    mask = mask_from_rtstruct(structure_set(own, {"a": [box(3.5, 4.5, 9.5, 6.5, 2.4)]}), own)["a"]
    assert np.flatnonzero(mask.any(axis=(0, 1))).tolist() == [2]


def test_names_counts_and_choice():
    own = volume()
    dataset = structure_set(own, {"GTV-1": [box(3.5, 4.5, 9.5, 6.5, 2)], "iso": [], "lung": [box(1, 1, 5, 5, 1)] * 2})
    dataset.StructureSetROISequence[2].ROIName = "GTV-1"
    assert list_rois(dataset) == {"GTV-1 (ROI 1)": 1, "iso": 0, "GTV-1 (ROI 3)": 2}
    assert list(mask_from_rtstruct(dataset, own)) == ["GTV-1 (ROI 1)", "GTV-1 (ROI 3)"]
    assert list(mask_from_rtstruct(dataset, own, rois=["GTV-1 (ROI 1)"])) == ["GTV-1 (ROI 1)"]
    for name, words in (("iso", "no closed planar contour"), ("heart", "not in the structure set")):
        error = refused(dataset, own, rois=[name])
        assert error.rule is Rule.NOT_A_MASK
        assert f"{name!r}: {words}; it has GTV-1 (ROI 1), GTV-1 (ROI 3)." in error.found


def test_points_and_open_lines_have_no_area():
    own = volume()
    dataset = structure_set(own, {"line": [box(1, 1, 5, 5, 1)]}, kind="OPEN_PLANAR")
    assert list_rois(dataset) == {"line": 0}
    assert mask_from_rtstruct(dataset, own) == {}


@pytest.mark.parametrize("contour", [box(3, 4, 9, 6, 8), box(3, 4, 9, 6, -1), box(-2, 4, 9, 6, 2), box(3, 4, 9, 27, 2)])
def test_a_contour_outside_the_volume_is_refused(contour):
    own = volume()
    error = refused(structure_set(own, {"GTV-1": [box(3, 4, 9, 6, 2), contour]}), own)
    assert error.rule is Rule.MASK_OUTSIDE
    assert "structure 'GTV-1'" in error.found and "outside the volume of [30, 26, 8]" in error.found


def test_a_contour_across_slices_is_refused():
    own = volume()
    sagittal = np.array([(5, 3, 1), (5, 9, 1), (5, 9, 4), (5, 3, 4)], float)
    error = refused(structure_set(own, {"a": [sagittal]}), own)
    assert (error.rule, "leaves its slice by 1.50 spacings" in error.found) == (Rule.MASK_OFF_GRID, True)


def test_planes_closer_than_the_slices_are_refused():
    own = volume()
    error = refused(structure_set(own, {"a": [box(3, 4, 9, 6, k) for k in (2.0, 2.4)]}), own)
    assert (error.rule, "k=2.00 and k=2.40 both fall on slice 2" in error.found) == (Rule.MASK_OFF_GRID, True)


def test_contours_of_thicker_slices_are_refused():
    own = volume()
    error = refused(structure_set(own, {"a": [box(3, 4, 9, 6, k) for k in (1, 3, 5)]}), own)
    assert (error.rule, "3 contoured slices, none next to another" in error.found) == (Rule.MASK_OFF_GRID, True)
    # Two lone slices may be two small nodules.
    two = mask_from_rtstruct(structure_set(own, {"a": [box(3, 4, 9, 6, k) for k in (1, 5)]}), own)["a"]
    assert np.flatnonzero(two.any(axis=(0, 1))).tolist() == [1, 5]


@pytest.mark.parametrize("data", [["1", "2", "3", "4", "5", "6"], ["0"] * 10, []])
def test_a_contour_that_encloses_nothing_is_refused(data):
    own = volume()
    dataset = structure_set(own, {"a": [box(3, 4, 9, 6, 2)]})
    dataset.ROIContourSequence[0].ContourSequence[0].ContourData = data
    error = refused(dataset, own)
    assert (error.rule, f"of {len(data)} coordinates" in error.found) == (Rule.MISSING_GEOMETRY, True)


def test_contours_of_a_structure_without_a_name_are_refused():
    own = volume()
    dataset = structure_set(own, {"a": [box(3, 4, 9, 6, 2)]})
    dataset.ROIContourSequence[0].ReferencedROINumber = 9
    assert refused(dataset, own).rule is Rule.NOT_A_MASK


def test_other_objects_and_damaged_files_are_refused(tmp_path):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.PatientID = CTImageStorage, "LUNG1-001"
    assert "expected RT Structure Set Storage; found CT Image Storage." in refused(dataset, volume()).found
    path = tmp_path / "rt.dcm"
    path.write_bytes(b"nothing")
    with pytest.raises(SeriesRefused, match=r"rt\.dcm cannot be parsed") as caught:
        list_rois(path)
    assert (caught.value.rule, caught.value.files) == (Rule.UNREADABLE, (path,))
    dataset = structure_set(volume(), {"a": []})
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.save_as(path, enforce_file_format=True)
    assert list_rois(path) == {"a": 0}
    with pytest.raises(SeriesRefused) as caught:
        mask_from_rtstruct(path, volume(), rois=["b"])
    assert caught.value.rejection().files == (str(path),)


def test_numbers_that_are_missing_doubled_or_no_numbers_are_refused():
    own = volume()
    for edit, words in (
        (lambda ds: setattr(ds.StructureSetROISequence[0], "ROINumber", None), "structure 1, 'a', has no ROINumber"),
        (
            lambda ds: setattr(ds.StructureSetROISequence[0], "ROINumber", 2),
            "structures, 'a' and 'b', of one ROINumber",
        ),
        (lambda ds: delattr(ds.ROIContourSequence[1], "ReferencedROINumber"), "item 2 of ROIContourSequence has no"),
    ):
        dataset = structure_set(own, {"a": [box(3, 4, 9, 6, 2)], "b": [box(3, 4, 9, 6, 2)]})
        edit(dataset)
        error = refused(dataset, own)
        assert (error.rule, words in error.found) == (Rule.UNREADABLE, True), error.found


def test_each_structure_has_its_own_frame_of_reference():
    own = volume()
    dataset = structure_set(own, {"a": [box(3, 4, 9, 6, 2)], "b": [box(3, 4, 9, 6, 2)]})
    for item, uid in zip(dataset.StructureSetROISequence, ("1.2", "1.3"), strict=True):
        item.ReferencedFrameOfReferenceUID = uid
    assert list(mask_from_rtstruct(dataset, own, rois=["a"], frame_of_reference="1.2")) == ["a"]
    assert list(mask_from_rtstruct(dataset, own)) == ["a", "b"]
    error = refused(dataset, own, frame_of_reference="1.2")
    assert (error.rule, "structure 'b'" in error.found) == (Rule.OTHER_FRAME_OF_REFERENCE, True)
