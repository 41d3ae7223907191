"""Damage: where it is done, what it keeps, and that a seed gives it again."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.errors import UsageError
from monai_staging.transforms.corrupt import Corrupt, local_shuffle, mask_cells, monotone_warp

SHAPES = [(3, 1, 16, 16), (2, 3, 17, 10), (2, 1, 9, 8, 11), (2, 2, 8, 8, 8)]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(seed=st.integers(0, 10_000), low=st.floats(0, 1), high=st.floats(0, 1))
@settings(max_examples=60)
def test_the_warp_never_changes_the_order_of_intensities(seed: int, low: float, high: float) -> None:
    values = torch.cat([torch.linspace(0, 1, 500), torch.tensor([low, high])]).sort().values
    bent = monotone_warp(values.view(1, 1, 1, -1).expand(4, 1, 1, -1), seeded(seed))
    assert (bent.diff(dim=-1) >= 0).all()
    assert bent.min() >= 0 and bent.max() <= 1
    torch.testing.assert_close(bent[..., 0], torch.zeros(4, 1, 1))
    torch.testing.assert_close(bent[..., -1], torch.ones(4, 1, 1))


def test_the_warp_is_the_bezier_curve_of_its_control_points() -> None:
    images = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
    (x1, x2), (y1, y2) = torch.rand(2, 1, 2, 1, generator=seeded(4)).reshape(2, 2).double()
    t = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    x, y = (3 * (1 - t) ** 2 * t * a + 3 * (1 - t) * t**2 * b + t**3 for a, b in ((x1, x2), (y1, y2)))
    nearest = torch.searchsorted(x, images.flatten().double()).clamp(max=len(t) - 1)
    torch.testing.assert_close(monotone_warp(images, seeded(4)).flatten().double(), y[nearest], atol=2e-3, rtol=0)


def test_every_image_has_a_curve_of_its_own_and_all_channels_the_same() -> None:
    images = torch.linspace(0, 1, 64).view(1, 1, 8, 8).expand(3, 2, 8, 8)
    bent = monotone_warp(images, seeded(0))
    torch.testing.assert_close(bent[:, 0], bent[:, 1])
    assert (bent[0] - bent[1]).abs().max() > 0.01


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shuffle_moves_voxels_within_their_block_alone(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape, generator=seeded(1))
    shuffled, mask = local_shuffle(images, block=4, share=0.5, generator=seeded(2))
    assert mask.shape == (shape[0], 1, *shape[2:]) and mask.any() and not mask.all()
    where = mask.expand_as(images)
    assert torch.equal(shuffled[~where], images[~where])
    assert not torch.equal(shuffled, images)
    # Block by block the same values, and what is left over at the edges untouched.
    for axis, size in enumerate(shape[2:], start=2):
        assert not mask.narrow(axis, size // 4 * 4, size % 4).any()
    corner = (slice(None), slice(None), *(slice(4, 8) for _ in shape[2:]))
    assert torch.equal(shuffled[corner].flatten(2).sort().values, images[corner].flatten(2).sort().values)


def test_a_shuffle_keeps_the_channels_of_a_voxel_together() -> None:
    images = torch.rand(2, 1, 8, 8, generator=seeded(0)).repeat(1, 3, 1, 1)
    shuffled, _ = local_shuffle(images, 4, 1.0, seeded(1))
    assert torch.equal(shuffled[:, 0], shuffled[:, 2]) and not torch.equal(shuffled, images)


def test_an_image_smaller_than_a_block_is_left_alone() -> None:
    images = torch.rand(2, 1, 3, 9)
    shuffled, mask = local_shuffle(images, 4, 1.0)
    assert torch.equal(shuffled, images) and not mask.any()


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_changes_outside_the_mask(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape, generator=seeded(3)) * 0.5
    masked, mask = mask_cells(images, cell=4, share=0.5, generator=seeded(4))
    where = mask.expand_as(images)
    assert torch.equal(masked[~where], images[~where])
    assert mask.any() and not mask.all()
    # Each cell is covered as a whole, in one grey.
    first = (slice(None), slice(None), *(slice(0, 4) for _ in shape[2:]))
    for image, covered in zip(masked[first], mask[first], strict=True):
        assert covered.all() or not covered.any()
        if covered.all():
            assert image.unique().numel() == 1


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_none_or_all(share: float) -> None:
    images = torch.rand(2, 1, 12, 12)
    assert mask_cells(images, 5, share)[1].float().mean() == share
    assert local_shuffle(images, 4, share)[1].float().mean() == share


@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_gives_the_same_damage_and_the_images_stay(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape, generator=seeded(5))
    before = images.clone()
    corrupt = Corrupt()
    once, again, other = (corrupt(images, seeded(seed)) for seed in (6, 6, 7))
    assert torch.equal(once, again) and not torch.equal(once, other)
    assert torch.equal(images, before)
    assert once.min() >= 0 and once.max() <= 1


def test_without_any_probability_nothing_is_damaged() -> None:
    images = torch.rand(2, 1, 16, 16)
    assert torch.equal(Corrupt(warp=0, shuffle=0, mask=0)(images), images)
    torch.manual_seed(0)
    once = Corrupt()(images)
    torch.manual_seed(0)
    assert torch.equal(Corrupt()(images), once)


@pytest.mark.parametrize("wrong", [{"block": 0}, {"cell": -1}, {"warp": 1.5}, {"cell_share": -0.1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Corrupt(**wrong)  # type: ignore[arg-type]
