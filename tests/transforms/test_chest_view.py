"""What a network sees of a chest: a part of the scan on the scan's own grid of one spacing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_staging.errors import UsageError
from monai_staging.transforms.chest_view import ChestViews
from monai_staging.transforms.grid import plan_grid
from monai_staging.transforms.lung_mask import lung_bound
from monai_staging.transforms.resample import resample
from monai_staging.transforms.windows import HUWindows

SHAPE = (110, 90, 50)
AFFINE = np.array([[-3.5, 0, 0, 180.0], [0, -3.5, 0, 160.0], [0, 0, 6.0, -140.0], [0, 0, 0, 1.0]])
SPACING_MM = (3.0, 3.0, 4.0)


@pytest.fixture(scope="module")
def hu() -> np.ndarray:
    """A block of tissue with two lungs, and noise."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[15:-15, 15:-15] = 40
    hu[22:48, 25:60, 10:40] = hu[-48:-22, 25:60, 10:40] = -850
    return hu + np.random.default_rng(0).integers(-20, 20, SHAPE).astype(np.int16)


def test_the_view_is_a_part_of_the_whole_scan_on_its_grid(hu: np.ndarray) -> None:
    view = ChestViews(SPACING_MM, ["lung"])(hu, AFFINE)
    whole = plan_grid(SHAPE, AFFINE, SPACING_MM)
    first = (np.array(view.grid.origin_mm) - whole.origin_mm) / SPACING_MM
    np.testing.assert_allclose(first, np.rint(first), atol=1e-6)
    start = np.rint(first).astype(int)
    box = tuple(slice(low, low + size) for low, size in zip(start, view.grid.size, strict=True))
    expected = HUWindows(["lung"])(resample(hu, AFFINE, whole)[None])[(slice(None), *box)]
    torch.testing.assert_close(view.image, expected, atol=1e-4, rtol=0)
    assert view.bound.shape == view.grid.size and view.image.shape == (1, *view.grid.size)
    # All of the bound, and no more of the scan than its box.
    everything = lung_bound(hu, AFFINE).on(whole)
    assert view.bound.sum() == everything.sum() and view.bound.float().mean() > 0.5
    assert np.prod(view.grid.size) < 0.7 * np.prod(whole.size)
    uncropped = ChestViews(SPACING_MM, ["lung"], crop=False)(hu, AFFINE)
    assert uncropped.grid == whole and uncropped.bound.sum() == everything.sum()
    torch.testing.assert_close(uncropped.image[(slice(None), *box)], view.image, atol=1e-4, rtol=0)


def test_the_place_in_the_chest_runs_through_the_lungs(hu: np.ndarray) -> None:
    view = ChestViews(SPACING_MM, ["lung"], place=True)(hu, AFFINE)
    assert view.image.shape == (4, *view.grid.size)
    # Outer faces of the lungs' voxels; the array's first two axes run against RAS.
    low = np.array([180 - 3.5 * (SHAPE[0] - 22.5), 160 - 3.5 * 59.5, -140 + 6.0 * 9.5])
    high = np.array([180 - 3.5 * 21.5, 160 - 3.5 * 24.5, -140 + 6.0 * 39.5])
    box = lung_bound(hu, AFFINE).box_mm
    np.testing.assert_allclose(box, [low, high], atol=4.0)
    for axis, channel in enumerate(view.image[1:]):
        line = channel.movedim(axis, 0).reshape(view.grid.size[axis], -1)
        assert torch.equal(line, line[:, :1].expand_as(line))
        at = view.grid.origin_mm[axis] + SPACING_MM[axis] * np.arange(view.grid.size[axis])
        half = (box[1, axis] - box[0, axis]) / 2
        expected = np.interp(at, [box[0, axis] - half, box[1, axis] + half], [0, 1])
        np.testing.assert_allclose(line[:, 0], expected, atol=1e-6)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="three lengths"):
        ChestViews((1.0, 1.0, 0.0))
