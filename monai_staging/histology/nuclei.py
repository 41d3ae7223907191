"""Shapes of a phantom slide's nuclei: where how much haematoxylin is, in resting cells, mitoses and look-alikes.

Lengths are in micrometres. Each shape is drawn on a small square around its middle; 1 is the density of a resting
nucleus, and chromatin that is condensed for division is two to three times as dense and ragged at its edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

STAMP_UM = 24.0
"""Side of the square that a cell is drawn on."""


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell's nucleus.

    Attributes:
        chromatin: (S, S) haematoxylin, 1 for a resting nucleus.
        body: (S, S) where the cell's own cytoplasm takes the place of what is around, 0..1.
        eosin: of that cytoplasm, a factor on the tissue's.
    """

    chromatin: Array
    body: Array
    eosin: float


class Brush:
    """Draws on a square of some pixel size; all angles and wobbles come from one generator.

    Args:
        draw: random numbers.
        microns_per_pixel: of the slide.
    """

    def __init__(self, draw: np.random.Generator, microns_per_pixel: float) -> None:
        self.draw = draw
        side = math.ceil(STAMP_UM / microns_per_pixel) | 1
        axis = (np.arange(side) - side // 2) * microns_per_pixel
        self.step = microns_per_pixel
        self.x, self.y = np.meshgrid(axis, axis)

    def ellipse(
        self,
        length: float,
        width: float,
        angle: float,
        place: tuple[float, float] = (0.0, 0.0),
        edge: float = 0.35,
        wobble: float = 0.0,
    ) -> Array:
        """An ellipse, 0..1, its edge so many micrometres wide; ``wobble`` makes it ragged, as a part of its size."""
        across, along = self.x - place[0], self.y - place[1]
        u = across * math.cos(angle) + along * math.sin(angle)
        v = along * math.cos(angle) - across * math.sin(angle)
        radius = np.hypot(2 * u / length, 2 * v / width)
        if wobble:
            turn = np.arctan2(v / width, u / length)
            waves = sum(
                self.draw.normal(0, wobble / math.sqrt(count))
                * np.cos(count * turn + self.draw.uniform(0, 2 * math.pi))
                for count in range(2, 8)
            )
            radius = radius * (1 + waves)
        inside: Array = np.clip((1 - radius) * min(length, width) / 2 / edge + 0.5, 0, 1)
        return inside

    def grain(self, size_um: float, contrast: float) -> Array:
        """Uneven chromatin around 1."""
        from scipy import ndimage

        noise = ndimage.gaussian_filter(self.draw.normal(size=self.x.shape), size_um / self.step)
        return np.clip(1 + contrast * noise / noise.std(), 0.2, None)

    def angle(self) -> float:
        """Any direction."""
        return float(self.draw.uniform(0, math.pi))


def resting(brush: Brush) -> Cell:
    """An interphase nucleus: a membrane, chromatin in grains, often a nucleolus."""
    draw = brush.draw
    length, angle = draw.uniform(6.5, 10.5), brush.angle()
    width = length * draw.uniform(0.6, 1.0)
    shape = brush.ellipse(length, width, angle, wobble=0.04)
    rim = shape - brush.ellipse(length - 1.2, width - 1.2, angle)
    chromatin = shape * brush.grain(0.5, 0.22) * draw.uniform(0.55, 1.0) + 0.35 * np.clip(rim, 0, 1)
    for _ in range(int(draw.integers(0, 3))):
        place = (draw.uniform(-0.2, 0.2) * length, draw.uniform(-0.2, 0.2) * width)
        chromatin = chromatin + 0.6 * brush.ellipse(1.4, 1.4, 0, place)
    return Cell(chromatin, np.zeros_like(shape), 1.0)


def prometaphase(brush: Brush) -> Cell:
    """Condensed chromatin in a clump or ring, no membrane."""
    draw = brush.draw
    size = draw.uniform(6.0, 8.5)
    clump = brush.ellipse(size, size * draw.uniform(0.7, 1.0), brush.angle(), wobble=0.14)
    if draw.random() < 0.5:
        clump = clump - 0.75 * brush.ellipse(size * 0.4, size * 0.35, 0, edge=0.8)
    return _dividing(brush, clump, 13.0)


def metaphase(brush: Brush) -> Cell:
    """A plate seen from the side."""
    draw = brush.draw
    plate = brush.ellipse(draw.uniform(7.5, 11.0), draw.uniform(2.2, 3.4), brush.angle(), wobble=0.12)
    return _dividing(brush, plate, 14.0)


def anaphase(brush: Brush) -> Cell:
    """Two plates, still close."""
    return _two_plates(brush, brush.draw.uniform(4.0, 7.0))


def telophase(brush: Brush) -> Cell:
    """Two plates far apart, in two cells that are not quite two: one mitosis."""
    return _two_plates(brush, brush.draw.uniform(8.0, 11.0))


def pyknotic(brush: Brush) -> Cell:
    """A dying cell's nucleus: small, round, smooth and very dense, in shrunken pink cytoplasm."""
    draw = brush.draw
    size = draw.uniform(3.2, 5.2)
    ball = brush.ellipse(size, size * draw.uniform(0.85, 1.0), brush.angle(), edge=0.25)
    return Cell(2.5 * ball, brush.ellipse(size + 4, size + 3.5, brush.angle()), draw.uniform(1.5, 2.0))


def apoptotic(brush: Brush) -> Cell:
    """Fragments of one: several smooth dense balls."""
    draw = brush.draw
    chromatin = np.zeros_like(brush.x)
    for _ in range(int(draw.integers(3, 6))):
        size = draw.uniform(1.2, 2.6)
        ball = brush.ellipse(size, size, 0, (draw.uniform(-2.6, 2.6), draw.uniform(-2.6, 2.6)), edge=0.25)
        chromatin = np.maximum(chromatin, 2.4 * ball)
    return Cell(chromatin, brush.ellipse(9.5, 9.0, 0), draw.uniform(1.4, 1.9))


def hyperchromatic(brush: Brush) -> Cell:
    """A resting nucleus that is dark all over, with a smooth outline."""
    draw = brush.draw
    length = draw.uniform(7.0, 12.0)
    shape = brush.ellipse(length, length * draw.uniform(0.35, 0.7), brush.angle(), wobble=0.02)
    return Cell(shape * brush.grain(0.6, 0.12) * draw.uniform(1.5, 2.0), np.zeros_like(shape), 1.0)


def lymphocyte(brush: Brush) -> Cell:
    """Small, round, dark, with coarse grains."""
    draw = brush.draw
    size = draw.uniform(5.0, 6.5)
    shape = brush.ellipse(size, size * draw.uniform(0.9, 1.0), brush.angle(), wobble=0.02)
    return Cell(shape * brush.grain(0.7, 0.3) * draw.uniform(1.2, 1.6), np.zeros_like(shape), 1.0)


Draw = Callable[[Brush], Cell]

MITOSES: dict[str, tuple[Draw, float]] = {
    "prometaphase": (prometaphase, 0.25),
    "metaphase": (metaphase, 0.45),
    "anaphase": (anaphase, 0.18),
    "telophase": (telophase, 0.12),
}
"""Phase to its drawing and how often it is seen."""
LOOKALIKES: dict[str, tuple[Draw, float]] = {
    "pyknotic": (pyknotic, 0.35),
    "apoptotic": (apoptotic, 0.2),
    "hyperchromatic": (hyperchromatic, 0.45),
}


def _dividing(brush: Brush, shape: Array, cell_um: float) -> Cell:
    """Ragged dense chromatin in a swollen, clear cell."""
    draw = brush.draw
    chromatin = np.clip(shape, 0, 1) * brush.grain(0.35, 0.15) * draw.uniform(1.9, 2.7)
    body = brush.ellipse(cell_um, cell_um * draw.uniform(0.8, 1.0), brush.angle(), edge=1.0)
    return Cell(chromatin, body, draw.uniform(0.35, 0.7))


def _two_plates(brush: Brush, apart: float) -> Cell:
    angle = brush.angle()
    length = brush.draw.uniform(6.0, 9.0)
    shape = np.zeros_like(brush.x)
    for side in (-0.5, 0.5):
        # The plates are at right angles to the line between them.
        place = (-side * apart * math.sin(angle), side * apart * math.cos(angle))
        plate = brush.ellipse(length, brush.draw.uniform(1.8, 2.6), angle, place, wobble=0.12)
        shape = np.maximum(shape, plate)
    return _dividing(brush, shape, 12.0 + apart / 2)
