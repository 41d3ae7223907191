"""Random views: what moves, what is recoloured, and how far."""

from __future__ import annotations

import pytest
import torch

from monai_staging.errors import UsageError
from monai_staging.transforms.rand_views import RandViews

STILL = {"rotate": False, "mirror": False, "shift_pixels": 0.0, "scale": 0.0}
UNCOLOURED = {"gamma": 0.0, "contrast": 0.0, "brightness": 0.0, "noise": 0.0}


def rand_views(**settings: object) -> RandViews:
    """Nothing is changed but what is asked for."""
    return RandViews(**(STILL | UNCOLOURED | settings))  # type: ignore[arg-type]


def disc(radius: float, size: int = 48, dims: int = 2) -> torch.Tensor:
    axes = torch.meshgrid(*[torch.arange(size) - (size - 1) / 2] * dims, indexing="ij")
    return (radius + 0.5 - torch.stack(axes).norm(dim=0)).clamp(0, 1)


@pytest.mark.parametrize("shape", [(3, 1, 2, 16, 16), (2, 3, 4, 16, 16), (2, 1, 2, 8, 8, 8)])
def test_without_strength_nothing_changes(shape: tuple[int, ...]) -> None:
    views = torch.rand(shape)
    torch.testing.assert_close(rand_views()(views), views, atol=1e-5, rtol=0)


def test_a_seed_repeats_them_and_each_view_has_its_own() -> None:
    views = torch.rand(1, 1, 1, 16, 16).expand(4, 3, 2, 16, 16)
    torch.manual_seed(3)
    first = RandViews()(views)
    assert len({view.numpy().tobytes() for view in first.flatten(0, 1)}) == 12
    torch.manual_seed(3)
    assert torch.equal(RandViews()(views), first)
    assert not torch.equal(RandViews()(views), first)


@pytest.mark.parametrize("dims", [2, 3])
def test_image_and_outline_move_together(dims: int) -> None:
    image = torch.rand(4, 2, 1, *(16,) * dims)
    moved = RandViews(**UNCOLOURED)(torch.cat([image, image], dim=2))
    assert (moved[:, :, 0] - image[:, :, 0]).abs().mean() > 0.1
    torch.testing.assert_close(moved[:, :, 0], moved[:, :, 1])


def test_only_the_image_is_recoloured_all_its_channels_alike() -> None:
    image = torch.rand(4, 1, 1, 16, 16)
    views = torch.cat([image, image, image], dim=2)
    torch.manual_seed(0)
    found = RandViews(2, **(STILL | {"noise": 0.0}))(views)  # type: ignore[arg-type]
    assert torch.allclose(found[:, :, 2], image[:, :, 0], atol=1e-5)
    torch.testing.assert_close(found[:, :, 0], found[:, :, 1])
    assert ((found[:, :, 0] - image[:, :, 0]).abs().flatten(1).mean(dim=1) > 0.003).all()


@pytest.mark.parametrize(
    ("setting", "value", "low", "high"),
    [
        ("gamma", 0.3, 0.5 ** (2.71828**0.3), 0.5 ** (2.71828**-0.3)),
        ("contrast", 0.2, 0.4, 0.6),
        ("brightness", 0.1, 0.4, 0.6),
    ],
)
def test_grey_values_change_within_their_strength(setting: str, value: float, low: float, high: float) -> None:
    torch.manual_seed(0)
    found = rand_views(**{setting: value})(torch.full((300, 1, 1, 2, 2), 0.5))
    assert found.min() >= low - 1e-4 and found.max() <= high + 1e-4
    assert found.min() < low + 0.05 * (high - low) and found.max() > high - 0.05 * (high - low)
    assert (found.amax(dim=(2, 3, 4)) - found.amin(dim=(2, 3, 4))).max() < 1e-5


def test_noise_has_its_deviation() -> None:
    torch.manual_seed(0)
    found = rand_views(noise=0.05)(torch.full((8, 1, 2, 32, 32), 0.5))
    assert found[:, :, 0].std().item() == pytest.approx(0.05, rel=0.05)
    torch.testing.assert_close(found[:, :, 1], torch.full((8, 1, 32, 32), 0.5))


@pytest.mark.parametrize("dims", [2, 3])
def test_sizes_stay_true_within_the_scale(dims: int) -> None:
    torch.manual_seed(0)
    ball = disc(8, 32, dims)
    found = rand_views(scale=0.1, rotate=True, mirror=True, shift_pixels=2.0)(ball.expand(80, 1, 1, *ball.shape))
    factors = (found.flatten(1).sum(dim=1) / ball.sum()) ** (1 / dims)
    assert 1 / 1.1 - 0.01 <= factors.min() < 0.93 and 1.07 < factors.max() <= 1.1 + 0.01
    # Larger as often as smaller.
    assert factors.log().mean().abs() < 0.02
    same = rand_views(rotate=True, mirror=True)(ball.expand(40, 1, 1, *ball.shape))
    torch.testing.assert_close(same.flatten(1).sum(dim=1), ball.sum().expand(40), rtol=0.01, atol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_shifts_reach_so_far_along_each_axis(dims: int) -> None:
    torch.manual_seed(0)
    ball = disc(4, 24, dims)
    found = rand_views(shift_pixels=3.0)(ball.expand(200, 1, 1, *ball.shape))[:, 0, 0]
    places = torch.arange(24) - 11.5
    for axis in range(1, dims + 1):
        others = [other for other in range(1, dims + 1) if other != axis]
        center = (found.sum(dim=others) * places).sum(dim=1) / found.flatten(1).sum(dim=1)
        assert 2.8 < center.max() < 3.02 and -3.02 < center.min() < -2.8


def seen(found: torch.Tensor, expected: list[torch.Tensor]) -> set[int]:
    """Which of the expected pictures occur; every picture must be one of them."""
    places = []
    for picture in found:
        apart = torch.stack([(picture - own).abs().max() for own in expected])
        assert apart.min() < 1e-4
        places.append(int(apart.argmin()))
    return set(places)


@pytest.mark.parametrize("dims", [2, 3])
def test_mirrors_are_exact_and_all_occur(dims: int) -> None:
    torch.manual_seed(0)
    picture = torch.rand((6,) * dims)
    axes = [[axis for axis in range(dims) if number >> axis & 1] for number in range(2**dims)]
    expected = [picture.flip(own) if own else picture for own in axes]
    found = rand_views(mirror=True)(picture.expand(100, 1, 1, *picture.shape))[:, 0, 0]
    assert seen(found, expected) == set(range(2**dims))


def test_cubes_are_turned_by_quarters_in_plane() -> None:
    torch.manual_seed(0)
    cube = torch.rand(5, 6, 6)
    found = rand_views(rotate=True)(torch.nn.functional.pad(cube, (0, 0, 0, 0, 1, 0)).expand(60, 1, 1, 6, 6, 6))
    expected = [torch.rot90(cube, turns, (1, 2)) for turns in range(4)]
    assert seen(found[:, 0, 0, 1:], expected) == {0, 1, 2, 3}


def test_pictures_are_turned_by_any_angle() -> None:
    torch.manual_seed(0)
    picture = torch.zeros(33, 33)
    picture[16, 24] = picture[15, 24] = picture[17, 24] = 1.0
    found = rand_views(rotate=True)(picture.expand(200, 1, 1, 33, 33))[:, 0, 0]
    places = torch.arange(33) - 16.0
    mass = found.sum(dim=(1, 2))
    y = (found.sum(dim=2) * places).sum(dim=1) / mass
    x = (found.sum(dim=1) * places).sum(dim=1) / mass
    # Always as far from the middle, in every direction.
    torch.testing.assert_close(torch.hypot(x, y), torch.full((200,), 8.0), atol=0.25, rtol=0)
    assert torch.histc(torch.atan2(y, x), 4, -torch.pi, torch.pi).min() > 30


@pytest.mark.parametrize("wrong", [{"image_channels": 0}, {"scale": -0.1}, {"noise": -1.0}, {"shift_pixels": -1.0}])
def test_strengths_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    name, value = next(iter(wrong.items()))
    with pytest.raises(UsageError, match=f"{name} {value}"):
        RandViews(**wrong)  # type: ignore[arg-type]
