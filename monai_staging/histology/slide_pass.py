"""A network over a whole slide, window by window, and the points at the peaks of what it gives."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from monai_staging.errors import UsageError
from monai_staging.histology.regions import SlideRegions, tissue_pixels
from monai_staging.histology.slides import Slide
from monai_staging.networks.mitosis import TileMap
from monai_staging.progress import progress
from monai_staging.transforms.stain import StainChannels
from monai_staging.workflows.inferers import AutocastInferer

logger = logging.getLogger("monai_staging.histology")

WAYS = ("windows", "tiles")
RADIUS_UM = 7.5
"""Within which there is one peak: what counts as the same mitosis."""
LONG = 16_000_000
"""Pixels of a slide from which on a bar says how far it is."""


@dataclass(frozen=True, eq=False)
class SlideMap:
    """What a network says of every place of a slide.

    Attributes:
        slide: its name.
        values: (H, W) probabilities, float16; row i and column j stand for the square of ``cell_um`` there.
        cell_um: side of a cell.
        pixel_um: side of a pixel of the slide.
    """

    slide: str
    values: npt.NDArray[np.float16]
    cell_um: float
    pixel_um: float

    def um(self, cells: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(N, 2) places (column, row) in cells, an integer being a cell's middle, to (x, y) in um of the slide.

        As of the truth, 0 is the middle of the slide's first pixel.
        """
        return (np.asarray(cells, dtype=np.float64) + 0.5) * self.cell_um - 0.5 * self.pixel_um


class SlidePass:
    """Goes over a slide with a network, whose map does not depend on how the slide is divided.

    ``windows`` (the default) are passed through whole: a convolution is computed once where tiles overlap. Each reads
    as much more around as the network needs, so that windows join without a seam; a window of glass is left out, its
    probability being 0. ``tiles`` goes tile by tile, every ``step`` pixels, as a network that is made for tiles is
    published; it is there for comparison. Memory is that of a batch and of the map: 50 MB for 20,000 x 20,000 pixels
    and a cell in 4.

    Args:
        network: gives a map.
        regions: gives pixels.
        channels: what the network sees of them.
        device: where it runs.
        window: pixels along each side of the part of the map that is made at a time, rounded to what the network takes.
        way: one of :data:`WAYS`.
        step: of ``tiles``; half a tile by default.
        batch_size: of ``tiles``.
        amp: see :class:`~monai_staging.workflows.inferers.AutocastInferer`.

    Raises:
        UsageError: another way, or a size that is not above 0.
    """

    def __init__(
        self,
        network: TileMap,
        regions: SlideRegions,
        channels: StainChannels,
        device: str | torch.device = "cpu",
        window: int = 1024,
        way: str = "windows",
        step: int | None = None,
        batch_size: int = 64,
        amp: bool | str = "auto",
    ) -> None:
        if way not in WAYS or min(window, batch_size) < 1 or (step is not None and step < 1):
            raise UsageError(
                f"SlidePass: one of {', '.join(WAYS)} and sizes of at least 1 are needed; found {way}, "
                f"window {window}, step {step}, batch_size {batch_size}"
            )
        self.network = network
        self.regions = regions
        self.channels = channels
        self.device = torch.device(device)
        self.window = window
        self.way = way
        self.step = step
        self.batch_size = batch_size
        self.inferer = AutocastInferer(device, amp)

    def __call__(self, slide: Slide) -> SlideMap:
        """The map of a slide.

        Raises:
            DataError: its file is damaged.
        """
        training = self.network.training
        self.network.eval()
        try:
            with torch.inference_mode():
                values, cell = self._windows(slide) if self.way == "windows" else self._tiles(slide)
        finally:
            self.network.train(training)
        return SlideMap(slide.name, values, cell * self.regions.microns_per_pixel, slide.microns_per_pixel)

    def _windows(self, slide: Slide) -> tuple[npt.NDArray[np.float16], int]:
        network, stride = self.network, self.network.stride
        width, height = self.regions.size(slide)
        rows, columns = -(-height // stride), -(-width // stride)
        values = np.zeros((rows, columns), np.float16)
        # Cells at a time: with the halo and the tile around them an image's side is a multiple of what it must be.
        beyond = 2 * network.halo * stride + network.tile - stride
        multiple = math.lcm(network.multiple, stride)
        window = min(self.window, max(width, height))
        side = max(multiple, -(-(window + beyond) // multiple) * multiple)
        while side <= beyond:
            side += multiple
        cells = (side - beyond) // stride
        before = network.halo * stride + (network.tile - stride) // 2
        places = [(row, column) for row in range(0, rows, cells) for column in range(0, columns, cells)]
        for row, column in self._said(places, slide, width * height, "window"):
            image = self.regions.read(slide, column * stride - before, row * stride - before, side, side)
            tissue = self._sees_tissue(image)[:cells, :cells]
            if not tissue.any():
                continue
            chance = self._chances(image[None])[0, 0]
            own = chance[network.halo :, network.halo :][:cells, :cells].where(tissue, 0)
            part = values[row : row + cells, column : column + cells]
            part[...] = own[: part.shape[0], : part.shape[1]].numpy()
        return values, stride

    def _tiles(self, slide: Slide) -> tuple[npt.NDArray[np.float16], int]:
        size = max(self.network.tile, self.network.multiple)
        step = self.step or max(1, size // 2)
        width, height = self.regions.size(slide)
        rows, columns = -(-height // step), -(-width // step)
        values = np.zeros((rows, columns), np.float16)
        before = (size - step) // 2
        places = [(row, column) for row in range(rows) for column in range(columns)]
        batches = [places[start : start + self.batch_size] for start in range(0, len(places), self.batch_size)]
        for batch in self._said(batches, slide, width * height, "batch"):
            tiles = [
                self.regions.read(slide, column * step - before, row * step - before, size, size)
                for row, column in batch
            ]
            kept = [number for number, tile in enumerate(tiles) if tissue_pixels(tile).any()]
            if kept:
                chance = self._chances(torch.stack([tiles[number] for number in kept])).flatten(1).amax(dim=1)
                for number, value in zip(kept, chance.tolist(), strict=True):
                    values[batch[number]] = value
        return values, step

    def _sees_tissue(self, image: Tensor) -> Tensor:
        """(cells, cells) of a window, whether there is tissue in a cell's tile or the halo around it."""
        stride = self.network.stride
        dark = tissue_pixels(image)[None, None].float()
        reach = self.network.tile // stride + 2 * self.network.halo
        coarse = functional.max_pool2d(dark, stride)
        return functional.max_pool2d(coarse, reach, 1)[0, 0] > 0

    def _chances(self, tiles: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 to probabilities (B, 1, H', W') on the CPU."""
        seen = torch.stack([self.channels(tile) for tile in tiles.to(self.device)])
        seen = seen.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.inferer(seen, self.network)
        return logits.float().sigmoid().cpu()

    def _said(self, places: list, slide: Slide, pixels: int, unit: str) -> Iterator:  # type: ignore[type-arg]
        return iter(places) if pixels < LONG else progress(places, description=f"slide {slide.name}", unit=unit)


def find_peaks(
    found: SlideMap, *, radius_um: float = RADIUS_UM, smooth_um: float = 0.0, floor: float = 0.02
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The points at which a map is highest within a radius.

    Args:
        found: the map.
        radius_um: around a peak there is no other; of two the higher stays.
        smooth_um: standard deviation of the Gaussian that the map is smoothed with first: a network of tiles is as sure
            wherever a mitosis is on its tile, and the middle of that is where the mitosis is.
        floor: lower peaks are none.

    Returns:
        (N, 2) places (x, y) in um of the slide and (N) their values, highest first.

    Raises:
        UsageError: a radius that is not above 0, or a negative smoothing.
    """
    from scipy import ndimage
    from scipy.spatial import KDTree

    if not radius_um > 0 or smooth_um < 0:
        raise UsageError(f"Peaks: a radius above 0 and a smoothing of at least 0; found {radius_um} and {smooth_um}")
    values = found.values.astype(np.float32)
    if smooth_um:
        values = ndimage.gaussian_filter(values, smooth_um / found.cell_um, mode="constant")
    near = values == ndimage.maximum_filter(values, 3, mode="constant")
    labels, count = ndimage.label(near & (values >= floor), structure=np.ones((3, 3)))
    if not count:
        return np.zeros((0, 2)), np.zeros(0)
    # A plateau is one peak, in its middle.
    middles = np.array(ndimage.center_of_mass(np.ones_like(values), labels, range(1, count + 1)))
    heights = ndimage.maximum(values, labels, range(1, count + 1))
    order = np.argsort(-np.asarray(heights), kind="stable")
    places, scores = found.um(middles[order][:, ::-1]), np.asarray(heights, dtype=np.float64)[order]
    kept = np.ones(len(places), dtype=bool)
    for place, others in enumerate(KDTree(places).query_ball_point(places, radius_um)):
        if kept[place]:
            kept[[other for other in others if other > place]] = False
    return places[kept], scores[kept]


Mapper = Callable[[Slide], SlideMap]
