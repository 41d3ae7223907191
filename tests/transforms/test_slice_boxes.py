"""Slices as square images: there and back, and augmented together with their boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.slice_boxes import RandSliceBoxes, SliceImage

lengths = st.integers(8, 90)


@given(columns=lengths, rows=lengths, size=st.integers(4, 100), seed=st.integers(0, 99))
def test_boxes_go_there_and_back(columns: int, rows: int, size: int, seed: int) -> None:
    corners = np.sort(np.random.default_rng(seed).uniform(0, 1, (5, 2, 2)), axis=1) * (columns, rows)
    boxes = corners.reshape(5, 4)
    image = SliceImage(size)
    found = image.to_image(boxes, (columns, rows))
    assert found.min() >= 0 and found.max() <= size + 1e-9
    np.testing.assert_allclose(image.to_slice(found, (columns, rows)), boxes, atol=1e-9)
    # One scale along both axes: nothing is stretched.
    scale = (found[:, 2] - found[:, 0]) / (boxes[:, 2] - boxes[:, 0])
    np.testing.assert_allclose(scale, size / max(columns, rows))


def test_a_square_slice_of_the_size_stays_as_it_is() -> None:
    hu = np.random.default_rng(0).integers(-1400, 800, (32, 32)).astype(np.int16)
    shown = SliceImage(32, ["lung"])(hu)
    expected = np.clip((hu.T + 1350) / 1500, 0, 1) * 255
    np.testing.assert_allclose(shown[0].numpy(), np.round(expected), atol=1)
    assert shown.dtype == torch.uint8 and shown.shape == (1, 32, 32)


def test_an_image_shows_what_its_box_holds() -> None:
    hu = np.full((50, 30), -1000, np.int16)
    hu[10:20, 5:25] = 60
    image = SliceImage(100, ["lung", "mediastinum"])
    shown = image(hu)
    x0, y0, x1, y1 = np.round(image.to_image([[10, 5, 20, 25]], hu.shape)[0]).astype(int)
    assert shown.shape == (2, 100, 100) and image.channels == 2
    inside = torch.zeros(100, 100, dtype=torch.bool)
    inside[y0:y1, x0:x1] = True
    # Half of a pixel's edge on either side is blurred by the scaling.
    margin = torch.zeros_like(inside)
    margin[y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = True
    margin[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = False
    assert torch.equal((shown[0] > 200) & ~margin, inside & ~margin)


def test_wrong_settings_and_shapes_are_told() -> None:
    with pytest.raises(UsageError, match="at least 4 pixels"):
        SliceImage(2)
    with pytest.raises(DataError, match="found shape"):
        SliceImage(8)(np.zeros((8, 8, 3), np.int16))
    with pytest.raises(UsageError, match="no strength is negative"):
        RandSliceBoxes(shift=-0.1)


@given(seed=st.integers(0, 10_000))
def test_the_box_moves_with_the_image(seed: int) -> None:
    torch.manual_seed(seed)
    size = 64
    # Not at the edge, from where the image is continued outwards.
    low = torch.randint(2, 38, (6, 2))
    high = low + torch.randint(10, 24, (6, 2))
    images = torch.zeros(6, 1, size, size)
    for image, (x0, y0), (x1, y1) in zip(images, low.tolist(), high.tolist(), strict=True):
        image[0, y0:y1, x0:x1] = 1
    boxes = torch.cat([low, high], dim=1).float()
    moved, found = RandSliceBoxes(contrast=0, brightness=0)(images, boxes)
    assert (found >= -1e-3).all() and (found <= size + 1e-3).all()
    for image, box in zip(moved, found, strict=True):
        bright = (image[0] > 0.5).nonzero()
        y0, x0 = bright.min(dim=0).values
        y1, x1 = bright.max(dim=0).values + 1
        # The edge of a pixel is where half of it is bright.
        torch.testing.assert_close(torch.stack([x0, y0, x1, y1]).float(), box, atol=1.0, rtol=0)


def test_slices_without_a_box_are_moved_too_and_stay_without() -> None:
    torch.manual_seed(0)
    images = torch.rand(4, 2, 32, 32)
    boxes = torch.full((4, 4), torch.nan)
    boxes[1] = torch.tensor([4.0, 5.0, 20.0, 30.0])
    moved, found = RandSliceBoxes()(images, boxes)
    assert torch.isfinite(moved).all() and not torch.equal(moved, images)
    assert torch.isnan(found).all(dim=1).tolist() == [True, False, True, True]


def test_without_strength_nothing_changes() -> None:
    images, boxes = torch.rand(3, 1, 16, 16), torch.tensor([[1.0, 2.0, 7.0, 9.0]]).repeat(3, 1)
    still = RandSliceBoxes(mirror=False, zoom=0, shift=0, contrast=0, brightness=0)
    moved, found = still(images, boxes)
    torch.testing.assert_close(moved, images)
    torch.testing.assert_close(found, boxes)
