"""Random tiles of slides, and how likely a mitosis is at each of their pixels by the readers' points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from monai_staging.errors import UsageError
from monai_staging.histology.reader import SlideReader
from monai_staging.histology.slides import Point, Slide

DECAY_PER_UM = 0.3
"""Of the map: a tenth is left at 7.5 um, the radius within which a point counts as found."""


def mitosis_map(
    mitoses: Sequence[Point], corner: Point, size: int, step: float, decay_per_um: float = DECAY_PER_UM, um: float = 1.0
) -> Tensor:
    """exp(-a d) at each pixel of a tile, d being the distance to the nearest mitosis (Pearce 2017).

    Args:
        mitoses: (x, y), pixels of the slide.
        corner: of the tile's upper left pixel's middle, pixels of the slide.
        size: pixels of the tile along each side.
        step: from one of the tile's pixels to the next, in pixels of the slide.
        decay_per_um: a.
        um: of a pixel of the slide.

    Returns:
        (1, size, size) float32, 1 on a mitosis; 0 everywhere where there is none.
    """
    if not len(mitoses):
        return torch.zeros(1, size, size)
    points = (torch.tensor(mitoses, dtype=torch.float64) - torch.tensor(corner, dtype=torch.float64)) / step
    axis = torch.arange(size, dtype=torch.float64)
    # Points far away are far from every pixel: only those that a pixel of the tile could be near are looked at.
    away = (points - points.clamp(0, size - 1)).norm(dim=1)
    points = points[away <= away.min() + size * 2**0.5]
    squared = (axis[None, :, None] - points[:, 1, None, None]) ** 2 + (axis[None, None] - points[:, 0, None, None]) ** 2
    distance_um = squared.amin(dim=0).sqrt() * step * um
    return torch.exp(-decay_per_um * distance_um).float()[None]


class MitosisTiles(Dataset[dict[str, Any]]):
    """Random tiles, a part of them with a mitosis, another with what looks like one; a tile costs a tile.

    A mitosis is anywhere on its tile, as likely near its edge as in the middle. Slides of another pixel size are
    brought to that of the tiles. Draws come from torch's global generator.

    Args:
        slides: with their points.
        size: pixels of a tile along each side.
        microns_per_pixel: of the tiles.
        count: tiles a slide and epoch.
        mitosis_fraction: of the tiles; slides without one have their share made up by the others.
        lookalike_fraction: of the tiles, of slides that have some.
        decay_per_um: see :func:`mitosis_map`.

    Returns:
        ``image`` (3, size, size) uint8, ``map`` (1, size, size) and the ``slide``.

    Raises:
        UsageError: a setting out of range, or no slides.
    """

    def __init__(
        self,
        slides: Sequence[Slide],
        size: int = 64,
        microns_per_pixel: float = 0.25,
        count: int = 64,
        mitosis_fraction: float = 1 / 3,
        lookalike_fraction: float = 0.0,
        decay_per_um: float = DECAY_PER_UM,
    ) -> None:
        shares = (mitosis_fraction, lookalike_fraction)
        if min(size, count) < 1 or microns_per_pixel <= 0 or decay_per_um <= 0 or min(shares) < 0 or sum(shares) > 1:
            raise UsageError(
                "MitosisTiles: a size and count of at least 1, pixels and a decay above 0, and fractions of at least 0 "
                f"that come to 1 at most are needed; found {size}, {count}, {microns_per_pixel}, {decay_per_um} and "
                f"{shares}"
            )
        if not slides:
            raise UsageError("MitosisTiles: at least one slide is needed, found none")
        self.slides = list(slides)
        self.size = size
        self.microns_per_pixel = microns_per_pixel
        self.count = count
        self.decay_per_um = decay_per_um
        self.lookalike_fraction = lookalike_fraction
        with_mitoses = sum(bool(slide.mitoses) for slide in self.slides)
        self.chance = min(1 - lookalike_fraction, mitosis_fraction * len(self.slides) / max(1, with_mitoses))
        self._readers: dict[str, SlideReader] = {}

    def __len__(self) -> int:
        return len(self.slides) * self.count

    def __getstate__(self) -> dict[str, Any]:
        """Without open files: each worker opens its own."""
        return {**self.__dict__, "_readers": {}}

    def __getitem__(self, index: int) -> dict[str, Any]:
        slide = self.slides[index % len(self.slides)]
        chance, which, *place = torch.rand(4).tolist()
        reader = self._reader(slide)
        step = self.microns_per_pixel / slide.microns_per_pixel
        reach = self.size * step
        if slide.mitoses and chance < self.chance:
            points = slide.mitoses
        elif slide.lookalikes and chance >= 1 - self.lookalike_fraction:
            points = slide.lookalikes
        else:
            points = ()
        if points:
            # Without the last bit a float32 just below 1 may become 1 when multiplied.
            chosen = np.asarray(points[int(min(which, 1 - 1e-6) * len(points))])
            corner = chosen - np.asarray(place) * (reach - step)
        else:
            corner = np.asarray(place) * np.maximum([reader.width - reach, reader.height - reach], 0)
        return self.read(slide, corner)

    def read(self, slide: Slide, corner: npt.NDArray[np.float64]) -> dict[str, Any]:
        """The tile whose upper left pixel lies at (x, y) of a slide."""
        step = self.microns_per_pixel / slide.microns_per_pixel
        x, y = np.rint(corner).astype(int).tolist()
        side = max(1, round(self.size * step))
        pixels = torch.from_numpy(self._reader(slide).read(x, y, side, side))
        if side != self.size:
            resized = functional.interpolate(
                pixels[None].float(), (self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )
            pixels = resized[0].round_().clamp_(0, 255).to(torch.uint8)
        # The first of the tile's pixels covers several of the slide's, or a part of one.
        middle = (side / self.size - 1) / 2
        target = mitosis_map(
            slide.mitoses,
            (x + middle, y + middle),
            self.size,
            side / self.size,
            self.decay_per_um,
            slide.microns_per_pixel,
        )
        return {"image": pixels, "map": target, "slide": slide.name}

    def _reader(self, slide: Slide) -> SlideReader:
        if slide.name not in self._readers:
            self._readers[slide.name] = SlideReader(slide.image, slide.microns_per_pixel)
        return self._readers[slide.name]
