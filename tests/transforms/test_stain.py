"""Stains: against published values, MONAI's transforms, and tiles made of known stains."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.apps.pathology.transforms import ExtractHEStains
from PIL import Image

from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.stain import (
    GLASS,
    REFERENCE,
    NormalizeStain,
    NormalizeStaind,
    StainChannels,
    StainChannelsd,
    find_stains,
    optical_density,
)

TILE = "tissue-level0-7352-11762-7864-12274"


@pytest.fixture(scope="module")
def tile_of(shared_data: Path) -> Callable[[str], torch.Tensor]:
    folder = shared_data / "stain_reference"
    if not (folder / f"{TILE}.png").exists():
        pytest.skip(f"real data missing: {folder}")

    def read(name: str) -> torch.Tensor:
        return torch.from_numpy(np.array(Image.open(folder / f"{name}.png").convert("RGB"))).permute(2, 0, 1)

    return read


def stained(matrix: np.ndarray, concentrations: np.ndarray) -> torch.Tensor:
    """A tile (3, H, W) of stains: columns of ``matrix``, concentrations (stains, H, W)."""
    density = np.tensordot(matrix, concentrations, axes=1)
    return torch.from_numpy(np.clip(GLASS * np.exp(-density) - 1, 0, 255).round().astype(np.uint8))


def speckled(seed: int, matrix: np.ndarray = REFERENCE.matrix[:, :2], side: int = 96) -> torch.Tensor:
    """Pixels of pure and of mixed stains."""
    draw = np.random.default_rng(seed)
    share = draw.choice([0.0, 1.0, -1.0], (side, side))
    share = np.where(share < 0, draw.random((side, side)), share)
    strength = draw.uniform(0.6, 1.6, (side, side))
    return stained(matrix, np.stack([share * strength, (1 - share) * strength]))


def test_stains_of_the_reference_tile_are_the_published_ones(tile_of: Callable[[str], torch.Tensor]) -> None:
    found = find_stains(tile_of(TILE))
    np.testing.assert_allclose(found.matrix, REFERENCE.matrix, atol=1e-4)
    np.testing.assert_allclose(found.largest, REFERENCE.largest, atol=1e-4)
    # MONAI finds the same columns, and calls the other one haematoxylin.
    monai = ExtractHEStains()(tile_of(TILE).permute(1, 2, 0).numpy())
    np.testing.assert_allclose(monai[:, ::-1], found.matrix[:, :2], atol=1e-4)


@pytest.mark.parametrize("name", ["low-nuclei-score-level0", "medium-nuclei-score-level1"])
def test_normalised_tiles_are_the_published_ones(tile_of: Callable[[str], torch.Tensor], name: str) -> None:
    result = NormalizeStaind("image")({"image": tile_of(name), "other": 1})
    expected = tile_of(f"{TILE}--{name}--macenko")
    assert result["image"].dtype == torch.uint8 and result["other"] == 1
    assert (result["image"].float() - expected.float()).abs().mean() < 0.5


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.6, 0.9), st.floats(0.3, 0.4))
def test_known_stains_are_found_whatever_the_order_of_the_pixels(seed: int, red: float, eosin_red: float) -> None:
    # No purer than that: of what is brighter than the threshold in one colour the method sees nothing.
    colours = np.array([[red, eosin_red], [0.75, 0.95], [0.4, 0.4]])
    colours /= np.linalg.norm(colours, axis=0)
    image = speckled(seed, colours)
    found = find_stains(image)
    np.testing.assert_allclose(found.matrix[:, :2], colours, atol=0.02)
    assert np.linalg.det(found.matrix) != 0 and found.matrix[:, 2] @ found.matrix[:, 0] == pytest.approx(0, abs=1e-9)
    shuffled = image.flatten(1)[:, torch.randperm(image[0].numel())].reshape(image.shape)
    np.testing.assert_allclose(find_stains(shuffled).matrix, found.matrix, atol=1e-9)


def test_made_like_itself_a_tile_stays_and_made_alike_two_tiles_agree() -> None:
    image = speckled(1)
    own = NormalizeStain(find_stains(image))(image)
    assert (own.int() - image.int()).abs().max() <= 2
    colours = np.array([[0.7, 0.1], [0.6, 0.95], [0.35, 0.3]])
    other = speckled(1, colours / np.linalg.norm(colours, axis=0))
    assert (other.float() - image.float()).abs().mean() > 10
    first, second = (NormalizeStain()(tile).float() for tile in (image, other))
    assert (first - second).abs().mean() < 3


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        (torch.full((3, 64, 64), 243, dtype=torch.uint8), "at least 1% of a tile must be tissue"),
        (torch.zeros((3, 64, 64), dtype=torch.uint8), "a tile with one stain"),
        (
            stained(REFERENCE.matrix[:, :1], np.random.default_rng(0).uniform(0.5, 1.5, (1, 64, 64))),
            "degrees apart, found",
        ),
    ],
    ids=["glass", "black", "no eosin"],
)
def test_a_tile_whose_stains_cannot_be_told_is_left_and_reported(
    tile: torch.Tensor, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DataError, match=message):
        find_stains(tile)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(NormalizeStain()(tile), tile)
    assert "the tile is left as it is" in caplog.text


@pytest.mark.parametrize("tile", [torch.zeros(3, 4, 4), torch.zeros((4, 4, 3), dtype=torch.uint8)])
def test_what_is_no_tile_is_refused(tile: torch.Tensor) -> None:
    for use in (find_stains, NormalizeStain(), optical_density):
        with pytest.raises(DataError, match="a tile is \\(3, H, W\\) uint8, found"):
            use(tile)


def test_channels_are_colours_and_concentrations() -> None:
    share = np.zeros((2, 8, 8))
    share[0, :4], share[1, 4:] = REFERENCE.largest[0], 0.5 * REFERENCE.largest[1]
    image = stained(REFERENCE.matrix[:, :2], share)
    channels = StainChannels("he")(image)
    assert channels.shape == (2, 8, 8) and channels.dtype == torch.float32
    np.testing.assert_allclose(channels[:, 0, 0], [1, 0], atol=0.06)
    np.testing.assert_allclose(channels[:, 7, 0], [0, 0.5], atol=0.03)
    six = StainChannelsd("tile", "six")({"tile": image})["tile"]
    assert six.shape == (6, 8, 8) and torch.equal(six[3:5], channels) and six[5].abs().max() < 0.03
    assert torch.equal(six[:3], StainChannels()(image)) and StainChannels("six").channels == 6
    with pytest.raises(UsageError, match="kind is one of rgb, he, six; found 'hed'"):
        StainChannels("hed")
