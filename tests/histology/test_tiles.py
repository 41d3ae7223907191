"""Tiles of slides: what is on them, where the map says a mitosis is, and how often one is seen."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from monai_staging.errors import UsageError
from monai_staging.histology.regions import SlideRegions
from monai_staging.histology.slides import Slide
from monai_staging.histology.tiles import DECAY_PER_UM, GridTiles, MitosisTiles, mitosis_map

SIDE = 400


def slide(folder: Path, name: str, mitoses: tuple = (), lookalikes: tuple = (), um: float = 0.25) -> Slide:
    """White, with a black square of 5 pixels around each mitosis and a red one around each look-alike."""
    pixels = np.full((SIDE, SIDE, 3), 255, np.uint8)
    for points, colour in ((mitoses, (0, 0, 0)), (lookalikes, (255, 0, 0))):
        for x, y in points:
            pixels[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] = colour
    path = folder / f"{name}.tif"
    tifffile.imwrite(path, pixels, photometric="rgb")
    return Slide(name, name, path, um, mitoses, lookalikes)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(-20, 60), st.integers(-20, 60)), min_size=1, max_size=6),
    st.sampled_from([0.25, 0.5]),
    st.floats(0.05, 1.0),
)
def test_the_map_falls_with_the_distance_to_the_nearest_mitosis(points, um, decay) -> None:
    found = mitosis_map(points, (0.0, 0.0), 40, 1.0, decay, um)[0].numpy()
    there = np.ones((80 + 1, 80 + 1), bool)
    for x, y in points:
        there[y + 20, x + 20] = False
    distance_um = ndimage.distance_transform_edt(there)[20:60, 20:60] * um
    np.testing.assert_allclose(found, np.exp(-decay * distance_um), atol=1e-6)


def test_a_tenth_is_left_at_the_radius_that_counts_as_found() -> None:
    found = mitosis_map([(30.0, 30.0)], (0.0, 0.0), 61, 1.0, um=0.25)
    assert float(found[0, 30, 30]) == 1 and float(found[0, 30, 60]) == pytest.approx(math.exp(-DECAY_PER_UM * 7.5))
    assert not mitosis_map([], (0.0, 0.0), 8, 1.0).any()


@pytest.mark.parametrize("um", [0.25, 0.5, 0.23])
def test_the_map_is_highest_where_the_mitosis_is_on_the_tile(tmp_path: Path, um: float) -> None:
    own = slide(tmp_path, "a", ((200.0, 150.0),), um=um)
    tiles = MitosisTiles([own], SlideRegions(), 64, count=40, mitosis_fraction=1.0)
    torch.manual_seed(0)
    middles = []
    for number in range(40):
        item = tiles[number]
        assert item["image"].shape == (3, 64, 64) and item["image"].dtype == torch.uint8 and item["slide"] == "a"
        peak = np.array(np.unravel_index(int(item["map"].argmax()), (64, 64)))
        dark = 255.0 - item["image"][0].numpy()
        middles.append(peak)
        if ((peak > 6) & (peak < 57)).all():
            np.testing.assert_allclose(ndimage.center_of_mass(dark), peak, atol=0.8)
    # Anywhere on the tile.
    assert np.ptp(middles, axis=0).min() > 45


def test_mitoses_and_lookalikes_have_their_share(tmp_path: Path) -> None:
    slides = [
        slide(tmp_path, "both", ((100.0, 100.0), (300.0, 300.0)), ((100.0, 300.0),)),
        slide(tmp_path, "none"),
        slide(tmp_path, "alike", (), ((50.0, 60.0),)),
    ]
    tiles = MitosisTiles(slides, SlideRegions(), 32, count=200, mitosis_fraction=0.2, lookalike_fraction=0.3)
    torch.manual_seed(1)
    items = [tiles[index] for index in range(len(tiles))]
    of_slide = {name: [item for item in items if item["slide"] == name] for name in ("both", "none", "alike")}
    seen = {name: np.mean([bool((item["map"] == 1).any()) for item in own]) for name, own in of_slide.items()}
    # The one slide with mitoses makes up for the others.
    assert seen["both"] == pytest.approx(0.6, abs=0.1) and seen["none"] == seen["alike"] == 0
    red = [bool(((item["image"][0] == 255) & (item["image"][1] == 0)).any()) for item in of_slide["alike"]]
    assert 0.25 < np.mean(red) < 0.45
    torch.manual_seed(1)
    again = pickle.loads(pickle.dumps(tiles))
    assert torch.equal(again[0]["image"], items[0]["image"])


def test_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    one = [slide(tmp_path, "a")]
    for wrong in (
        {"size": 0}, {"count": 0}, {"decay_per_um": 0}, {"mitosis_fraction": -0.1},
        {"mitosis_fraction": 0.7, "lookalike_fraction": 0.4},
    ):  # fmt: skip
        with pytest.raises(UsageError, match="MitosisTiles: a size and count"):
            MitosisTiles(one, SlideRegions(), **wrong)
    with pytest.raises(UsageError, match="at least one slide"):
        MitosisTiles([], SlideRegions())


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, SIDE - 1), st.floats(0, SIDE - 1)), max_size=4),
    st.sampled_from([0.25, 0.5, 0.23]),
    st.floats(0.02, 0.9),
    st.sampled_from([64, 100]),
)
def test_a_tile_is_positive_where_its_map_reaches_the_threshold(
    tmp_path_factory, points, um: float, threshold: float, size: int
) -> None:
    folder = tmp_path_factory.mktemp("slides")
    own = Slide("a", "a", slide(folder, "a").image, um, tuple(points))
    tiles = GridTiles([own], SlideRegions(), size, threshold)
    side = -(-round(SIDE * um / 0.25) // size)
    assert len(tiles) == side**2
    for index in range(len(tiles)):
        item = tiles[index]
        reaches = float(item["map"].max())
        if abs(reaches - threshold) > 1e-6:
            assert bool(item["label"]) == (reaches >= threshold)


def test_grid_settings_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for slides, wrong in (
        ([], {}),
        ([slide(tmp_path, "a")], {"threshold": 1.0}),
        ([slide(tmp_path, "a")], {"size": 0}),
    ):
        with pytest.raises(UsageError, match="GridTiles: slides, a size"):
            GridTiles(slides, SlideRegions(), **wrong)
