"""The chest as a container: skin, rib cage, diaphragm, spine curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_staging.cohort.phantom.grid import Array, Grid, profile, smooth_max, smooth_noise

SPINE_Y = [(150, -28), (110, -8), (95, 0), (80, 8), (60, 18), (40, 27), (20, 35), (0, 41), (-30, 48), (-60, 51),
(-90, 51),
           (-120, 49), (-150, 45), (-200, 38)]  # fmt: skip
CAGE_WIDTH = [(150, 22), (112, 26), (100, 44), (90, 62), (80, 76), (60, 95), (40, 106), (20, 114), (0, 120), (-30, 126),
              (-60, 130), (-90, 132), (-120, 132), (-150, 130), (-200, 126)]  # fmt: skip
CAGE_FRONT = [(150, -44), (112, -42), (95, -44), (80, -48), (60, -52), (40, -58), (20, -65), (0, -72), (-30, -80),
(-60, -87),
              (-90, -93), (-120, -96), (-150, -97), (-200, -94)]  # fmt: skip
CAGE_BACK = [(150, -6), (112, 18), (95, 34), (80, 50), (60, 64), (40, 74), (20, 81), (0, 87), (-30, 92), (-60, 94),
(-90, 94),
             (-120, 91), (-150, 86), (-200, 78)]  # fmt: skip
BODY_WIDTH = [(150, 150), (130, 172), (110, 186), (90, 190), (60, 184), (30, 176), (0, 170), (-60, 166), (-120, 164),
              (-200, 162)]  # fmt: skip
BODY_FRONT = [(150, -68), (120, -60), (100, -62), (80, -70), (60, -80), (30, -92), (0, -100), (-60, -112), (-120, -119),
              (-200, -120)]  # fmt: skip
BODY_BACK = [(150, 62), (120, 82), (90, 98), (60, 108), (20, 117), (-30, 122), (-90, 122), (-150, 116), (-200, 110)]
VERTEBRA_PITCH_MM = 24.0


@dataclass(frozen=True)
class Build:
    """One patient's build, in units of a normal body: everything the anatomy is drawn from.

    ``scale`` multiplies every length of the body; the other figures vary its proportions. ``sex`` decides on the
    breasts.
    """

    scale: float
    width: float
    depth: float
    fat_mm: float
    muscle: float
    heart: float
    dome_right_mm: float
    dome_left_mm: float
    level_mm: float
    arch_mm: float
    lung_hu: float
    sex: str
    breast: float
    emphysema: float


def draw_build(rng: np.random.Generator, sex: str) -> Build:
    """Draws a build. Sex changes the size of the body, nothing else that a label could follow."""
    female = sex == "F"
    return Build(
        scale=float(np.clip(rng.normal(0.95 if female else 1.02, 0.035), 0.88, 1.09)),
        width=float(rng.uniform(0.94, 1.05)),
        depth=float(rng.uniform(0.92, 1.08)),
        fat_mm=float(np.clip(rng.gamma(2.2, 4.5), 1.0, 26.0)),
        muscle=float(rng.uniform(0.7, 1.15) * (0.85 if female else 1.0)),
        heart=float(rng.uniform(0.92, 1.1)),
        dome_right_mm=float(rng.uniform(-102.0, -88.0)),
        dome_left_mm=float(rng.uniform(-114.0, -100.0)),
        level_mm=float(rng.uniform(-12.0, 12.0)),
        arch_mm=float(rng.uniform(-3.0, 5.0)),
        lung_hu=float(rng.uniform(-885.0, -835.0)),
        sex=sex,
        breast=float(rng.uniform(0.6, 1.25)),
        emphysema=float(rng.uniform(0.0, 1.0)),
    )


@dataclass(frozen=True)
class Chest:
    """Distance fields in mm (negative inside): skin, the inside of the rib cage, and the diaphragm (negative above it).

    ``spine_y`` is the vertebral bodies' centre for each z of the grid, ``theta`` the angle around the cage, 0 at
    the spine and pi at the sternum, for each (y, x).
    """

    body: Array
    cage: Array
    diaphragm: Array
    spine: Array
    spine_y: Array
    theta: Array


def _oval(grid: Grid, half_width: Array, front: Array, back: Array, square: float, egg: float) -> Array:
    """Distance along the ray from the axis to a rounded oval whose size follows z, wider at the back by ``egg``."""
    x, y, _ = grid.axes
    centre, half_depth = (front + back) / 2, (back - front) / 2
    breadth = half_width * (1 + egg * np.clip((y - centre) / half_depth, -1.2, 1.2))
    u = np.minimum((x / breadth) ** 2, 2.2)
    v = np.minimum(((y - centre) / half_depth) ** 2, 2.2)
    rho = np.sqrt(np.maximum(u + v - square * u * v, 1e-3))
    radius = np.sqrt(x * x + (y - centre) ** 2)
    # A wall that closes towards the top is nearer than it is within the slice.
    tilt = np.gradient(half_width[:, 0, 0], grid.step_mm)[:, None, None].astype(np.float32)
    return (radius - radius / rho) / np.sqrt(1 + tilt * tilt)


def build_chest(grid: Grid, build: Build, rng: np.random.Generator) -> Chest:
    """Skin, cage, diaphragm and spine of one build; ``rng`` makes every body a little irregular."""
    x, y, z = grid.axes
    width, depth = build.width, build.depth
    spine_y = profile(z, SPINE_Y)
    uneven = max(4, round(45.0 / grid.step_mm))
    cage = _oval(
        grid, profile(z, CAGE_WIDTH) * width, profile(z, CAGE_FRONT) * depth, profile(z, CAGE_BACK) * (0.5 + depth / 2),
        0.34, 0.07,
    )  # fmt: skip
    cage += 2.2 * smooth_noise(rng, grid.shape, uneven)
    # Behind the vertebral bodies the ribs turn outwards: a groove for the spine and the muscles beside it.
    behind = np.maximum(y - spine_y + 6.0, 0)
    groove = (np.abs(x) - 15.0 - 0.52 * behind) / 1.13
    cage = smooth_max(cage, np.where(y > spine_y - 30.0, -groove, np.float32(-40.0)), 16.0)
    fat = build.fat_mm - 8.0
    back = profile(z, BODY_BACK) * (0.5 + depth / 2) + 0.6 * fat
    body = _oval(
        grid, profile(z, BODY_WIDTH) * width + 1.2 * fat, profile(z, BODY_FRONT) * depth - fat, back, 0.36, 0.04
    )
    body += 2.6 * smooth_noise(rng, grid.shape, uneven)
    # The back lies flat on the table; a shallow furrow in front of the sternum.
    body = smooth_max(body, y - float(back.max()) + 5.0 + build.fat_mm * 0.15, 14.0)
    body += 3.5 * build.muscle * np.exp(-((x / 22.0) ** 2)) * np.clip((-y - 30.0) / 30.0, 0, 1)
    theta = np.arctan2(np.abs(x), y - 5.0)[0]
    spine = np.sqrt((x / 1.15) ** 2 + (y - spine_y - 2) ** 2) - 17.0
    return Chest(body, cage, _diaphragm(grid, build, cage, spine), spine, spine_y, theta.astype(np.float32))


def _diaphragm(grid: Grid, build: Build, cage: Array, spine: Array) -> Array:
    """Two domes that fall to the ribs and the spine, lower at the back; negative above them."""
    x, y, z = grid.axes
    level = int(np.argmin(np.abs(z[:, 0, 0] + 125.0)))
    wall = np.maximum(np.minimum(-cage[level] - 3.0, spine[level] * 1.2 - 2.0), 0)
    rise = 1 - (1 - np.clip(wall / 62.0, 0, 1)) ** 2.6
    low = -134.0 - 34.0 * np.clip((y[0] + 60.0) / 130.0, 0, 1)
    side = 1 / (1 + np.exp(-x[0] / 9.0))
    saddle = 12.0 * np.exp(-(((x[0] - 12.0) / 24.0) ** 2))
    peak = build.dome_right_mm * (1 - side) + build.dome_left_mm * side - saddle
    dome = (low + (peak - low) * rise).astype(np.float32)
    slope = np.sqrt(1 + sum(g**2 for g in np.gradient(dome, grid.step_mm)))
    return (dome[None] - z) / slope[None].astype(np.float32)
