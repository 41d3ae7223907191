"""The healthy anatomy of one phantom as fields on a coarse grid, and where things may be placed in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_staging.cohort.phantom import bones, organs
from monai_staging.cohort.phantom.chest import Build, Chest, build_chest, draw_build
from monai_staging.cohort.phantom.config import Resolution, Stream, random_stream
from monai_staging.cohort.phantom.grid import Array, Grid, inside, smooth_max, smooth_noise

LOW_MM, HIGH_MM = (-210.0, -150.0, -212.5), (210.0, 140.0, 150.0)
GRID_STEP_MM = {Resolution.TINY: 5.0, Resolution.DEFAULT: 2.5, Resolution.FULL: 2.5}


def make_grid(step_mm: float) -> Grid:
    """The grid of the anatomical frame."""
    x, y, z = (int(round((high - low) / step_mm)) + 1 for low, high in zip(LOW_MM, HIGH_MM, strict=True))
    return Grid(LOW_MM, (z, y, x), step_mm)


@dataclass
class Anatomy:
    """Fields of one phantom on a grid, (z, y, x), in the anatomical frame.

    ``soft`` is the attenuation in HU of everything but lung and bone, ``lung_hu`` that of lung; the others are signed
    distances in mm, negative inside: ``lung`` (both lungs), ``bone``, ``hard`` (heart, vessels, oesophagus, trachea),
    ``heart``, ``mediastinum``, ``liver`` and ``pleura`` (the pleural space, which ``lung`` fills unless there is
    fluid). Disease that changes anatomy (nodes, fluid, collapse) changes the fields in place.
    """

    grid: Grid
    build: Build
    chest: Chest
    soft: Array
    lung: Array
    bone: Array
    hard: Array
    heart: Array
    mediastinum: Array
    liver: Array
    lung_hu: Array
    pleura: Array


def build_anatomy(seed: int, index: int, sex: str, hu: dict[str, float], step_mm: float = 2.5) -> Anatomy:
    """Builds the fields of phantom ``index``; ``hu`` are the attenuations of the contrast phase."""
    rng = random_stream(seed, index, Stream.ANATOMY)
    grid = make_grid(step_mm)
    build = draw_build(rng, sex)
    chest = build_chest(grid, build, rng)
    vessels = organs.vessel_distances(grid, build)
    heart = organs.build_heart(grid, build)
    between = organs.mediastinum(grid, build, chest, heart, vessels)
    lung = smooth_max(np.maximum(chest.cage + 0.5, chest.diaphragm), -between, 7.0)
    lung = smooth_max(lung, grid.axes[2] - 99.0, 14.0)
    bone, cartilage = bones.build_bones(grid, build, chest)
    if sex == "F":
        bones.breast(grid, build, chest.body)
    soft = grid.full(-102.0)
    soft += 7.0 * smooth_noise(rng, grid.shape, max(2, round(12.0 / step_mm)))
    bones.paint_wall(soft, grid, build, chest, cartilage, hu, rng)
    if sex == "F":
        _paint_glands(soft, grid, build, chest, rng)
    liver = organs.paint_abdomen(soft, grid, chest, hu, rng)
    hard = organs.paint_mediastinum(soft, grid, chest, heart, vessels, hu)
    skin = np.abs(chest.body + 1.2) - 1.0
    soft += inside(skin, 2.0) * (20.0 - soft)
    heart_field = grid.full(40.0)
    heart_field[heart.box.slices] = heart.surface
    lung_hu = _parenchyma(grid, build, rng)
    return Anatomy(grid, build, chest, soft, lung, bone, hard, heart_field, between, liver, lung_hu, lung.copy())


def _parenchyma(grid: Grid, build: Build, rng: np.random.Generator) -> Array:
    """Attenuation of the lung: denser towards the back, uneven, darker where there is emphysema."""
    _, y, z = grid.axes
    field = build.lung_hu + 0.28 * y - 0.06 * (z + 30.0) + 9.0 * smooth_noise(rng, grid.shape, 8)
    patches = np.clip(smooth_noise(rng, grid.shape, 5) - 1.6 + 0.9 * build.emphysema, 0, 1)
    return (field - 70.0 * patches * np.clip((z + 60.0) / 80.0, 0.1, 1)).astype(np.float32)


def _paint_glands(soft: Array, grid: Grid, build: Build, chest: Chest, rng: np.random.Generator) -> None:
    """Paints glandular tissue into the breasts."""
    box = grid.box((-150, -150, -110), (150, -70, 0))
    lumps = smooth_noise(rng, soft[box.slices].shape, 3)
    away = np.sqrt(
        ((np.abs(box.x) - 74.0) / 1.2) ** 2 + ((box.y + 112.0 * build.depth) / 0.8) ** 2 + (box.z + 60.0) ** 2
    )
    amount = np.clip((34.0 * build.breast - away) / 12.0, 0, 1) * np.clip(0.4 + lumps, 0, 1)
    amount *= np.clip((chest.cage[box.slices] - 22.0) / 6.0, 0, 1) * np.clip(
        (-chest.body[box.slices] - 4.0) / 6.0, 0, 1
    )
    view = soft[box.slices]
    view += amount * (25.0 - view)
