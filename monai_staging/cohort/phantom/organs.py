"""Soft organs: heart and great vessels, mediastinal envelope, and the upper abdomen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_staging.cohort.phantom.chest import Build, Chest
from monai_staging.cohort.phantom.grid import (
    Array,
    Box,
    Grid,
    capsule,
    ellipsoid,
    inside,
    paint,
    smooth_max,
    smooth_min,
    tube,
    unite,
)

Path = list[tuple[float, float, float]]
TRACHEA: Path = [(0, -44, 150), (0, -39, 125), (0, -30, 95), (2, -19, 60), (3, -8, 30), (0, 0, 2)]
OESOPHAGUS_X_MM = 6.0


def great_vessels(build: Build) -> list[tuple[str, Path, list[float]]]:
    """Tissue, path and radii (mm) of the large vessels."""
    a = build.arch_mm
    return [
        ("artery", [(4, -24, -52), (-13, -38, -25), (-15, -38, 3), (-7, -35, 22 + a), (9, -26, 33 + a), (24, -8, 34
        + a),
                    (29, 14, 26 + a), (28, 27, 8), (25, 33, -25), (20, 37, -80), (12, 33, -130), (6, 24, -165), (3,
                    16, -205)],
         [14, 15.5, 15.5, 14.5, 13.5, 12.5, 12, 12, 11.5, 11.5, 11, 10.5, 10]),
        ("artery", [(-4, -33, 36 + a), (-13, -36, 60), (-24, -36, 92), (-30, -30, 104), (-52, -12, 106)], [6.5,
        6.5, 6, 5, 4]), ("artery", [(-24, -36, 92), (-26, -38, 120), (-27, -38, 150)], [4.5, 3.8, 3.8]),
        ("artery", [(11, -27, 42 + a), (17, -32, 70), (24, -37, 112), (26, -38, 150)], [4, 4, 3.8, 3.8]),
        ("artery", [(22, -12, 42 + a), (26, -12, 74), (36, -12, 98), (58, -10, 104)], [5, 5, 4.8, 4]),
        ("pulmonary", [(16, -50, -52), (18, -44, -34), (20, -28, -17), (30, -6, -9), (41, 11, -17), (46, 17, -34)],
         [13, 13.5, 12.5, 10.5, 9.5, 8]),
        ("pulmonary", [(19, -30, -19), (-6, -13, -21), (-28, -5, -25), (-37, 3, -38), (-40, 9, -54)], [11, 9.5,
        9.5, 8.5, 7]),
        ("vein", [(-25, -37, 58), (-26, -32, 25), (-25, -27, -10), (-26, -25, -45)], [8.5, 8.5, 9, 10]),
        ("vein", [(-25, -37, 57), (4, -49, 56), (30, -50, 68), (52, -44, 96)], [7, 6, 6, 6]),
        ("vein", [(-25, -37, 57), (-36, -42, 78), (-54, -42, 98)], [7, 6.5, 6]),
        ("vein", [(-32, -46, 96), (-38, -40, 125), (-38, -34, 150)], [5.5, 6, 6]),
        ("vein", [(36, -46, 96), (38, -40, 125), (38, -34, 150)], [5, 5, 5.5]),
        ("vein", [(-26, -20, 6), (-22, 4, 12), (-8, 22, 6), (-6, 30, -20), (-6, 33, -110)], [4.5, 4.5, 3.8, 3.5, 3]),
        ("vein", [(-24, -14, -95), (-26, -2, -112), (-28, 8, -150), (-24, 12, -205)], [11, 11, 11, 10]),
        ("heart", [(8, -2, -50), (34, 10, -44), (50, 16, -46)], [8, 6, 5]),
        ("heart", [(0, -2, -54), (-24, 2, -54), (-38, 4, -58)], [8, 6.5, 5]),
        ("heart", [(10, 2, -62), (34, 16, -68)], [8, 5]),
        ("heart", [(-4, 2, -62), (-30, 10, -70)], [8, 5]),
    ]  # fmt: skip


def vessel_distances(grid: Grid, build: Build) -> list[tuple[str, Box, Array]]:
    """Distance fields of the large vessels, each in its box."""
    return [(tissue, *tube(grid, path, radii)) for tissue, path, radii in great_vessels(build)]


@dataclass(frozen=True)
class Heart:
    """Distances in the heart's box: its outer surface, its cavities, and the fat in its grooves."""

    box: Box
    surface: Array
    cavities: Array
    grooves: Array


def build_heart(grid: Grid, build: Build) -> Heart:
    """The heart; its size follows the build."""
    h = build.heart
    box = grid.box((-70, -105, -140), (110, 40, -20))

    def part(centre: tuple[float, float, float], radii: tuple[float, float, float], turn_deg: float = 0.0) -> Array:
        c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
        dx, dy = box.x - centre[0], box.y - centre[1]
        turned = Box(box.slices, c * dx + s * dy, -s * dx + c * dy, box.z)
        rx, ry, rz = (r * h for r in radii)
        return ellipsoid(turned, (0, 0, centre[2]), (rx, ry, rz))

    left = part((40, -38, -86), (46, 32, 33), -32)
    right = part((8, -54, -84), (42, 28, 33), 12)
    atrium = part((-28, -30, -74), (24, 30, 33))
    back = part((4, -8, -62), (34, 20, 21))
    surface = smooth_min(smooth_min(left, right, 12), smooth_min(atrium, back, 10), 12)
    cavities = np.minimum(np.minimum(left + 11.0, right + 4.5), np.minimum(atrium + 3.0, back + 3.0))
    # Fat where ventricles meet atria and each other, near the surface.
    between = np.minimum(np.abs(np.minimum(left, right) - np.minimum(atrium, back)), np.abs(left - right) + 1.5) - 4.5
    grooves = np.maximum(between, -surface - 5.5)
    return Heart(box, surface, cavities, grooves)


def mediastinum(grid: Grid, build: Build, chest: Chest, heart: Heart, vessels: list[tuple[str, Box, Array]]) -> Array:
    """Distance to everything between the lungs: organs, large vessels and the fat around them."""
    x, y, z = grid.axes
    field = grid.full(40.0)
    # Front and back walls meet the lungs along thin lines, the middle is as wide as the vessels make it.
    front = 5.0 + 9.0 * np.clip((z - 15.0) / 40.0, 0, 1) + 10.0 * np.clip((-z - 85.0) / 30.0, 0, 1)
    middle_y = np.clip((y + 40.0 - 0.25 * z) / 25.0, 0, 1)
    half = front + (19.0 - 4 * np.clip(-z / 60.0, 0, 1) - front) * middle_y
    slab = np.abs(x - 4.0 * np.clip(-z / 40.0, 0, 1)) - half
    field = np.minimum(field, slab)
    upper = grid.box((-60, -75, 25), (60, 40, 150))
    taper = profile_top(upper.z)
    unite(
        field,
        upper,
        np.sqrt(((upper.x - 1) / 1.0) ** 2 + ((upper.y + 22 + 0.12 * (upper.z - 30)) / 1.25) ** 2) - taper,
        10.0,
    )
    for tissue, box, distance in vessels:
        unite(field, box, distance - (3.0 if tissue != "heart" else 1.0), 7.0)
    unite(field, heart.box, heart.surface - 4.0, 9.0)
    for centre, radii in (((-34, 4, -24), (14, 17, 26)), ((38, 10, -20), (15, 15, 24))):
        box = grid.around([centre], max(radii) + 8.0)
        unite(field, box, ellipsoid(box, centre, radii), 8.0)
    box, distance = tube(grid, TRACHEA, 12.5, 12.0)
    unite(field, box, distance, 8.0)
    return smooth_min(field, chest.spine - 3.0, 10.0)


def profile_top(z: Array) -> Array:
    """Half-width of the upper mediastinum's fat by height."""
    return (29.0 + 4.0 * np.clip((70.0 - z) / 40.0, 0, 1) + 0.35 * np.maximum(z - 80.0, 0)).astype(np.float32)


def paint_mediastinum(
    soft: Array, grid: Grid, chest: Chest, heart: Heart, vessels: list[tuple[str, Box, Array]], hu: dict[str, float]
) -> Array:
    """Paints heart, vessels and oesophagus into ``soft`` (HU); returns the distance to the nearest of them."""
    hard = grid.full(40.0)
    paint(soft, heart.box, heart.surface, (hu["muscle"] + hu["heart"]) / 2 - 4.0)
    paint(soft, heart.box, heart.cavities, hu["heart"])
    paint(soft, heart.box, np.maximum(heart.grooves, heart.surface), -75.0, 4.0)
    unite(hard, heart.box, heart.surface)
    for tissue, box, distance in vessels:
        paint(soft, box, distance, hu[tissue])
        unite(hard, box, distance)
    spine = {
        round(float(level), 2): float(value) for level, value in zip(chest_z(grid), chest.spine_y[:, 0, 0], strict=True)
    }
    levels = [level for level in spine if -150 < level < 149]
    centre = np.interp(chest_z(grid), sorted(levels), [spine[v] - 25.0 for v in sorted(levels)]).astype(np.float32)
    box = grid.box((-10, -70, -150), (24, 60, 150))
    shift = centre[box.slices[0], None, None]
    oesophagus = np.sqrt(((box.x - OESOPHAGUS_X_MM) / 1.25) ** 2 + (box.y - shift) ** 2) - 6.0
    paint(soft, box, oesophagus, hu["muscle"] - 8.0)
    air = np.sqrt((box.x - OESOPHAGUS_X_MM) ** 2 + (box.y - shift) ** 2) - 2.6 * np.sin(box.z / 14.0)
    paint(soft, box, air, -500.0)
    unite(hard, box, oesophagus)
    box, distance = tube(grid, TRACHEA, 11.0, 25.0)
    unite(hard, box, distance)
    return hard


def chest_z(grid: Grid) -> Array:
    """The z of each plane of the grid, in mm."""
    return grid.axes[2][:, 0, 0]


ADRENALS = {"R": (-33.0, 34.0, -168.0), "L": (38.0, 26.0, -170.0)}


def paint_abdomen(soft: Array, grid: Grid, chest: Chest, hu: dict[str, float], rng: np.random.Generator) -> Array:
    """Paints liver, stomach, spleen, kidneys and adrenals under the diaphragm; returns the liver's distance field."""
    below = grid.box((-150, -130, -210), (150, 120, -80))
    x, y, z = below.x, below.y, below.z
    room = smooth_max(-chest.diaphragm[below.slices] + 3.0, chest.cage[below.slices] + 3.0, 6.0)
    cut = 0.78 * x + 0.50 * y + 0.22 * (z + 130) - 22.0
    liver = smooth_max(smooth_max(room, cut, 18.0), y - 62.0, 20.0)
    liver = np.maximum(liver, 22.0 - np.sqrt((x + 10) ** 2 + (y - chest.spine_y[below.slices[0]] + 14) ** 2))
    # Fat between the liver, the right adrenal and the kidney.
    behind = np.sqrt(((x + 36) / 1.3) ** 2 + (y - 44) ** 2) - 19.0 - 0.08 * np.maximum(-150.0 - z, 0)
    liver = smooth_max(liver, -np.maximum(behind, z + 150.0), 5.0)
    stomach = np.maximum(ellipsoid(below, (58, -22, -148), (38, 42, 36)), room + 3.0)
    spleen = np.maximum(ellipsoid(below, (98, 46, -150), (30, 36, 40)), room + 2.0)
    paint(soft, below, stomach, hu["muscle"] - 6.0)
    paint(soft, below, stomach + 5.0, 22.0 + float(rng.uniform(-15, 25)))
    bubble = np.maximum(stomach + 6.0, y + 38.0 + float(rng.uniform(-8, 10)))
    paint(soft, below, bubble, -950.0)
    paint(soft, below, spleen, hu["spleen"])
    paint(soft, below, liver, hu["liver"])
    for side in (-1, 1):
        kidney = ellipsoid(below, (side * 54, 46, -206), (26, 24, 32))
        paint(soft, below, kidney, hu["muscle"] + 0.6 * (hu["artery"] - 40))
        box = grid.around([ADRENALS["R" if side < 0 else "L"]], 24.0)
        cx, cy, cz = ADRENALS["R" if side < 0 else "L"]
        for tip in ((cx, cy - 9, cz + 4), (cx + 7, cy + 8, cz - 6), (cx - 7, cy + 8, cz - 6)):
            paint(soft, box, capsule(box, (cx, cy, cz), tip, 3.0, 1.8), hu["muscle"] - 8.0)
        crus = capsule(grid.around([(side * 12, 24, -150)], 60), (side * 12, 22, -125), (side * 10, 26, -205), 5.5, 4.0)
        paint(soft, grid.around([(side * 12, 24, -150)], 60), crus, hu["muscle"])
    # The muscle of the diaphragm itself.
    sheet = np.maximum(np.abs(chest.diaphragm[below.slices] + 0.5) - 1.6, chest.cage[below.slices])
    view = soft[below.slices]
    view += inside(sheet) * np.clip((np.minimum(chest.spine[below.slices], 20.0)) / 8.0, 0, 1) * (hu["muscle"] - view)
    field = grid.full(40.0)
    field[below.slices] = liver
    return field
