"""Thickness of things: openings against SciPy's, bands of things of known size, and running statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from monai_staging.errors import UsageError
from monai_staging.networks.granulometry import Granulometry, opening


def noise(seed: int, shape: tuple[int, int, int] = (17, 12, 9)) -> torch.Tensor:
    return torch.randint(0, 256, (1, 2, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [3, 5, 7])
def test_opening_is_scipy_s(size: int) -> None:
    image = noise(size)
    for channel in range(2):
        expected = ndimage.grey_opening(image[0, channel].numpy(), size=(size,) * 3, mode="nearest")
        np.testing.assert_array_equal(opening(image, size)[0, channel].numpy(), expected)


@given(seed=st.integers(0, 1000), size=st.integers(2, 6))
@settings(max_examples=30, deadline=None)
def test_opening_takes_away_only_and_only_once(seed: int, size: int) -> None:
    image = noise(seed)
    # At the border all depends on what one takes to lie outside: here, nothing.
    padded = torch.nn.functional.pad(image.float(), [size] * 6).to(torch.uint8)
    opened = opening(padded, size)
    assert bool((opened <= padded).all())
    assert torch.equal(opening(opened, size), opened)


@pytest.mark.parametrize(("edge", "band"), [(1, 0), (2, 1), (4, 2), (6, 3), (10, 4)])
@pytest.mark.parametrize("bright", [True, False])
def test_a_cube_lies_in_the_band_of_its_edge(edge: int, band: int, bright: bool) -> None:
    image = torch.zeros(1, 1, 64, 64, 32)
    image[:, :, 20 : 20 + 2 * edge, 24 : 24 + 2 * edge, 10 : 10 + edge] = 1  # the grid is halved in the plane
    # A tube as thin as a vessel, however long, is in the thinnest band alone.
    image[:, :, :, 50:52, 4] = 1
    granulometry = Granulometry(1, 8)
    values = granulometry.bands(image if bright else 1 - image, (32, 8, 8))[0]
    bands = values[..., 0:10:2] if bright else values[..., 1:10:2]
    cube = bands[10 : 10 + edge].amax(dim=(0, 1, 2))
    assert int(cube.argmax()) == band and float(cube[band]) == 1
    assert bands[4, :, 6].amax(dim=0).tolist() == [1, 0, 0, 0, 0]


def test_statistics_are_those_of_all_that_was_seen() -> None:
    granulometry = Granulometry(1, 8, sizes=(2, 3))
    batches = [
        torch.rand(1, 1, 32, 32, 8, generator=torch.Generator().manual_seed(seed)) ** (seed + 1) for seed in range(4)
    ]
    for batch in batches:
        granulometry(batch, (8, 4, 4))
    every = torch.cat([granulometry.bands(batch, (8, 4, 4)).flatten(0, -2) for batch in batches])
    torch.testing.assert_close(granulometry.get_buffer("mean"), every.mean(dim=0))
    torch.testing.assert_close(granulometry.get_buffer("variance"), every.var(dim=0, correction=0))
    before = granulometry.get_buffer("mean").clone()
    granulometry.eval()(batches[0], (8, 4, 4))
    assert torch.equal(granulometry.get_buffer("mean"), before)


@pytest.mark.parametrize("sizes", [(), (1, 2), (3, 2), (2, 2)])
def test_sizes_must_ascend(sizes: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="ascend"):
        Granulometry(1, 8, sizes)
