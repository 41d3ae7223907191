"""Candidates: tiles lie around their points, labels are right, and scores are the weighted log-odds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor, nn

from monai_staging.errors import DataError, UsageError
from monai_staging.histology.regions import SlideRegions
from monai_staging.histology.slides import Slide
from monai_staging.networks.mitosis import VerifiedMap, build_mitosis_network
from monai_staging.transforms.rand_tiles import RandTiles
from monai_staging.transforms.stain import StainChannels
from monai_staging.workflows.mitosis_candidates import CandidatePrepareBatch, Verifier, mine_candidates


class Blackness(nn.Module):
    """Log-odds by the darkest pixel in the middle of a tile."""

    def forward(self, tiles: Tensor) -> Tensor:
        return 8 * (0.5 - tiles[:, :, 14:18, 14:18].amin(dim=(1, 2, 3)))[:, None]


@pytest.fixture
def slide(tmp_path: Path) -> Slide:
    pixels = np.full((200, 200, 3), 230, np.uint8)
    for x, y in ((50, 60), (120, 150)):
        pixels[y - 1 : y + 2, x - 1 : x + 2] = 0
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    return Slide("a", "p", tmp_path / "a.tif", 0.25, ((50.0, 60.0), (120.0, 150.0)), ((30.0, 160.0),))


def verifier(**settings) -> Verifier:
    return Verifier(Blackness(), SlideRegions(), StainChannels("rgb"), size=32, amp=False, **settings)


def test_a_tile_lies_around_its_point(slide: Slide) -> None:
    tiles = verifier().tiles(slide, np.array([[50.0, 60.0], [120.0, 150.0]]) * 0.25)
    dark = (tiles == 0).all(dim=1)
    assert dark.sum(dim=(1, 2)).tolist() == [9, 9]
    for tile in dark:
        np.testing.assert_allclose(torch.nonzero(tile).float().mean(dim=0), 16, atol=0.6)
    assert verifier().tiles(slide, np.zeros((0, 2))).shape == (0, 3, 32, 32)


def test_scores_are_weighted_log_odds(slide: Slide) -> None:
    places, scores = np.array([[50.0, 60.0], [100.0, 30.0]]) * 0.25, np.array([0.4, 0.9])
    own = np.array([8 * 0.5, 8 * (0.5 - 230 / 255)])
    for weight in (0.0, 0.3, 1.0):
        found = verifier(weight=weight)(slide, places, scores)
        mixed = weight * own + (1 - weight) * np.log(scores / (1 - scores))
        np.testing.assert_allclose(np.log(found / (1 - found)), mixed, atol=1e-4)
    certain = verifier(weight=0.5)(slide, places, np.array([0.0, 1.0]))
    assert np.isfinite(certain).all() and len(verifier()(slide, np.zeros((0, 2)), np.zeros(0))) == 0
    for wrong in ({"weight": 1.1}, {"batch_size": 0}):
        with pytest.raises(UsageError, match="Verifier: a size"):
            verifier(**wrong)


def found_at(*points: tuple[float, float]) -> SimpleNamespace:
    class Found:
        slide_pass = SimpleNamespace(network=None)

        def __call__(self, slide: Slide, network: object) -> dict:
            return {"xy_um": np.array(points).reshape(-1, 2) * 0.25, "scores": np.linspace(0.9, 0.1, len(points))}

    return Found()


def test_what_is_mined(slide: Slide) -> None:
    # One right, one beside it that lost the mitosis, two that are none.
    inferer = found_at((52, 61), (56, 66), (180, 20), (20, 20))
    tiles = mine_candidates(inferer, [slide], verifier(), copies=3, jitter_um=0.2)
    assert tiles.labels.tolist() == [1, 0, 0, 1, 1, 1, 1, 1, 1, 0] and len(tiles) == 10
    assert tiles[0]["case"] == "a" and tiles[0]["image"].dtype == torch.uint8
    copies = (tiles.images[3:9] == 0).all(dim=1)
    assert (copies[:, 12:21, 12:21].sum(dim=(1, 2)) == 9).all()
    again = mine_candidates(inferer, [slide], verifier(), copies=3, jitter_um=0.2)
    assert torch.equal(again.images, tiles.images)
    bare = Slide("a", "p", slide.image, 0.25)
    with pytest.raises(DataError, match="found 0 and 1"):
        mine_candidates(found_at((20, 20)), [bare], verifier())


def test_a_batch_is_turned_and_labelled() -> None:
    batch = {"image": torch.randint(0, 255, (4, 3, 16, 16), dtype=torch.uint8), "label": torch.tensor([1.0, 0, 0, 1])}
    seen, label = CandidatePrepareBatch(StainChannels("six"), RandTiles())(batch, "cpu")
    assert seen.shape == (4, 6, 16, 16) and label.flatten().tolist() == [1, 0, 0, 1]


def test_two_stages_are_one_network() -> None:
    finder = build_mitosis_network("resnet10", width=0.25, channels=16)
    network = VerifiedMap(finder, "resnet10", width=0.25)
    assert (network.tile, network.stride, network.halo) == (finder.tile, finder.stride, finder.halo)
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(network.eval()(image), finder(image)) and network.judge(image).shape == (1, 1)
