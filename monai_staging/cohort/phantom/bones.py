"""Bones and the muscles around them, outside the lungs."""

from __future__ import annotations

import numpy as np

from monai_staging.cohort.phantom.chest import VERTEBRA_PITCH_MM, Build, Chest
from monai_staging.cohort.phantom.grid import (
    Array,
    Grid,
    Point,
    capsule,
    ellipsoid,
    inside,
    paint,
    smooth_min,
    smooth_noise,
    tube,
    unite,
)

RIB_DEPTH_MM = 5.5  # from the inside of the cage to the middle of a rib
RIB_DROP_MM = 112.0  # how much lower a rib ends at the sternum than it begins at the spine
RIB_END = 0.83  # where bone gives way to cartilage, as a part of the half circle
CLAVICLE = [(14.0, -58.0, 72.0), (45.0, -62.0, 84.0), (85.0, -50.0, 100.0), (135.0, -28.0, 112.0)]


def vertebra_level(build: Build, k: int) -> float:
    """Height in mm of the middle of vertebra ``k``, counted down from the carina."""
    return build.level_mm - k * VERTEBRA_PITCH_MM


def _wrapped(height: Array, build: Build) -> Array:
    """Height above the middle of the nearest vertebral level, within half a pitch."""
    pitch = VERTEBRA_PITCH_MM
    return height - build.level_mm - pitch * np.rint((height - build.level_mm) / pitch)


def rib_height(theta: float, level: float) -> float:
    """Height of a rib at an angle around the cage, for a rib that begins at ``level``."""
    return float(level - RIB_DROP_MM * (theta / np.pi) ** 0.9)


def _ribs(grid: Grid, build: Build, chest: Chest) -> tuple[Array, Array]:
    """Distances to ribs and to their cartilage."""
    x, y, z = grid.axes
    drop = (RIB_DROP_MM * (chest.theta / np.pi) ** 0.9).astype(np.float32)
    source = z + drop[None]
    off = _wrapped(source, build)
    across = (chest.cage - RIB_DEPTH_MM) / 3.4
    along = off / 5.2
    length = np.sqrt(across * across + along * along)
    distance = (length - 1) * 4.2
    # No ribs above the first or below the twelfth; short lowest ribs.
    outside = np.maximum(source - 104.0, -source - 190.0)
    end = (chest.theta[None] - np.pi * (RIB_END - 0.34 * np.clip((-source - 110.0) / 70.0, 0, 1))) * 90.0
    # Ribs end at the transverse processes, beside the vertebral bodies' back.
    bone = np.maximum(
        np.maximum(distance, outside), np.maximum(end, chest.spine_y + 13.0 - y - 2.0 * (np.abs(x) - 24.0))
    )
    cartilage = np.maximum(np.maximum(distance, np.maximum(outside, -source - 95.0)), -end)
    return bone, cartilage


def _vertebrae(grid: Grid, build: Build, chest: Chest, bone: Array) -> None:
    box = grid.box((-50, -45, -215), (50, 130, 160))
    x, y = box.x, box.y - chest.spine_y[box.slices[0]]
    off = _wrapped(box.z, build)
    wide = 1.0 - 0.0022 * np.clip(box.z + 20, 0, 150)
    body = (np.sqrt((x / 1.18) ** 2 + y * y + 0.25 * np.abs(x) * np.clip(y, 0, 12)) - 14.0 * wide) + 0.05 * np.abs(off)
    body = np.maximum(body, np.abs(off) - 9.3)
    arch = np.abs(np.sqrt((x / 1.15) ** 2 + (y - 24.0) ** 2) - 11.0) - 2.6
    arch = np.maximum(np.maximum(arch, 14.0 - y), np.abs(off + 2.0) - 8.5)
    lean = off + 0.75 * (y - 34.0)
    spinous = np.maximum(np.maximum(np.abs(x) - 2.6, np.abs(lean + 3.0) - 7.0), np.maximum(32.0 - y, y - 60.0))
    span = np.clip(np.abs(x) / 34.0, 0, 1)
    transverse = np.sqrt((y - 26.0 - 10.0 * span) ** 2 + (off - 1.0) ** 2) - (5.4 - 1.4 * span)
    transverse = np.maximum(transverse, np.maximum(np.abs(x) - 34.0, 9.0 - np.abs(x)))
    view = bone[box.slices]
    part = np.minimum(np.minimum(body, spinous), smooth_min(arch, transverse, 3.0))
    view[...] = np.minimum(view, part)


def build_bones(grid: Grid, build: Build, chest: Chest) -> tuple[Array, Array]:
    """Distance to the nearest bone, and to rib cartilage."""
    bone, cartilage = _ribs(grid, build, chest)
    _vertebrae(grid, build, chest, bone)
    _sternum(grid, build, bone)
    for side in (-1.0, 1.0):
        path = [(side * px * (0.5 + build.width / 2), py * build.depth, pz) for px, py, pz in CLAVICLE]
        unite(bone, *tube(grid, path, [8.5, 5.5, 5.5, 7.0]))
        head: Point = (side * 166 * build.width, 18.0, 118.0)
        unite(bone, *tube(grid, [head, (side * 186, 10.0, 165.0)], [23.0, 13.0]))
        box = grid.box((min(side * 55, side * 165), 10, -75), (max(side * 55, side * 165), 125, 118))
        blade = np.abs(chest.cage[box.slices] - 21.0 - 0.10 * np.clip(box.z - 20, 0, 60)) - 1.9
        reach = np.abs(box.x) - (72.0 + 0.33 * (box.z + 70.0))
        edge = np.maximum(-reach, np.abs(box.x) - 128.0 - 0.25 * (box.z - 40))
        blade = np.maximum(np.maximum(blade, edge * 0.6 - 0.0), np.abs(box.z - 5.0) - 72.0)
        blade = np.maximum(blade, 8.0 - box.y)
        rim = np.sqrt((np.maximum(np.abs(chest.cage[box.slices] - 22.0), 0)) ** 2 + (np.abs(box.x) - 130) ** 2) - 5.5
        rim = np.maximum(np.maximum(rim, np.abs(box.z - 30.0) - 60.0), 8.0 - box.y)
        unite(bone, box, np.minimum(blade, rim))
    return bone, cartilage


def _sternum(grid: Grid, build: Build, bone: Array) -> None:
    from monai_staging.cohort.phantom.chest import CAGE_FRONT
    from monai_staging.cohort.phantom.grid import profile

    box = grid.box((-40, -130, -115), (40, -30, 85))
    front = profile(box.z, CAGE_FRONT) * build.depth - 7.0 + 0.007 * box.x**2 + 0.8 * np.sin(box.z / 11.0)
    half_width = (
        13.0
        + 1.5 * np.sin(box.z / 8.0)
        + 13.0 * np.clip((box.z - 20.0) / 45.0, 0, 1)
        - 4.0 * np.clip((-box.z - 60.0) / 40.0, 0, 1)
    )
    across = (
        np.sqrt(np.maximum(np.abs(box.x) - half_width, 0) ** 2 + np.maximum(np.abs(box.y - front) - 1.2, 0) ** 2) - 4.2
    )
    flat = np.maximum(np.abs(box.x) - half_width, np.abs(box.y - front) - 1.2) - 4.2
    distance = np.where(across > 0, across, flat)
    ends = np.maximum(box.z - 72.0, -box.z - 98.0)
    joint = 1.5 - np.abs(box.z - 26.0)
    unite(bone, box, np.maximum(np.maximum(distance, ends), joint))


def paint_wall(
    soft: Array,
    grid: Grid,
    build: Build,
    chest: Chest,
    cartilage: Array,
    hu: dict[str, float],
    rng: np.random.Generator,
) -> None:
    """Paints the muscles of the chest wall, back, shoulders and neck, and the cartilage, into ``soft`` (HU)."""
    x, y, z = grid.axes
    muscle, cage = hu["muscle"], chest.cage
    ax = np.abs(x)
    layer = inside(np.abs(cage - RIB_DEPTH_MM) - 3.6)
    soft += layer * (0.7 * (muscle - soft))
    m = build.muscle

    def ramp(value: Array, start: float, length: float) -> Array:
        return np.clip((value - start) / length, 0, 1)

    front = 15.0 * m * ramp(-y, 2.0, 35.0) * ramp(ax, 14.0, 30.0) * ramp(z, -30.0, 45.0)
    flank = 12.0 * m * ramp(ax, 70.0, 35.0) * ramp(z, -170.0, 60.0)
    back = 8.0 * m * ramp(y, 10.0, 30.0)
    girdle = 29.0 * m * ramp(y - 0.35 * ax, -45.0, 40.0) * ramp(z, -85.0, 60.0)
    girdle = girdle * ramp(ax - 0.22 * np.clip(z, -60, 60), 44.0, 40.0)
    belly = 9.0 * m * ramp(-z, 105.0, 30.0)
    thick = np.maximum(np.maximum(front, flank), np.maximum(np.maximum(back, girdle), belly))
    # Planes of fat between the muscles, and muscle that is not one block.
    wave = smooth_noise(rng, grid.shape, max(3, round(26.0 / grid.step_mm)))
    sheet = np.maximum(9.0 - cage - 0.8 * wave, cage - 9.6 - thick * (1.0 + 0.25 * wave))
    plane = np.minimum(np.abs(cage - 16.0 - 4.0 * wave), np.abs(cage - 29.0 - 5.0 * wave))
    gap = np.clip(0.15 + plane / 2.2, 0, 1)
    soft += inside(np.maximum(sheet, chest.body + 3.0), 3.0) * gap * (muscle - soft)
    box = grid.box((-90, -30, -215), (90, 140, 160))
    by = box.y - chest.spine_y[box.slices[0]] - 42.0
    bx = np.abs(box.x) - 27.0
    erector = np.maximum((np.sqrt((bx / 1.4) ** 2 + by**2) - 18.0 * (0.65 + 0.35 * m)), chest.body[box.slices] + 5.0)
    erector = np.maximum(erector, 8.0 - chest.cage[box.slices])
    paint(soft, box, erector, muscle)
    # Trapezius: a sheet under the fat of the back.
    under = -chest.body[box.slices] - 5.0 - 0.55 * build.fat_mm
    half = 4.0 * m * np.clip(1.15 - np.abs(box.x) / 80.0, 0, 1)
    cover = np.maximum(np.abs(under - half) - half, 2.0 - np.abs(box.x))
    cover = np.maximum(cover, np.maximum(30.0 - box.y, -box.z - 70.0 - 0.6 * np.abs(box.x)))
    paint(soft, box, np.maximum(cover, 8.0 - chest.cage[box.slices]), muscle)
    canal = np.sqrt(box.x**2 + (by + 18.0) ** 2) - 7.0
    paint(soft, box, canal, 25.0)
    disc = np.sqrt((box.x / 1.18) ** 2 + (by + 42.0) ** 2) - 14.5
    paint(soft, box, disc, 85.0)
    _paint_neck(soft, grid, chest, muscle, wave)
    soft += inside(cartilage) * (95.0 - soft)


def _paint_neck(soft: Array, grid: Grid, chest: Chest, muscle: float, wave: Array) -> None:
    """Neck and shoulders above the lungs: muscles with fat between them."""
    box = grid.box((-205, -90, 68), (205, 130, 165))
    rise = np.clip((box.z - 70.0) / 26.0, 0, 1)
    fat_planes = np.clip(np.abs(np.abs(wave[box.slices]) - 0.55) / 0.16, 0, 1)
    view = soft[box.slices]
    for side in (-1, 1):
        shoulder = np.maximum(
            capsule(box, (side * 150, 14, 60), (side * 172, 12, 165), 42.0, 44.0), chest.body[box.slices] + 6.0
        )
        view += inside(shoulder, 4.0) * rise * fat_planes * (muscle - view)
        for path, radii in (
            (((side * 42, -30, 88), (side * 31, -42, 165)), (10.0, 13.0)),
            (((side * 34, 4, 88), (side * 25, -12, 165)), (13.0, 14.0)),
            (((side * 66, 66, 84), (side * 36, 42, 165)), (17.0, 20.0)),
            (((side * 24, 52, 80), (side * 20, 26, 165)), (15.0, 16.0)),
            (((side * 96, 40, 86), (side * 70, 40, 165)), (15.0, 15.0)),
        ):
            distance = np.maximum(capsule(box, *path, *radii), chest.body[box.slices] + 5.0)
            view += inside(distance, 3.5) * rise * (muscle - view)
        # The hollow above the collarbone: fat around the vessels, where station 1 lies.
        hollow = ellipsoid(box, (side * 52, -28, 110), (24, 17, 20))
        view += inside(np.maximum(hollow, chest.body[box.slices] + 6.0), 5.0) * 0.92 * (-98.0 - view)


def breast(grid: Grid, build: Build, body: Array) -> None:
    """Adds the breasts to the skin's distance field, in place."""
    for side in (-1, 1):
        centre = (side * 72.0 * build.width, -105.0 * build.depth - 0.5 * build.fat_mm, -58.0)
        box = grid.around([centre], 75.0)
        scaled = np.sqrt(
            ((box.x - centre[0]) / 1.25) ** 2 + ((box.y - centre[1]) / 0.55) ** 2 + ((box.z - centre[2]) / 1.15) ** 2
        )
        unite(body, box, (scaled - 38.0 * build.breast) * 0.62, 32.0)
