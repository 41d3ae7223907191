"""Phantom nodules: synthetic pulmonary nodules of known shape, outlined by made-up readers; none of them is a patient.

Each nodule is an implicit surface on a lung-like background (parenchyma, vessels, sometimes the chest wall), sampled on
a scanner's grid and blurred by its slice thickness. Its properties are drawn first (diameter, spiculation, lobulation,
margin, solidity, calcification, elongation), the readers' ratings follow from them, and so does the malignancy: large,
spiculated, lobulated and ill-defined raise it, calcium lowers it (the signs of the Brock and Mayo models, McWilliams
et al. 2013, 10.1056/NEJMoa1214726, without their coefficients).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_staging.cohort.nodules.nodule import UNCERTAIN
from monai_staging.cohort.nodules.patches import PHANTOM, READERS, SIZE, TABLE, PatchTable, write_patches
from monai_staging.cohort.nodules.phantom_shapes import (
    AIR_HU,
    BONE_HU,
    LUNG_HU,
    TISSUE_HU,
    Voxels,
    draw_background,
    draw_surface,
)
from monai_staging.errors import UsageError
from monai_staging.progress import progress

_FINE = 2


@dataclass(frozen=True)
class Properties:
    """What a phantom nodule is like; all but the diameter lie between 0 and 1.

    Attributes:
        diameter_mm: of the sphere of the same volume.
        spiculation: spikes from none to many long ones.
        lobulation: waves of the surface.
        softness: of the margin, from sharp to fading over a fifth of the diameter.
        solidity: from ground glass (0) to solid (1).
        calcium: share of calcified tissue.
        elongation: 0 for a ball, 1 for axes of one to two.
    """

    diameter_mm: float
    spiculation: float
    lobulation: float
    softness: float
    solidity: float
    calcium: float
    elongation: float

    @property
    def malignancy(self) -> float:
        """Log-odds of malignancy: the phantom's law, which a network has to find."""
        size = 2.6 * np.log(self.diameter_mm / 11.0)
        shape = 2.5 * self.spiculation + 1.5 * self.lobulation + self.softness
        return float(size + shape - 4.0 * self.calcium - 1.6)


def draw_properties(random: np.random.Generator) -> Properties:
    """A nodule's properties: sizes as in screening (median 7 mm, log-normal, 3 to 40 mm)."""
    diameter = float(np.clip(np.exp(random.normal(np.log(7.5), 0.6)), 3.0, 40.0))
    # Spikes and lobes come with size, as they do in patients, but not always.
    prone = np.clip(0.15 + 0.35 * np.log(diameter / 5.0), 0.05, 0.9)
    return Properties(
        diameter_mm=diameter,
        spiculation=float(random.beta(1, 3) if random.random() > prone else random.uniform(0.2, 1)),
        lobulation=float(random.beta(1, 3) if random.random() > prone else random.uniform(0.2, 1)),
        softness=float(random.beta(1, 2.5)),
        solidity=float(1.0 if random.random() < 0.75 else random.uniform(0.05, 0.9)),
        calcium=float(random.uniform(0.3, 1) if random.random() < 0.12 else 0.0),
        elongation=float(random.beta(1.5, 2)),
    )


@dataclass(frozen=True, eq=False)
class PhantomNodule:
    """A rendered nodule.

    Attributes:
        properties: what was drawn.
        image: (slices, 64, 64) uint8, stretched from the least to the largest value, as in the real patches.
        outlines: (4, slices, 64, 64) bool, readers who did not see it have none.
        spacing_mm: between slices, rows and columns.
        ratings: malignancy by each reader who saw it, 1 to 5.
    """

    properties: Properties
    image: NDArray[np.uint8]
    outlines: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    ratings: tuple[int, ...]


def render_nodule(random: np.random.Generator, properties: Properties | None = None) -> PhantomNodule:
    """One nodule with its outlines and ratings."""
    nodule = properties or draw_properties(random)
    pixel, slab = float(random.uniform(0.55, 0.85)), float(random.choice([1.0, 1.25, 2.0, 2.5, 3.0]))
    surface = draw_surface(nodule, random)
    slices = 2 * int(np.ceil(nodule.diameter_mm * 0.9 / slab)) + 3
    # Slices are thick: each is the mean of finer ones.
    heights = (np.arange(slices * _FINE) - (slices * _FINE - 1) / 2) * slab / _FINE
    plane = (np.arange(SIZE) - (SIZE - 1) / 2) * pixel
    points = np.stack(np.meshgrid(heights, plane, plane, indexing="ij"), axis=-1).astype(np.float32)
    level = surface.level(points + (random.normal(size=3) * [0, 1.0, 1.0]).astype(np.float32))
    outlines = _outlines(_thick(level), nodule, random)
    # As in the real patches, only slices that a reader outlined are kept.
    seen = outlines.any(axis=(0, 2, 3))
    fine = np.repeat(seen, _FINE)
    values = _density(level[fine], draw_background(points[fine], nodule.diameter_mm / 2, random), nodule)
    image, outlines = _thick(values), outlines[:, seen]
    image += random.uniform(8, 45) * random.standard_normal(image.shape, np.float32)
    image = np.clip(image, AIR_HU, 1000)
    low, high = image.min(), image.max()
    stretched = np.rint((image - low) / max(high - low, 1) * 255).astype(np.uint8)
    readers = int(outlines.any(axis=(1, 2, 3)).sum())
    return PhantomNodule(nodule, stretched, outlines, (slab, pixel, pixel), draw_ratings(nodule, readers, random))


def _thick(fine: Voxels) -> Voxels:
    """(D, H, W) slices of (2 D, H, W) fine ones."""
    thick: Voxels = fine.reshape(-1, _FINE, *fine.shape[1:]).mean(axis=1)
    return thick


def _density(level: Voxels, around: Voxels, nodule: Properties) -> Voxels:
    """Hounsfield units of the nodule within what surrounds it."""
    fade = 0.04 + 0.2 * nodule.softness
    inside = 1 / (1 + np.exp(np.clip((level - 1) / fade, -30, 30)))
    density = np.full_like(level, LUNG_HU + (TISSUE_HU - LUNG_HU) * (0.3 + 0.7 * nodule.solidity))
    if nodule.solidity < 1:
        # A part-solid nodule has a solid core.
        density[level < nodule.solidity * 0.8] = TISSUE_HU
    values: Voxels = around + (np.maximum(density, around) - around) * inside
    values[level < nodule.calcium * 0.8] = BONE_HU
    return values


def _outlines(level: Voxels, nodule: Properties, random: np.random.Generator) -> NDArray[np.bool_]:
    """Readers' outlines: each draws a little wider or narrower; faint and small nodules are missed by some."""
    from scipy import ndimage

    seen_by = 1 + random.binomial(
        READERS - 1, np.clip(0.25 + nodule.diameter_mm / 20 - 0.3 * (nodule.solidity < 1), 0.1, 0.95)
    )
    outlines = np.zeros((READERS, *level.shape), dtype=bool)
    for reader in range(seen_by):
        noise = random.standard_normal(level.shape, np.float32)
        wobble = 2 * ndimage.gaussian_filter(noise, (0.5, 3, 3), truncate=2.5)
        outlines[reader] = level < 1 + random.normal(0, 0.07) + 0.1 * nodule.softness + 0.1 * wobble
    if not outlines.any():
        outlines[0, level.shape[0] // 2, SIZE // 2 - 1 : SIZE // 2 + 1, SIZE // 2 - 1 : SIZE // 2 + 1] = True
    return outlines


def draw_ratings(nodule: Properties, readers: int, random: np.random.Generator) -> tuple[int, ...]:
    """Malignancy from 1 to 5 by so many readers: the law's odds, each reader with an opinion of their own."""
    opinions = nodule.malignancy + random.normal(0, 0.5) + random.normal(0, 0.7, size=readers)
    return tuple(int(rating) for rating in np.clip(np.rint(3 + 0.9 * opinions), 1, 5))


def write_phantom_nodules(
    folder: str | os.PathLike[str], nodules: int = 600, seed: int = 0, patients: int | None = None
) -> Path:
    """Writes phantom nodules in the layout of the real patches, see :mod:`monai_staging.cohort.nodules.patches`.

    Uncertain nodules (mean rating 2.5 to 3.5) are left out, as they are from the real set.

    Args:
        folder: made where it does not exist; must not hold nodules yet.
        nodules: how many are kept.
        seed: the same seed gives the same files.
        patients: how many phantom patients they are spread over; half as many as nodules by default.

    Raises:
        UsageError: fewer than one nodule or patient, a negative seed, or a folder that holds nodules.
    """
    patients = max(1, nodules // 2) if patients is None else patients
    if nodules < 1 or patients < 1 or seed < 0:
        raise UsageError(
            "Phantom nodules: at least 1 nodule and 1 patient and no negative seed; "
            f"found {nodules}, {patients} and {seed}"
        )
    # Real nodules of this layout would be lost.
    if (Path(folder) / TABLE).exists():
        raise UsageError(f"Phantom nodules: {folder} holds nodules already ({TABLE}); choose another folder")
    random = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    images, outlines = [], []
    for _ in progress(range(nodules), description="phantom nodules", unit="nodule"):
        nodule = _certain_nodule(random)
        rows.append({"patient_id": f"{PHANTOM}-{random.integers(patients):04d}", **_row(nodule, random)})
        images.append(nodule.image)
        outlines.append(nodule.outlines)
    return write_patches(folder, PatchTable(rows, images, outlines))


def _certain_nodule(random: np.random.Generator) -> PhantomNodule:
    while True:
        nodule = render_nodule(random)
        if not UNCERTAIN[0] <= np.mean(nodule.ratings) <= UNCERTAIN[1]:
            return nodule


def _row(nodule: PhantomNodule, random: np.random.Generator) -> dict[str, object]:
    """A nodule's row of the table: LIDC's scales, on which 1 and 5 are not always less and more."""
    drawn = nodule.properties

    def scale(value: float) -> float:
        return round(float(np.clip(1 + 4 * value + random.normal(0, 0.3), 1, 5)), 2)

    return {
        "slice_thickness_mm": nodule.spacing_mm[0],
        "pixel_spacing_mm": round(nodule.spacing_mm[1], 6),
        "n_readers": len(nodule.ratings),
        "malignancy_ratings": " ".join(map(str, nodule.ratings)),
        "malignancy_mean": round(float(np.mean(nodule.ratings)), 4),
        "subtlety_mean": scale(min(1.0, drawn.diameter_mm / 15) * (0.4 + 0.6 * drawn.solidity)),
        "texture_mean": scale(drawn.solidity),
        "spiculation_mean": scale(drawn.spiculation),
        "lobulation_mean": scale(drawn.lobulation),
        "margin_mean": scale(1 - drawn.softness),
        "sphericity_mean": scale(1 - drawn.elongation),
        "calcification_median": 3.0 if drawn.calcium else 6.0,
    }
