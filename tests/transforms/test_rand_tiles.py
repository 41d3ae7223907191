"""Augmented tiles: the map goes where the tile goes, and colours vary by stains only."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_staging.errors import UsageError
from monai_staging.histology.phantom import HistologyConfig, draw_slide
from monai_staging.transforms.rand_tiles import RandTiles
from monai_staging.transforms.stain import GLASS, REFERENCE, optical_density


@pytest.fixture(scope="module")
def tiles() -> torch.Tensor:
    pixels = draw_slide(HistologyConfig(size=128, seed=2), 0).pixels
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].repeat(48, 1, 1, 1)


def test_map_and_tile_are_turned_together(tiles: torch.Tensor) -> None:
    torch.manual_seed(0)
    target = 1 - tiles[:, :1].float() / 255
    image, moved = RandTiles(stain_scale=0, stain_shift=0, brightness=0)(tiles, target)
    torch.testing.assert_close(moved, 1 - image[:, :1].float() / 255)
    assert len({one.numpy().tobytes() for one in image}) == 8  # four turns, each mirrored or not
    still, _ = RandTiles(turn=False, stain_scale=0, stain_shift=0, brightness=0)(tiles, target)
    assert torch.equal(still, tiles)


def test_each_stain_gets_more_or_less(tiles: torch.Tensor) -> None:
    torch.manual_seed(1)
    image, _ = RandTiles(turn=False, stain_scale=0.3, stain_shift=0, brightness=0)(tiles, tiles[:, :1].float())
    inverse = torch.from_numpy(np.linalg.inv(REFERENCE.matrix)).float()
    before = inverse @ optical_density(tiles[0]).flatten(1)
    factors = []
    for one in image:
        after = inverse @ optical_density(one).flatten(1)
        # What a byte does not round away.
        sure = (one.flatten(1) > 20).all(dim=0) & (one.flatten(1) < 230).all(dim=0) & (before[:2] > 0.3).all(dim=0)
        ratio = (after[:2, sure] / before[:2, sure]).median(dim=1).values
        factors.append(ratio.tolist())
    spread = np.array(factors)
    assert spread.min() > 0.65 and spread.max() < 1.35 and np.ptp(spread, axis=0).min() > 0.3
    assert abs(np.corrcoef(spread.T)[0, 1]) < 0.5


def test_light_and_noise(tiles: torch.Tensor) -> None:
    torch.manual_seed(2)
    grey = torch.full((16, 3, 32, 32), int(GLASS / 2), dtype=torch.uint8)
    image, _ = RandTiles(turn=False, stain_scale=0, stain_shift=0, brightness=0.2)(grey, grey[:, :1].float())
    means = image.float().mean(dim=(2, 3))
    assert float((means - means.mean(dim=1, keepdim=True)).abs().max()) <= 1  # of no colour
    assert 0.79 < float(means.min()) / (GLASS / 2) < 0.9 and 1.1 < float(means.max()) / (GLASS / 2) < 1.21
    noisy, _ = RandTiles(turn=False, stain_scale=0, stain_shift=0, brightness=0, noise=4.0)(grey, grey[:, :1].float())
    assert float(noisy.float().std()) == pytest.approx(4.0, rel=0.1) and noisy.dtype == torch.uint8


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in ({"stain_scale": 1.0}, {"stain_shift": -0.1}, {"brightness": 1.0}, {"noise": -1.0}):
        with pytest.raises(UsageError, match="RandTiles: stain_scale"):
            RandTiles(**wrong)
