"""The scanner of a phantom: everything about the image that says nothing about the disease."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monai_staging.cohort.phantom.config import (
    PhantomConfig,
    Resolution,
    Stream,
    choose,
    log_uniform,
    random_stream,
)

# Slice spacings in mm and how often they occur.
SLICE_SPACING_MM = {
    Resolution.DEFAULT: {"1.25": 0.05, "2.0": 0.12, "2.5": 0.18, "3.0": 0.22, "4.0": 0.10, "5.0": 0.33},
    Resolution.FULL: {
        "0.6": 0.05, "0.75": 0.08, "1.0": 0.22, "1.25": 0.18, "1.5": 0.07, "2.0": 0.1, "2.5": 0.12, "3.0": 0.1,
        "5.0": 0.08,
    },
    Resolution.TINY: {"5.0": 0.7, "6.0": 0.3},
}  # fmt: skip
# The same of scans for nodules; none is thicker than 2.5 mm in LUNA16.
THIN_SPACING_MM = {
    Resolution.DEFAULT: {"1.25": 0.3, "1.5": 0.3, "2.0": 0.4},
    Resolution.FULL: {"0.6": 0.1, "0.75": 0.1, "1.0": 0.2, "1.25": 0.3, "2.0": 0.2, "2.5": 0.1},
    Resolution.TINY: {"4.0": 1.0},
}
LUNGS_MATRIX = {Resolution.DEFAULT: 320, Resolution.FULL: 512, Resolution.TINY: 112}
LUNGS_MARGIN_MM = 15.0
# Attenuation in HU per contrast phase.
PHASES = {
    "none": {"artery": 41, "vein": 40, "pulmonary": 40, "heart": 38, "muscle": 52, "liver": 56, "spleen": 47,
    "lesion": 0},
    "venous": {"artery": 150, "vein": 140, "pulmonary": 145, "heart": 135, "muscle": 60, "liver": 105, "spleen":
    115, "lesion": 32},
    "arterial": {"artery": 290, "vein": 180, "pulmonary": 260, "heart": 210, "muscle": 56, "liver": 68, "spleen":
    100, "lesion": 20},
}  # fmt: skip


@dataclass(frozen=True)
class Scanner:
    """Nuisances of one scan. Lengths in mm, angles in degrees, noise and attenuation in HU.

    ``offset_mm`` and ``roll_deg`` say where the patient lies in the field of view; ``sharpness`` runs from 0 (soft
    kernel) to 1 (sharp kernel); ``streaks`` scales the streaks at the shoulders.
    """

    matrix: int
    spacing_mm: float
    slice_spacing_mm: float
    slice_thickness_mm: float
    noise_hu: float
    sharpness: float
    phase: str
    offset_mm: tuple[float, float]
    roll_deg: float
    start_mm: float
    table_mm: float
    streaks: float
    motion_mm: float
    enhancement: float

    @property
    def field_of_view_mm(self) -> float:
        """Width of the image."""
        return self.matrix * self.spacing_mm

    @property
    def blur_mm(self) -> float:
        """Width over which an edge rises, in plane; never below one pixel."""
        return max(1.9 - 1.1 * self.sharpness, self.spacing_mm)

    @property
    def attenuation(self) -> dict[str, float]:
        """HU of each tissue in this contrast phase, scaled by this patient's enhancement."""
        plain = PHASES["none"]
        return {k: plain[k] + (v - plain[k]) * self.enhancement for k, v in PHASES[self.phase].items()}

    @property
    def kernel(self) -> str:
        """A vendor-like name of the reconstruction kernel."""
        return ("B20f", "B30f", "B40f", "B50f", "B60f", "B70f")[min(int(self.sharpness * 6), 5)]


def draw_scanner(seed: int, index: int, config: PhantomConfig) -> Scanner:
    """Draws the scanner of phantom ``index``, from a stream that nothing else uses."""
    rng = random_stream(seed, index, Stream.SCANNER)
    wanted_fov = rng.uniform(325.0, 400.0)
    spacing = rng.uniform(0.6, 1.0)
    lungs = config.disease.lungs_alone
    slice_spacing = float(choose(rng, (THIN_SPACING_MM if lungs else SLICE_SPACING_MM)[config.resolution]))
    if lungs:
        matrix = LUNGS_MATRIX[config.resolution]  # the pixels follow when it is aimed at the lungs
        spacing = wanted_fov / matrix
    elif config.resolution is Resolution.TINY:
        matrix = 112
        spacing = wanted_fov / matrix
    elif config.resolution is Resolution.FULL:
        matrix = 512
        spacing = float(np.clip(wanted_fov / matrix, 0.6, 1.0))
    else:
        matrix = int(np.clip(32 * round(wanted_fov / spacing / 32), 352, 512))
        spacing = float(np.clip(wanted_fov / matrix, 0.6, 1.0))
    overlap = 1.0 if rng.random() < 0.75 else 1.25
    return Scanner(
        matrix=matrix,
        spacing_mm=round(spacing, 6),
        slice_spacing_mm=slice_spacing,
        slice_thickness_mm=min(slice_spacing * overlap, 5.0 if slice_spacing <= 5.0 else slice_spacing),
        noise_hu=log_uniform(rng, 9.0, 40.0),
        sharpness=float(rng.uniform(0.0, 1.0)),
        phase=choose(rng, {"none": 0.45, "venous": 0.40, "arterial": 0.15}),
        offset_mm=(float(rng.uniform(-10.0, 10.0)), float(rng.uniform(-10.0, 10.0))),
        roll_deg=float(np.clip(rng.normal(0.0, 2.0), -5.0, 5.0)),
        start_mm=float(rng.uniform(-6.0, 6.0)),
        table_mm=float(rng.uniform(1.0, 7.0)),
        streaks=float(rng.uniform(0.0, 1.0)),
        motion_mm=float(rng.uniform(1.0, 4.0)) if rng.random() < 0.25 else 0.0,
        enhancement=float(rng.uniform(0.8, 1.15)),
    )


def aim_at_lungs(scanner: Scanner, lungs_mm: NDArray[np.floating]) -> Scanner:
    """The scanner with a field of view just wider than the lungs, which lie near its middle.

    Args:
        scanner: as drawn; where it has the patient lie becomes a small offset of the lungs.
        lungs_mm: points (N, 3) of the lungs in the patient's frame.
    """
    c, s = rotation(scanner)
    x, y = lungs_mm[:, 0], lungs_mm[:, 1]
    seen = np.stack([c * x - s * y, s * x + c * y])
    low, high = seen.min(axis=1), seen.max(axis=1)
    aside = np.array(scanner.offset_mm) / 2
    field = float((high - low).max()) + 2 * LUNGS_MARGIN_MM
    dx, dy = (float(value) for value in aside - (low + high) / 2)
    return replace(scanner, spacing_mm=round(field / scanner.matrix, 6), offset_mm=(round(dx, 6), round(dy, 6)))


def rotation(scanner: Scanner) -> tuple[float, float]:
    """Cosine and sine of the patient's roll."""
    angle = math.radians(scanner.roll_deg)
    return math.cos(angle), math.sin(angle)
