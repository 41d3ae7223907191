"""Regions at one pixel size and in one stain."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from monai_staging.errors import UsageError
from monai_staging.histology.phantom import HistologyConfig, draw_slide
from monai_staging.histology.regions import SlideRegions, tissue_pixels
from monai_staging.histology.slides import Slide
from monai_staging.transforms.stain import REFERENCE, find_stains


def written(folder: Path, name: str, pixels: np.ndarray, um: float = 0.25) -> Slide:
    path = folder / f"{name}.tif"
    tifffile.imwrite(path, pixels, photometric="rgb")
    return Slide(name, name, path, um)


def test_a_region_has_the_pixel_size_that_is_asked_for(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (120, 200, 3))
    own = written(tmp_path, "ramp", ramp, um=0.125)
    regions = SlideRegions(0.25)
    assert regions.size(own) == (100, 60)
    found = regions.read(own, 10, 5, 30, 20)
    assert found.shape == (3, 20, 30)
    # Each pixel is the mean of two: 20 and 21 are 20.5 in the middle.
    np.testing.assert_allclose(found[0, 8, 3:-3].float(), 2 * (10 + np.arange(3, 27)) + 0.5, atol=1)
    assert bool((regions.read(own, 150, 0, 8, 8) == 255).all())


def test_slides_of_any_stain_come_out_alike(tmp_path: Path) -> None:
    config = HistologyConfig(size=512, seed=3)
    slides = [written(tmp_path, str(number), draw_slide(config, number).pixels) for number in range(4)]
    plain, alike = SlideRegions(), SlideRegions(normalize=True)
    spread = []
    for regions in (plain, alike):
        vectors = [find_stains(regions.read(own, 0, 0, 512, 512)).matrix[:, :2] for own in slides]
        spread.append(np.std(vectors, axis=0).max())
    assert spread[1] < 0.6 * spread[0]
    vectors = find_stains(alike.read(slides[0], 0, 0, 512, 512)).matrix[:, :2]
    np.testing.assert_allclose(vectors, REFERENCE.matrix[:, :2], atol=0.05)
    again = pickle.loads(pickle.dumps(alike))
    assert torch.equal(again.read(slides[1], 7, 9, 40, 40), alike.read(slides[1], 7, 9, 40, 40))


def test_glass_is_left_as_it_is_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    glass = written(tmp_path, "glass", np.full((300, 300, 3), 243, np.uint8))
    with caplog.at_level(logging.WARNING):
        found = SlideRegions(normalize=True).read(glass, 0, 0, 50, 50)
    assert bool((found == 243).all()) and "Slide glass: no tissue" in caplog.text
    assert not tissue_pixels(found).any() and tissue_pixels(torch.full((3, 4, 4), 100)).all()
    pink = torch.tensor([235, 150, 190], dtype=torch.uint8)[:, None, None].expand(3, 4, 4)
    assert tissue_pixels(pink).all()


def test_only_so_many_slides_stay_open(tmp_path: Path) -> None:
    slides = [written(tmp_path, str(number), np.full((40, 40, 3), number, np.uint8)) for number in range(3)]
    regions = SlideRegions(keep=2)
    for own in (*slides, slides[0], slides[2]):
        assert int(regions.read(own, 0, 0, 4, 4)[0, 0, 0]) == int(own.name)
    assert list(regions._open) == ["0", "2"]
    with pytest.raises(UsageError, match="pixels above 0 um"):
        SlideRegions(0.0)
