"""Random views of a batch: geometry, mirrors, intensities, seeds."""

from __future__ import annotations

import pytest
import torch

from monai_staging.errors import UsageError
from monai_staging.transforms.views import RandView

STILL = RandView(smallest=1.0)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(3, 2, 12, 10), (2, 1, 8, 9, 10)])
def test_a_view_of_no_strength_is_the_image(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape)
    torch.testing.assert_close(STILL(images), images, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirrors_are_along_the_axes_asked_for(axis: int) -> None:
    images = torch.rand(2, 1, 6, 7, 8)
    flip = [float(number == axis) for number in range(3)]
    torch.testing.assert_close(RandView(smallest=1.0, flip=flip)(images), images.flip(2 + axis), atol=1e-5, rtol=1e-5)


def test_a_view_cuts_out_a_part_that_lies_in_the_image() -> None:
    # A ramp: a view of it shows from where to where it reaches.
    ramp = torch.linspace(0.1, 0.9, 64).view(1, 1, 64, 1).expand(200, 1, 64, 64)
    views = RandView(smallest=0.5, largest=0.75)(ramp, seeded(0))
    extent = views.amax(dim=(1, 2, 3)) - views.amin(dim=(1, 2, 3))
    # Nothing from outside, which is 0, but for less than half a voxel at the edge.
    assert views.min() >= 0.05
    assert extent.min() > 0.8 * 0.48 and extent.max() < 0.8 * 0.76
    assert views.amin(dim=(1, 2, 3)).max() - views.min() > 0.25  # at many places


def test_above_one_the_image_is_smaller() -> None:
    views = RandView(smallest=2.0, largest=2.0)(torch.ones(4, 1, 32, 32), seeded(0))
    assert views.mean() == pytest.approx(0.25, abs=0.03)


def test_a_turn_keeps_the_third_axis() -> None:
    image = torch.zeros(1, 1, 9, 9, 3)
    image[..., 2] = 1.0
    turned = RandView(smallest=1.0, rotate_degrees=90)(image.expand(8, -1, -1, -1, -1), seeded(1))
    assert turned[..., :2].abs().max() < 1e-5
    disc = torch.zeros(1, 1, 21, 21)
    disc[0, 0, 4, 10] = 1.0
    turned = RandView(smallest=1.0, rotate_degrees=180)(disc.expand(50, -1, -1, -1), seeded(2))
    rows, columns = (turned.flatten(2).argmax(-1) // 21 - 10).float(), (turned.flatten(2).argmax(-1) % 21 - 10).float()
    assert ((rows**2 + columns**2).sqrt() - 6).abs().max() < 1.0
    assert rows.max() > 4  # turned round


def test_intensities_change_by_no_more_than_asked() -> None:
    images = torch.full((100, 1, 8, 8), 0.5)
    brighter = RandView(smallest=1.0, brightness=0.2)(images, seeded(0))
    assert (brighter - 0.5).abs().max() <= 0.2 + 1e-5 and brighter.std() > 0.05
    half = torch.cat([torch.full((100, 1, 4, 8), 0.4), torch.full((100, 1, 4, 8), 0.6)], dim=2)
    spread = RandView(smallest=1.0, contrast=0.5)(half, seeded(1)).std(dim=(1, 2, 3)) / half.std(dim=(1, 2, 3))
    assert spread.min() >= 1 / 1.5 - 1e-3 and spread.max() <= 1.5 + 1e-3 and spread.max() > 1.2 and spread.min() < 0.8
    noisy = RandView(smallest=1.0, noise=0.1)(images, seeded(2))
    assert 0 < noisy.std() < 0.1


def test_a_seed_gives_the_same_views() -> None:
    view = RandView(0.4, 1.0, 15, 0.5, 0.5, 0.1, 0.05)
    images = torch.rand(4, 1, 16, 16)
    assert torch.equal(view(images, seeded(0)), view(images, seeded(0)))
    assert not torch.equal(view(images, seeded(0)), view(images, seeded(1)))


@pytest.mark.parametrize("wrong", [{"smallest": 0.0}, {"smallest": 1.1}, {"contrast": -0.1}, {"rotate_degrees": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        RandView(**wrong)
