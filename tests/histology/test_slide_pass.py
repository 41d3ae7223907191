"""A network over a slide: the same whatever the windows, and points where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monai_staging.errors import UsageError
from monai_staging.histology.phantom import HistologyConfig, draw_slide
from monai_staging.histology.regions import SlideRegions
from monai_staging.histology.slide_pass import SlideMap, SlidePass, find_peaks
from monai_staging.histology.slides import Slide
from monai_staging.networks.mitosis import TileClassifier, TileMap, build_mitosis_network
from monai_staging.transforms.stain import StainChannels


class Darkness(TileMap):
    """Says of each tile how dark its darkest pixel is."""

    def __init__(self, tile: int, stride: int) -> None:
        super().__init__()
        self.tile, self.stride, self.halo, self.multiple = tile, stride, 0, stride
        self.pool = nn.MaxPool2d(tile, stride)

    def forward(self, image: Tensor) -> Tensor:
        return 20 * (self.pool(1 - image.mean(dim=1, keepdim=True)) - 0.5)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Slide:
    path = tmp_path_factory.mktemp("slide") / "one.tif"
    made = draw_slide(HistologyConfig(size=500, seed=1), 0)
    tifffile.imwrite(path, made.pixels, photometric="rgb")
    return Slide("one", "one", path, 0.25, made.mitoses, made.lookalikes)


def marked(folder: Path, points: list[tuple[int, int]], size: int = 600, um: float = 0.25) -> Slide:
    """Grey, with a black square of 9 pixels around each point."""
    pixels = np.full((size, size, 3), 190, np.uint8)
    for x, y in points:
        pixels[max(0, y - 4) : y + 5, max(0, x - 4) : x + 5] = 0
    path = folder / f"{len(points)}-{um}.tif"
    tifffile.imwrite(path, pixels, photometric="rgb")
    return Slide("marked", "p", path, um, tuple((float(x), float(y)) for x, y in points))


@torch.no_grad()
def with_contrast(network: TileMap, slide: Slide) -> None:
    """An untrained network says nearly the same everywhere."""
    image = StainChannels("rgb")(SlideRegions().read(slide, 100, 100, 256, 256))[None]
    logits = network.eval()(image)
    last = network.head[-1]
    last.weight.div_(logits.std())
    last.bias.zero_()
    last.bias.sub_(network(image).mean())


@pytest.mark.parametrize("name", ["tiles", "resnet10"])
def test_the_map_does_not_depend_on_the_windows(slide: Slide, name: str) -> None:
    torch.manual_seed(0)
    network = build_mitosis_network(name, width=0.25, channels=16, tile=32, filters=(8, 4), affine=16)
    with_contrast(network, slide)
    if name == "resnet10":
        # As far as it can see at all; a trained one looks at what is near.
        network.halo = 64
    maps = [
        SlidePass(network, SlideRegions(), StainChannels("rgb"), window=window, amp=False)(slide)
        for window in (96, 250, 2000)
    ]
    for other in maps[:2]:
        assert other.values.shape == maps[2].values.shape == (125, 125) and other.cell_um == 1.0
        difference = np.abs(other.values.astype(float) - maps[2].values.astype(float))
        assert difference.max() < 5e-3
    assert maps[2].values[maps[2].values > 0].std() > 0.05


def test_a_cell_is_what_the_network_says_of_its_tile(slide: Slide) -> None:
    torch.manual_seed(1)
    network = TileClassifier(32, 3, (8, 4), 3, affine=16).eval()
    with_contrast(network, slide)
    regions = SlideRegions()
    values = SlidePass(network, regions, StainChannels("rgb"), window=100, amp=False)(slide).values
    # Tile by tile, every 4 pixels and every 8: the zeros at a tile's edge are the only difference.
    tiles = SlidePass(network, regions, StainChannels("rgb"), way="tiles", step=4, amp=False)(slide).values
    both = (tiles > 0) & (values > 0)
    one, other = tiles[both].astype(float), values[both].astype(float)
    assert both.mean() > 0.6 and one.std() > 0.05 and np.corrcoef(one, other)[0, 1] > 0.7
    coarse = SlidePass(network, regions, StainChannels("rgb"), way="tiles", step=8, amp=False)(slide)
    assert coarse.values.shape == (63, 63) and coarse.cell_um == 2.0


@settings(max_examples=10, deadline=None)
@given(
    points=st.lists(st.tuples(st.integers(0, 599), st.integers(0, 599)), min_size=1, max_size=6),
    um=st.sampled_from([0.25, 0.5]),
    tile=st.sampled_from([16, 32]),
    window=st.sampled_from([100, 256, 4000]),
)
def test_points_are_found_where_they_are(tmp_path_factory, points, um: float, tile: int, window: int) -> None:
    """Also on the border of windows and tiles and at the slide's edge, and each once."""
    points = [
        point
        for number, point in enumerate(points)
        if all(max(abs(a - b) for a, b in zip(point, other, strict=True)) > 160 for other in points[:number])
    ]
    own = marked(tmp_path_factory.mktemp("marked"), points, um=um)
    found = SlidePass(Darkness(tile, 4), SlideRegions(), StainChannels("rgb"), window=window, amp=False)(own)
    places, scores = find_peaks(found, smooth_um=2.0, floor=0.3)
    assert len(places) == len(points) and (np.diff(scores) <= 0).all()
    distances = np.linalg.norm(places[:, None] - np.array(points)[None] * um, axis=2)
    # A plateau that the slide's edge cuts off has its middle elsewhere.
    assert distances.min(axis=0).max() < tile * 0.25 and (distances.argmin(axis=0) != -1).all()
    inner = [place for place, point in enumerate(points) if all(60 < value < 540 for value in point)]
    assert not inner or distances.min(axis=0)[inner].max() < 1.1


def test_glass_is_not_looked_at(tmp_path: Path) -> None:
    pixels = np.full((300, 300, 3), 244, np.uint8)
    pixels[150:, 150:] = 120
    tifffile.imwrite(tmp_path / "half.tif", pixels, photometric="rgb")
    looked: list[int] = []
    network = Darkness(16, 4)
    network.register_forward_hook(lambda *_: looked.append(1))
    own = Slide("half", "p", tmp_path / "half.tif", 0.25)
    found = SlidePass(network, SlideRegions(), StainChannels("rgb"), window=75, amp=False)(own)
    assert 0 < len(looked) < 10 and found.values[:30, :30].max() == 0 and found.values[-30:, -30:].min() > 0


def test_of_two_near_peaks_the_higher_stays() -> None:
    values = np.zeros((60, 60), np.float16)
    values[10, 10], values[10, 15], values[40, 20], values[50, 50] = 0.9, 0.8, 0.5, 0.01
    places, scores = find_peaks(SlideMap("s", values, 1.0, 0.25))
    np.testing.assert_allclose(places, [[10.375, 10.375], [20.375, 40.375]])
    np.testing.assert_allclose(scores, [0.9, 0.5], atol=1e-3)
    places, _ = find_peaks(SlideMap("s", values, 1.0, 0.25), radius_um=4.0)
    assert len(places) == 3
    assert len(find_peaks(SlideMap("s", 0 * values, 1.0, 0.25))[0]) == 0


def test_settings_that_cannot_be_are_refused() -> None:
    network, regions, channels = Darkness(16, 4), SlideRegions(), StainChannels("rgb")
    for wrong in ({"way": "all"}, {"window": 0}, {"step": 0}, {"batch_size": 0}):
        with pytest.raises(UsageError, match="SlidePass: one of windows, tiles"):
            SlidePass(network, regions, channels, **wrong)
    with pytest.raises(UsageError, match="Peaks: a radius"):
        find_peaks(SlideMap("s", np.zeros((2, 2), np.float16), 1.0, 0.25), radius_um=0)
