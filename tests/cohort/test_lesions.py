from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from monai_staging.cohort.case import Lesion
from monai_staging.cohort.lesions import (
    Part,
    components,
    lesion_of_part,
    lesions_of_boxes,
    overlap,
    paint,
    part_of_mask,
)

# RAS from the index of a usual transverse scan: i runs to the left, j to the back, k to the head.
AFFINE = np.array([[-0.5, 0, 0, 100.0], [0, -0.5, 0, 80.0], [0, 0, 2.0, -300.0], [0, 0, 0, 1]])


def part(mask: np.ndarray) -> Part:
    found = part_of_mask(mask)
    assert found is not None
    return found


def whole(own: Part, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[own.box] = own.mask
    return mask


def lesion_of_mask(mask: np.ndarray, affine: np.ndarray, **values: object) -> Lesion:
    return lesion_of_part(part(mask), affine, **values)  # type: ignore[arg-type]


def test_box_of_a_mask_runs_along_voxel_edges() -> None:
    mask = np.zeros((20, 20, 10), np.uint8)
    mask[4:8, 2:3, 5:8] = 1
    lesion = lesion_of_mask(mask, AFFINE, kind="node", label=3, site="4R")
    # i 4..7 is x 98..96.5 and half a voxel more on either side.
    assert lesion.center_mm == (97.25, 79.0, -288.0)
    assert lesion.size_mm == (2.0, 0.5, 6.0)
    assert (lesion.kind, lesion.label, lesion.site) == ("node", 3, "4R")
    assert part_of_mask(np.zeros_like(mask)) is None


def test_box_of_an_oblique_mask_holds_every_corner() -> None:
    angle = np.deg2rad(30)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([0.7, 0.9, 3.0])
    affine[:3, 3] = 10, -20, 30
    mask = np.random.default_rng(0).random((9, 8, 7)) > 0.97
    corners = [
        affine[:3, :3] @ (index + np.array(offset) - 0.5) + affine[:3, 3]
        for index in np.argwhere(mask)
        for offset in np.ndindex(2, 2, 2)
    ]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    lesion = lesion_of_mask(mask, affine, kind="primary")
    np.testing.assert_allclose(lesion.center_mm, (low + high) / 2, atol=2e-3)
    np.testing.assert_allclose(lesion.size_mm, high - low, atol=2e-3)


def test_components_largest_first() -> None:
    mask = np.zeros((10, 10, 10), np.uint8)
    mask[0, 0, 0] = 1
    mask[5:7, 5:7, 5:7] = 1
    mask[7, 7, 7] = 1  # touches the cube at a corner
    assert [part.voxels for part in components(mask)] == [9, 1]
    assert components(np.zeros_like(mask)) == []


@pytest.mark.parametrize("order", ["C", "F"])
def test_components_are_the_parts_of_the_mask(order: str) -> None:
    mask = np.asarray(np.random.default_rng(2).random((20, 18, 16)) > 0.97, np.uint8, order=order)
    labelled, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    parts = components(mask)
    assert len(parts) == count > 10
    # Largest first, then in the order of their labels.
    sizes = np.bincount(labelled.ravel())[1:]
    assert [own.voxels for own in parts] == sizes[np.argsort(-sizes, kind="stable")].tolist()
    assert [labelled[whole(own, mask.shape)][0] - 1 for own in parts] == np.argsort(-sizes, kind="stable").tolist()
    for own in parts:
        values = np.unique(labelled[whole(own, mask.shape)])
        assert len(values) == 1
        np.testing.assert_array_equal(whole(own, mask.shape), labelled == values[0])


def test_many_specks_cost_about_one_volume() -> None:
    mask = np.zeros((128, 128, 64), np.uint8)
    mask[::18, ::18, ::10] = 1
    tracemalloc.start()
    parts = components(mask)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(parts) > 299
    # The mask is a byte a voxel, a volume two.
    assert peak < 4 * mask.nbytes


def test_more_parts_than_sixteen_bits_can_number() -> None:
    mask = np.zeros((84, 84, 84), np.uint8)
    mask[::2, ::2, ::2] = 1
    assert len(components(mask)) == 42**3


def test_overlap_is_of_the_union() -> None:
    shape = (12, 12, 12)
    rng = np.random.default_rng(4)
    for _ in range(50):
        pair = []
        for _ in range(2):
            low = rng.integers(0, 6, 3)
            high = low + rng.integers(1, 7, 3)
            mask = np.zeros(shape, bool)
            box = tuple(map(slice, low, high))
            mask[box] = rng.random(mask[box].shape) > 0.3
            mask[tuple(low)] = True
            pair.append(mask)
        a, b = pair
        assert overlap(part(a), part(b)) == pytest.approx((a & b).sum() / (a | b).sum())
    assert overlap(part(a), part(a)) == 1


def test_the_smaller_of_two_overlapping_regions_shows() -> None:
    large, small = np.ones((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    small[1, 1, 1] = True
    for regions, value in (((large, small), 2), ((small, large), 1)):
        painted = paint([part(region) for region in regions], (4, 4, 4))
        assert painted.dtype == np.uint8
        assert painted[1, 1, 1] == value
        assert painted[0, 0, 0] == 3 - value


def test_boxes_on_neighbouring_slices_that_overlap_are_one_lesion() -> None:
    boxes = [
        (5, 10.0, 10.0, 20.0, 20.0),
        (6, 15.0, 15.0, 40.0, 40.0),
        (7, 30.0, 30.0, 45.0, 45.0),
        (7, 60.0, 60.0, 62.0, 62.0),  # elsewhere
        (9, 30.0, 30.0, 35.0, 35.0),  # with a slice between
        (8, 45.0, 30.0, 50.0, 45.0),  # shares an edge with slice 7's, no area
        (5, 18.0, 18.0, 22.0, 22.0),  # on the slice of the first; joined through slice 6
    ]
    lesions = lesions_of_boxes(boxes, AFFINE)
    assert [len(lesion.boxes) for lesion in lesions] == [4, 1, 1, 1]
    assert [lesion.kind for lesion in lesions] == ["primary", "nodule", "nodule", "nodule"]
    assert sorted(box for lesion in lesions for box in lesion.boxes) == sorted(boxes)


def test_box_edges_are_pixel_edges() -> None:
    (lesion,) = lesions_of_boxes([(3, 0.0, 2.0, 1.0, 6.0)], AFFINE)
    # Pixel 0 alone along x: its centre is at x = 100. Rows 2 to 5 along y.
    assert lesion.center_mm == (100.0, 78.25, -294.0)
    assert lesion.size_mm == (0.5, 2.0, 2.0)
    assert lesions_of_boxes([], AFFINE) == ()
