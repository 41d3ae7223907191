"""Patches of a nodule around the middle of its voxels, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from monai_staging.cohort.nodules.nodule import NoduleVolume
from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.nodule_patches import NodulePatches

SPACING = (2.0, 0.5, 0.5)


def ball(shape: tuple[int, int, int], radius_mm: float = 4.0) -> NDArray[np.bool_]:
    axes = [(np.arange(length) - (length - 1) / 2) * step for length, step in zip(shape, SPACING, strict=True)]
    grids = np.meshgrid(*axes, indexing="ij")
    inside: NDArray[np.bool_] = sum(grid**2 for grid in grids) <= radius_mm**2
    return inside


def volume_of(shape: tuple[int, int, int], seed: int = 0) -> NoduleVolume:
    image = np.random.default_rng(seed).integers(0, 256, (1, *shape)).astype(np.uint8)
    return NoduleVolume(image, np.stack([ball(shape), ball(shape, 3.0)]))


def test_native_pixels_come_as_they_are_with_their_neighbours() -> None:
    volume = volume_of((5, 24, 24))
    image, share = NodulePatches("2.5d", size=24)(volume, SPACING)
    assert image.shape == (5, 3, 24, 24) and share.shape == (5, 1, 24, 24)
    np.testing.assert_array_equal(image[:, 1], volume.image[0])
    np.testing.assert_array_equal(image[1:, 0], volume.image[0, :-1])
    np.testing.assert_array_equal(image[0, 0], volume.image[0, 0])  # the edge is repeated
    assert set(np.unique(share)) == {0, 128, 255}
    alone, _ = NodulePatches("2d", size=24)(volume, SPACING)
    np.testing.assert_array_equal(alone, image[:, 1:2])


@pytest.mark.parametrize("shape", [(4, 24, 24), (3, 31, 40), (3, 12, 15)])
@pytest.mark.parametrize("size", [16, 17])
def test_what_is_found_goes_back_to_where_it_was(shape: tuple[int, int, int], size: int) -> None:
    patches = NodulePatches("2d", size=size)
    volume = volume_of(shape)
    image, _ = patches(volume, SPACING)
    back = patches.restore(image[:, 0].astype(np.float32), shape, SPACING)
    seen = back > 0
    assert seen.any()
    np.testing.assert_array_equal(back[seen], volume.image[0][seen])


@pytest.mark.parametrize(
    "patches",
    [
        NodulePatches("2d", size=64),
        NodulePatches("2d", size=40, spacing_mm=0.4),
        NodulePatches("2.5d", size=40, spacing_mm=0.6, slices=5),
        NodulePatches("3d", size=28, spacing_mm=0.5),
    ],
)
def test_an_outline_survives_the_way_there_and_back(patches: NodulePatches) -> None:
    shape = (7, 40, 36)
    volume = volume_of(shape)
    image, share = patches(volume, SPACING)
    assert image.shape[1] == patches.in_channels() and image.shape[2:] == (patches.size,) * patches.spatial_dims
    half = ball(shape)  # one of two readers is half of them
    back = patches.restore(share[:, 0].astype(np.float32) / 255, shape, SPACING)
    assert back.shape == shape
    found = back >= 0.25
    assert 2 * (found & half).sum() / (found.sum() + half.sum()) > 0.9


def test_the_outline_does_not_say_where_the_patch_lies() -> None:
    volume = volume_of((5, 32, 32))
    moved = NoduleVolume(volume.image, np.roll(volume.outlines, 6, axis=2))
    for patches in (NodulePatches("2.5d", size=16), NodulePatches("3d", size=16, spacing_mm=1.0)):
        np.testing.assert_array_equal(patches(volume, SPACING)[0], patches(moved, SPACING)[0])


def test_hounsfield_units_are_stretched() -> None:
    volume = NoduleVolume(np.full((1, 1, 4, 4), -300, dtype=np.int16), np.zeros((0, 1, 4, 4), dtype=bool))
    image, share = NodulePatches("2d", size=4)(volume, SPACING, (-1000.0, 400.0))
    assert (image == 128).all() and not share.any()


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="kind must be one of 2d, 2.5d, 3d; found 'planes'"):
        NodulePatches("planes")
    with pytest.raises(UsageError, match="above 0; found 64 and -1"):
        NodulePatches(spacing_mm=-1)
    with pytest.raises(UsageError, match="odd number; found 4"):
        NodulePatches(slices=4)
    with pytest.raises(UsageError, match="one spacing_mm along every axis; found none"):
        NodulePatches("3d")
    with pytest.raises(DataError, match="need the voxels' spacing, found none"):
        NodulePatches(spacing_mm=1.0)(volume_of((3, 8, 8)))
