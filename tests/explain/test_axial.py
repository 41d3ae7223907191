"""Axial slices: where a place in the patient is found, however the volume is stored."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from monai_staging.errors import UsageError
from monai_staging.explain.axial import axial_image

SPACING_MM = np.array([0.7, 0.9, 2.5])
ORIENTATIONS = [
    (order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


def stored(ras: np.ndarray, origin_mm: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]):
    """The same voxels, stored with axes in this order and turned round where the sign is negative."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(SPACING_MM)
    affine[:3, 3] = origin_mm
    change = np.zeros((4, 4))
    change[3, 3] = 1
    array = ras.transpose(order)
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        change[world, axis] = sign
        change[world, 3] = 0 if sign > 0 else ras.shape[world] - 1
        if sign < 0:
            array = np.flip(array, axis)
    return array, affine @ change


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_orientation_gives_the_same_slice_of_the_patient(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    ras = np.random.default_rng(0).integers(-1000, 1000, (9, 8, 5)).astype(np.int16)
    origin_mm = np.array([-31.0, 12.0, -200.0])
    array, affine = stored(ras, origin_mm, order, signs)
    found = axial_image(array, affine, -200 + 2.5 * 3 + 1.1)
    np.testing.assert_allclose(found.values, ras[:, :, 3], atol=1e-3)
    assert found.origin_mm == pytest.approx((-31, 12))
    assert found.spacing_mm == pytest.approx((0.7, 0.9))
    assert (found.z_mm, found.step_mm) == pytest.approx((-192.5, 2.5))
    assert found.extent_mm == pytest.approx((-31.35, -31.35 + 9 * 0.7, 11.55, 11.55 + 8 * 0.9))
    np.testing.assert_allclose(found.to_mm(found.to_index(np.array([[-28.0, 15.0]]))), [[-28, 15]])


def test_a_slice_alone_is_a_volume_of_one() -> None:
    values = np.arange(12, dtype=np.int16).reshape(4, 3)
    affine = np.diag([-0.5, -0.5, 5.0, 1.0])
    found = axial_image(values, affine)
    np.testing.assert_array_equal(found.values, values[::-1, ::-1])
    assert found.z_mm == 0
    assert axial_image(values, affine, 2.4).z_mm == 0
    with pytest.raises(UsageError, match=r"a height from 0\.0 to 0\.0 mm is needed, found 2\.6"):
        axial_image(values, affine, 2.6)


def test_an_oblique_volume_shows_a_blob_where_it_is() -> None:
    angle = np.deg2rad(17)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.0, 1.0, 2.0])
    volume = np.zeros((40, 50, 5), np.float32)
    volume[30, 12, 3] = 1000
    volume = ndimage.gaussian_filter(volume, (1.5, 1.5, 0))
    found = axial_image(volume, affine, 6.0)
    peak = np.array(np.unravel_index(found.values.argmax(), found.values.shape))
    expected = affine[:2, :2] @ (30, 12)
    assert np.linalg.norm(found.to_mm(peak[None])[0] - expected) < 0.8


def test_a_mask_keeps_its_labels_and_is_empty_outside() -> None:
    mask = np.full((4, 4, 2), 7, np.uint8)
    angle = np.deg2rad(30)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert set(np.unique(axial_image(mask, affine, 0.0, mode="nearest").values)) == {0, 7}


def test_a_part_is_the_pixels_that_a_rectangle_touches() -> None:
    image = axial_image(np.arange(100, dtype=np.int16).reshape(10, 10), np.eye(4))
    part = image.within((2.6, -5.0), (4.4, 1.2))
    np.testing.assert_array_equal(part.values, image.values[3:5, :2])
    assert part.origin_mm == (3, 0)
    with pytest.raises(UsageError, match="a rectangle within x and y"):
        image.within((20.0, 0.0), (30.0, 3.0))


def test_refuses_what_is_no_volume() -> None:
    with pytest.raises(UsageError, match=r"found \(3,\)"):
        axial_image(np.zeros(3), np.eye(4))
    with pytest.raises(UsageError, match="gives voxels a volume"):
        axial_image(np.zeros((3, 3, 3)), np.diag([1.0, 1.0, 0.0, 1.0]))
