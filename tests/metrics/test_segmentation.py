"""Scores of segmentations against SimpleITK, SciPy, scikit-image and cases done by hand."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from monai_staging.errors import DataError
from monai_staging.metrics.segmentation import (
    agreement,
    axial_diameter_mm,
    dice,
    hausdorff_mm,
    mean_estimate,
    nodule_scores,
    surface_dice,
)
from monai_staging.transforms.nodule_views import consensus

SPACING = (2.5, 0.7, 0.8)
Mask = NDArray[np.bool_]


def blob(seed: int, shape: tuple[int, int, int] = (9, 24, 24)) -> Mask:
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.standard_normal(shape), (1, 3, 3))
    near = np.linalg.norm((np.indices(shape).T - (np.array(shape) - 1) / 2) / np.array(shape), axis=-1).T
    mask: Mask = smooth / smooth.std() - 6 * near > -1
    return mask


def box(shape: tuple[int, int, int], low: tuple[int, int, int], high: tuple[int, int, int]) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*ends) for ends in zip(low, high, strict=True))] = True
    return mask


def image_of(mask: Mask) -> sitk.Image:
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(SPACING[::-1])
    return image


def edge(mask: Mask) -> Mask:
    padded = np.pad(mask, 1)
    return (padded & ~ndimage.binary_erosion(padded))[1:-1, 1:-1, 1:-1]


@pytest.mark.parametrize("seed", range(4))
def test_dice_and_hausdorff_are_simpleitks(seed: int) -> None:
    one, other = blob(seed), blob(seed + 100)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(image_of(one), image_of(other))
    assert dice(one, other) == pytest.approx(overlap.GetDiceCoefficient())
    distance = sitk.HausdorffDistanceImageFilter()
    distance.Execute(image_of(edge(one)), image_of(edge(other)))
    assert hausdorff_mm(one, other, SPACING, 100) == pytest.approx(distance.GetHausdorffDistance(), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_hd95_is_the_larger_95th_percentile_of_the_edges_distances(seed: int) -> None:
    one, other = blob(seed), blob(seed + 100)
    points = [np.argwhere(edge(mask)) * SPACING for mask in (one, other)]
    there, back = (cKDTree(points[1 - way]).query(points[way])[0] for way in (0, 1))
    expected = max(np.percentile(there, 95), np.percentile(back, 95))
    assert hausdorff_mm(one, other, SPACING) == pytest.approx(expected, rel=1e-5)


def test_surface_dice_counts_area_within_the_tolerance() -> None:
    shape = (34, 34, 40)
    one = box(shape, (5, 5, 5), (25, 25, 25))
    longer = box(shape, (5, 5, 5), (25, 25, 29))
    # 20 mm cube against the same 4 mm longer: of the cube's face all but 2 mm at its rim is too far, of the other the
    # whole face and 2 mm of each side.
    far, whole = 16**2 + 20**2 + 4 * 20 * 2, 6 * 20**2 + 2 * 20**2 + 4 * 20 * 24
    assert surface_dice(one, longer, (1, 1, 1)) == pytest.approx(1 - far / whole, abs=0.02)
    # A step of one voxel: within 2 mm where it is 1.9 mm, beyond where it is 2.1 mm.
    step = box(shape, (6, 5, 5), (26, 25, 25))
    assert surface_dice(one, step, (1.9, 1, 1)) == pytest.approx(1)
    assert surface_dice(one, step, (2.1, 1, 1)) < 0.9
    assert surface_dice(one, box(shape, (30, 30, 30), (33, 33, 33)), (1, 1, 1)) == 0


def test_what_touches_the_edge_of_the_array_has_a_surface_there() -> None:
    whole = np.ones((3, 6, 6), dtype=bool)
    shorter = whole.copy()
    shorter[..., 3:] = False
    assert hausdorff_mm(whole, shorter, (1, 1, 1), 100) == pytest.approx(3)
    assert surface_dice(whole, whole, (1, 1, 1)) == 1


def test_empty_masks() -> None:
    none, some = np.zeros((2, 4, 4), dtype=bool), box((2, 4, 4), (0, 1, 1), (1, 3, 3))
    assert dice(none, some) == 0 and np.isnan(dice(none, none))
    assert np.isnan(hausdorff_mm(none, some, SPACING))
    assert surface_dice(none, some, SPACING) == 0 and np.isnan(surface_dice(none, none, SPACING))
    assert axial_diameter_mm(none, SPACING) == 0
    with pytest.raises(DataError, match=r"of one shape; found \(2, 4, 4\) and \(1, 4, 4\)"):
        dice(none, none[:1])


def test_the_diameter_is_of_one_slice_and_in_millimetres() -> None:
    row = box((3, 12, 12), (0, 0, 0), (1, 1, 3)) | box((3, 12, 12), (1, 3, 2), (2, 4, 9))
    assert axial_diameter_mm(row, (9.0, 0.1, 0.5)) == pytest.approx(7 * 0.5)
    # Of pixels that high the outline is longest from the first one's lower to the last one's upper edge.
    assert axial_diameter_mm(row, (9.0, 5.0, 0.5)) == pytest.approx(np.hypot(6 * 0.5, 5.0))
    assert axial_diameter_mm(row.swapaxes(1, 2), (9.0, 0.5, 0.1)) == pytest.approx(7 * 0.5)
    disc = np.hypot(*(np.indices((41, 41)) - 20)) <= 15.2
    assert axial_diameter_mm(disc[None], (1.0, 0.6, 0.6)) == pytest.approx(31 * 0.6, rel=0.02)


def test_scores_of_one_nodule() -> None:
    mask, reference = box((4, 9, 9), (1, 2, 2), (3, 5, 5)), box((4, 9, 9), (1, 2, 2), (3, 5, 6))
    scores = nodule_scores(mask, reference, (2.0, 0.5, 0.5))
    assert scores["dice"] == pytest.approx(2 * 18 / (18 + 24))
    assert scores["volume_mm3"] == pytest.approx(9) and scores["reference_volume_mm3"] == pytest.approx(12)
    assert scores["volume_error_mm3"] == pytest.approx(3) and scores["volume_bias_mm3"] == pytest.approx(-3)
    # Rectangles of 3 by 3 and 3 by 4 pixels without their corners.
    bias = np.hypot(1.5, 1.0) - np.hypot(2.0, 1.0)
    assert scores["diameter_bias_mm"] == pytest.approx(bias)
    assert scores["diameter_error_mm"] == pytest.approx(-bias)


def test_readers_and_a_mask_are_set_beside_the_same() -> None:
    outlines = np.zeros((3, 1, 1, 8), dtype=bool)
    for reader, end in enumerate((2, 4, 6)):
        outlines[reader, ..., :end] = True
    mask = np.zeros((1, 1, 8), dtype=bool)
    mask[..., :4] = True
    found = agreement(outlines, consensus, mask)
    assert found["reader_dice"] == pytest.approx(np.mean([2 / 3, 4 / 8, 8 / 10]))
    # Of two others half is one of them: their union, of 6, 6 and 4.
    assert found["reader_others_dice"] == pytest.approx(np.mean([4 / 8, 8 / 10, 8 / 10]))
    assert found["model_reader_dice"] == pytest.approx(np.mean([2 * 2 / 6, 1, 8 / 10]))
    assert found["model_others_dice"] == pytest.approx(np.mean([8 / 10, 8 / 10, 1]))
    assert all(np.isnan(value) for value in agreement(outlines[:1], consensus, mask).values())


def test_means_are_over_nodules_and_intervals_over_patients() -> None:
    values = np.array([0.5, 0.7, 0.9, np.nan])
    estimate = mean_estimate(values, ["a", "a", "b", "c"], n_boot=200)
    assert estimate.value == pytest.approx(0.7) and estimate.n == 2
    # Patient b twice, patient a twice.
    assert estimate.high == pytest.approx(0.9) and estimate.low == pytest.approx(0.6)
    assert mean_estimate(values[3:], ["c"]).n == 0
