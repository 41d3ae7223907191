"""Tiles of slides, random ones or all, and how likely a mitosis is at each of their pixels by the readers' points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from monai_staging.errors import UsageError
from monai_staging.histology.regions import SlideRegions
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
        regions: gives their pixels.
        size: pixels of a tile along each side.
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
        regions: SlideRegions,
        size: int = 64,
        count: int = 64,
        mitosis_fraction: float = 1 / 3,
        lookalike_fraction: float = 0.0,
        decay_per_um: float = DECAY_PER_UM,
    ) -> None:
        shares = (mitosis_fraction, lookalike_fraction)
        if min(size, count) < 1 or decay_per_um <= 0 or min(shares) < 0 or sum(shares) > 1:
            raise UsageError(
                "MitosisTiles: a size and count of at least 1, a decay above 0, and fractions of at least 0 that come "
                f"to 1 at most are needed; found {size}, {count}, {decay_per_um} and {shares}"
            )
        if not slides:
            raise UsageError("MitosisTiles: at least one slide is needed, found none")
        self.slides = list(slides)
        self.size = size
        self.regions = regions
        self.count = count
        self.decay_per_um = decay_per_um
        self.lookalike_fraction = lookalike_fraction
        with_mitoses = sum(bool(slide.mitoses) for slide in self.slides)
        self.chance = min(1 - lookalike_fraction, mitosis_fraction * len(self.slides) / max(1, with_mitoses))

    def __len__(self) -> int:
        return len(self.slides) * self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        slide = self.slides[index % len(self.slides)]
        chance, which, *place = torch.rand(4).tolist()
        step = self.regions.step(slide)
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
            corner = (chosen - np.asarray(place) * (reach - step)) / step
        else:
            corner = np.asarray(place) * np.maximum(np.array(self.regions.size(slide)) - self.size, 0)
        return read_tile(self.regions, slide, corner, self.size, self.decay_per_um)


class GridTiles(Dataset[dict[str, Any]]):
    """All tiles of slides, edge to edge, each positive where its map exceeds a threshold somewhere (Pearce 2017).

    A mitosis near an edge makes its neighbours' tiles positive too. The threshold is of the map, not of its making:
    labels for another one cost nothing.

    Args:
        slides: with their points.
        regions: gives their pixels.
        size: pixels of a tile along each side.
        threshold: from here on of the map a tile is positive.
        decay_per_um: see :func:`mitosis_map`.

    Attributes:
        labels: (N) float32, 1 for the positive tiles.
        places: a slide's number and the corner's x and y in pixels of the tiles, for each.

    Returns:
        ``image`` (3, size, size) uint8, ``map`` (1, size, size), ``label`` and the ``slide``.

    Raises:
        UsageError: a setting out of range, or no slides.
    """

    def __init__(
        self,
        slides: Sequence[Slide],
        regions: SlideRegions,
        size: int = 64,
        threshold: float = 0.1,
        decay_per_um: float = DECAY_PER_UM,
    ) -> None:
        if size < 1 or not 0 < threshold < 1 or decay_per_um <= 0 or not slides:
            raise UsageError(
                "GridTiles: slides, a size of at least 1, a threshold above 0 and below 1 and a decay above 0 are "
                f"needed; found {len(slides)}, {size}, {threshold} and {decay_per_um}"
            )
        self.slides = list(slides)
        self.regions = regions
        self.size = size
        self.threshold = threshold
        self.decay_per_um = decay_per_um
        self.places: list[tuple[int, int, int]] = []
        labels = []
        for number, slide in enumerate(self.slides):
            width, height = regions.size(slide)
            corners = [(x, y) for y in range(0, height, size) for x in range(0, width, size)]
            self.places += [(number, x, y) for x, y in corners]
            labels.append(tile_labels(slide, corners, size, regions.step(slide), threshold, decay_per_um))
        self.labels = torch.from_numpy(np.concatenate(labels).astype(np.float32))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number, x, y = self.places[index]
        tile = read_tile(self.regions, self.slides[number], np.array([x, y]), self.size, self.decay_per_um)
        return {**tile, "label": self.labels[index]}


def tile_labels(
    slide: Slide,
    corners: Sequence[tuple[int, int]],
    size: int,
    step: float,
    threshold: float,
    decay_per_um: float = DECAY_PER_UM,
) -> npt.NDArray[np.bool_]:
    """(N) whether the map of each tile, given by its upper left pixel, reaches a threshold; the map is not made.

    Args:
        slide: with its points.
        corners: (x, y) in pixels of the tiles.
        size: of a tile.
        step: from one of the tiles' pixels to the next, in pixels of the slide.
        threshold: of the map.
        decay_per_um: of the map.
    """
    if not slide.mitoses:
        return np.zeros(len(corners), dtype=bool)
    reach_um = -np.log(threshold) / decay_per_um
    scale = _covered(size, step) / size
    # Whole pixels of the slide, as read_tile has them; then points in pixels of each tile.
    first = np.rint(np.asarray(corners, dtype=np.float64) * step)[:, None] + (scale - 1) / 2
    points = (np.asarray(slide.mitoses) - first) / scale
    # The map is known at pixels' middles: the nearest of these counts, not the tile's edge.
    nearest = np.clip(np.rint(points), 0, size - 1)
    distance_um = np.linalg.norm(points - nearest, axis=2).min(axis=1) * scale * slide.microns_per_pixel
    near: npt.NDArray[np.bool_] = distance_um <= reach_um
    return near


def _covered(size: int, step: float) -> int:
    """Pixels of the slide along the side of a tile."""
    return max(1, round(size * step))


def read_tile(
    regions: SlideRegions, slide: Slide, corner: npt.NDArray[Any], size: int, decay_per_um: float = DECAY_PER_UM
) -> dict[str, Any]:
    """The tile whose upper left pixel lies at (x, y), in pixels of the tiles, and its map."""
    step = regions.step(slide)
    # Where the region's pixels lie, which are whole ones of the slide.
    left, upper = (round(float(value) * step) for value in corner)
    side = _covered(size, step)
    pixels = regions.read(slide, left / step, upper / step, size, size)
    # The first of the tile's pixels covers several of the slide's, or a part of one.
    middle = (side / size - 1) / 2
    target = mitosis_map(
        slide.mitoses, (left + middle, upper + middle), size, side / size, decay_per_um, slide.microns_per_pixel
    )
    return {"image": pixels, "map": target, "slide": slide.name}
