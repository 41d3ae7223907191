"""Regions of slides at one pixel size and, if wanted, in one stain, whatever the slide's own are."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from monai_staging.errors import DataError, UsageError
from monai_staging.histology.reader import SlideReader
from monai_staging.histology.slides import Slide
from monai_staging.transforms.stain import DENSITY, GLASS, REFERENCE, Stains, find_stains, mix

logger = logging.getLogger("monai_staging.histology")

SAMPLES, SAMPLE = 24, 256
"""Regions, and their sides in pixels, that a slide's stains are told from."""
FULL = 0.2
"""Of a region, so much tissue at least for that."""
TISSUE_BELOW = float(GLASS * np.exp(-DENSITY))
"""Of 255: darker than this in any colour is tissue."""
LARGEST_OPEN = 64
"""Slides that are open at once; a file that is not tiled is in memory as long as it is open."""


class SlideRegions:
    """Regions of any slides of a set at one pixel size.

    Args:
        microns_per_pixel: of what comes out.
        normalize: bring every slide to the colours of :data:`~monai_staging.transforms.stain.REFERENCE`, by stains
            found in some of its regions, once a slide (so that neighbouring regions stay alike). A slide whose stains
            cannot be told is left as it is, and a warning says why.
        keep: slides that stay open; the one longest unused is closed for another.

    Raises:
        UsageError: a pixel size that is not above 0, or no slide that may be open.
    """

    def __init__(self, microns_per_pixel: float = 0.25, normalize: bool = False, keep: int = LARGEST_OPEN) -> None:
        if not microns_per_pixel > 0 or keep < 1:
            raise UsageError(
                "SlideRegions: pixels above 0 um and a slide to keep open are needed; found "
                f"{microns_per_pixel} and {keep}"
            )
        self.microns_per_pixel = microns_per_pixel
        self.normalize = normalize
        self.keep = keep
        self._open: OrderedDict[str, SlideReader] = OrderedDict()
        self._colours: dict[str, Callable[[Tensor], Tensor]] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        """Without open files: each worker opens its own."""
        return {**self.__dict__, "_open": OrderedDict(), "_colours": {}, "_lock": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def step(self, slide: Slide) -> float:
        """From one of the pixels to the next, in pixels of the slide."""
        return self.microns_per_pixel / slide.microns_per_pixel

    def size(self, slide: Slide) -> tuple[int, int]:
        """Width and height of a slide in these pixels."""
        reader, step = self.reader(slide), self.step(slide)
        return max(1, round(reader.width / step)), max(1, round(reader.height / step))

    def read(self, slide: Slide, x: float, y: float, width: int, height: int) -> Tensor:
        """A region.

        Args:
            slide: whose.
            x: of its left edge, in these pixels; may be negative.
            y: of its upper edge.
            width: in these pixels.
            height: likewise.

        Returns:
            (3, height, width) RGB, uint8; white beyond the slide's edge.

        Raises:
            DataError: the file is damaged there.
        """
        step = self.step(slide)
        left, upper = round(x * step), round(y * step)
        across, down = max(1, round(width * step)), max(1, round(height * step))
        pixels = torch.from_numpy(self.reader(slide).read(left, upper, across, down))
        if (down, across) != (height, width):
            resized = functional.interpolate(
                pixels[None].float(), (height, width), mode="bilinear", antialias=True, align_corners=False
            )
            pixels = resized[0].round_().clamp_(0, 255).to(torch.uint8)
        return self.colours(slide)(pixels) if self.normalize else pixels

    def reader(self, slide: Slide) -> SlideReader:
        """Of a slide, opened now or before."""
        with self._lock:
            reader = self._open.pop(slide.name, None)
            if reader is None:
                reader = SlideReader(slide.image, slide.microns_per_pixel)
                if len(self._open) >= self.keep:
                    self._open.popitem(last=False)[1].close()
            self._open[slide.name] = reader
        return reader

    def colours(self, slide: Slide) -> Callable[[Tensor], Tensor]:
        """What brings a slide's colours to those of the reference."""
        if slide.name not in self._colours:
            try:
                own = slide_stains(self.reader(slide))
                matrix = REFERENCE.matrix @ np.diag(REFERENCE.largest / own.largest) @ np.linalg.inv(own.matrix)
                self._colours[slide.name] = lambda pixels: mix(pixels, matrix)
            except DataError as error:
                logger.warning("Slide %s: %s; its colours are left as they are.", slide.name, error)
                self._colours[slide.name] = lambda pixels: pixels
        return self._colours[slide.name]


def slide_stains(reader: SlideReader) -> Stains:
    """The stains of a slide, by regions drawn evenly over it that hold tissue.

    Raises:
        DataError: hardly any tissue in any of them, or only one stain.
    """
    draw = np.random.Generator(np.random.Philox(0))
    side = min(SAMPLE, reader.width, reader.height)
    found: list[Tensor] = []
    # Slides are glass for the most part: several times as many are looked at as are taken.
    for x, y in draw.random((8 * SAMPLES, 2)):
        region = reader.read(int(x * (reader.width - side + 1)), int(y * (reader.height - side + 1)), side, side)
        if tissue_pixels(region).float().mean() >= FULL:
            found.append(torch.from_numpy(region).flatten(1))
        if len(found) == SAMPLES:
            break
    if not found:
        raise DataError(f"no tissue in any of {8 * SAMPLES} regions of {side} pixels")
    return find_stains(torch.cat(found, dim=1)[:, None])


def tissue_pixels(region: npt.NDArray[np.uint8] | Tensor) -> Tensor:
    """(H, W) bool, which pixels of a region (3, H, W) are darker than glass in some colour: stroma lets red through."""
    return (torch.as_tensor(region) < TISSUE_BELOW).any(dim=0)
