"""Stretches that are changed at random: images and cells together, slices of one stretch alike."""

from __future__ import annotations

import pytest
import torch

from monai_staging.errors import UsageError
from monai_staging.transforms.rand_stretches import RandStretches


def batch(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose every cell of 8 x 8 has one value, which is also that of the cell."""
    cells = torch.randint(1, 200, (count, 3, 8, 8))
    images = cells[:, :, None].repeat_interleave(8, -1).repeat_interleave(8, -2) / 255
    return images.expand(-1, -1, 2, -1, -1), cells


def test_a_cell_goes_where_its_pixels_go() -> None:
    torch.manual_seed(0)
    images, cells = batch()
    changed, classes = RandStretches(contrast=0, brightness=0, noise=0)(images, cells)
    assert changed.shape == images.shape and not torch.equal(changed, images)
    means = changed[:, :, 0].unfold(-2, 8, 8).unfold(-2, 8, 8).mean(dim=(-2, -1))
    assert torch.allclose(255 * means, classes.float(), atol=1e-3)


def test_all_slices_of_a_stretch_are_changed_alike_and_stretches_differ() -> None:
    torch.manual_seed(1)
    cells = torch.arange(64).reshape(1, 1, 8, 8).expand(12, 3, 8, 8)
    images = torch.zeros(12, 3, 1, 64, 64)
    _, classes = RandStretches()(images, cells)
    assert bool((classes == classes[:, :1]).all())
    assert len({tuple(own[0].flatten().tolist()) for own in classes}) > 3


def test_without_strengths_nothing_is_changed() -> None:
    images, cells = batch()
    changed, classes = RandStretches(mirror=False, shift=0, contrast=0, brightness=0, noise=0)(images, cells)
    assert torch.equal(changed, images) and torch.equal(classes, cells)


def test_values_stay_in_bounds() -> None:
    changed, _ = RandStretches(contrast=0.9, brightness=0.9)(*batch())
    assert float(changed.min()) >= 0 and float(changed.max()) <= 1


def test_a_negative_strength_is_refused() -> None:
    with pytest.raises(UsageError, match="no strength is negative"):
        RandStretches(shift=-1)
