"""Nodules as LUNA16 has them: how many a scan has, how large they are, what they look like, and where they lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_staging.cohort.phantom.config import Stream, choose, random_stream
from monai_staging.cohort.phantom.place import PROBE, Placed, Placer, Vector
from monai_staging.cohort.phantom.shapes import Shape, make_shape
from monai_staging.cohort.phantom.trees import Segments
from monai_staging.cohort.phantom.tumour import solid_part

# Counted from LIDC-IDRI's outlines (10.7937/K9/TCIA.2015.LO9QL9SX) by LUNA16's rule: scans of at most 2.5 mm slice
# thickness, nodules of at least 3 mm that three readers outlined. Scans with so many nodules:
COUNTS = {"0": 291, "1": 316, "2": 157, "3": 64, "4": 24, "5": 23, "6": 11, "7": 4, "8": 7}
# Parts of the nodules of at least 4 mm below each size.
SIZES_MM = ((0.0, 4.0), (0.10, 4.5), (0.25, 5.15), (0.50, 6.55), (0.75, 10.0), (0.90, 15.7), (0.95, 19.0), (1.0, 30.0))
TEXTURES = {"solid": 0.86, "part_solid": 0.07, "ground_glass": 0.07}
SMALLEST_MM = {"solid": 4.0, "part_solid": 8.0, "ground_glass": 5.0}
LOBE_WEIGHTS = {"RUL": 0.28, "RML": 0.08, "RLL": 0.24, "LUL": 0.22, "LLL": 0.18}
PLEURAL = 0.25
CALCIFIED_HU = (200.0, 600.0)


@dataclass(frozen=True)
class NodulePlan:
    """One nodule: where, what it looks like, and its longest diameters. ``pleural`` ones lie against the pleura."""

    lobe: str
    pleural: bool
    texture: str  # solid, part_solid or ground_glass
    margin: str  # smooth, lobulated or spiculated
    diameter_mm: float
    solid_diameter_mm: float
    calcified: bool = False


def plan_nodules(seed: int, index: int) -> tuple[NodulePlan, ...]:
    """Draws the nodules of phantom ``index``, the largest first: it has the least room."""
    rng = random_stream(seed, index, Stream.LABELS)
    found = [_plan(rng) for _ in range(int(choose(rng, COUNTS)))]
    return tuple(sorted(found, key=lambda nodule: -nodule.diameter_mm))


def _plan(rng: np.random.Generator) -> NodulePlan:
    below, sizes = np.transpose(SIZES_MM)
    diameter = float(np.exp(np.interp(rng.random(), below, np.log(sizes))))
    texture = choose(rng, TEXTURES)
    margin = choose(rng, {"smooth": 0.5, "lobulated": 0.3, "spiculated": 0.2})
    if diameter < SMALLEST_MM[texture]:
        texture = "solid"
    if diameter < 8:
        margin = "smooth"
    solid = {"solid": 1.0, "part_solid": float(rng.uniform(0.35, 0.65)), "ground_glass": 0.0}[texture] * diameter
    return NodulePlan(choose(rng, LOBE_WEIGHTS), bool(rng.random() < PLEURAL), texture, margin, diameter, solid)


def place_nodules(
    placer: Placer, plans: tuple[NodulePlan, ...], trees: tuple[Segments, Segments], enhancement_hu: float
) -> list[Placed]:
    """Places the nodules, labelled from one in the order of the plans.

    Args:
        placer: finds the places.
        plans: what to place.
        trees: vessels and airways (anatomical frame): a nodule may touch a wide one, but not disappear in it.
        enhancement_hu: of lesions, in this contrast phase.
    """
    both = Segments.join(list(trees))
    return [_place(placer, plan, both, label, enhancement_hu) for label, plan in enumerate(plans, start=1)]


def _place(placer: Placer, plan: NodulePlan, tubes: Segments, label: int, enhancement_hu: float) -> Placed:
    rng = placer.rng
    shape = make_shape(rng, plan.diameter_mm, plan.margin)
    if plan.pleural:
        centre = _at_pleura(placer, shape, plan.lobe)
    else:
        hidden = _hidden(tubes, placer.anatomy.build.scale, float(shape.radius(PROBE).mean()))
        centre = placer.in_lung(shape, [plan.lobe], 1.5, rank=hidden)
    hu = float(rng.uniform(20.0, 45.0)) + enhancement_hu * float(rng.uniform(0.2, 1.0))
    core, solid = None, shape.diameter_mm
    if plan.texture == "part_solid":
        part, offset = solid_part(rng, plan.solid_diameter_mm, shape)
        core, solid = (part, offset, hu), part.diameter_mm
    if plan.texture != "solid":
        hu = float(rng.uniform(-660.0, -520.0))
        solid = solid if core else 0.0
    if plan.calcified:
        hu = float(rng.uniform(*CALCIFIED_HU))
    spiculated = plan.margin == "spiculated" and plan.texture != "ground_glass"
    return Placed(
        label, "nodule", placer.lobe_of(centre), shape, centre, hu, shape.diameter_mm, solid, core, spiculated
    )


def _hidden(tubes: Segments, scale: float, radius_mm: float) -> Callable[[NDArray[np.floating]], NDArray[np.floating]]:
    """A rank for `Placer.in_lung`: how deep the middle of a nodule of this radius would lie in wide tubes, in mm."""
    wide = tubes.radius * scale > 0.4 * radius_mm
    part = np.linspace(0.0, 1.0, 9)[:, None, None]
    axis = ((1 - part) * tubes.start[wide] + part * tubes.end[wide]).reshape(-1, 3) * scale
    reach = np.tile(tubes.radius[wide] * scale, 9) + 0.6 * radius_mm

    def rank(points: NDArray[np.floating]) -> NDArray[np.floating]:
        # The points come in random order, and of the first few hundred most are free.
        some = points[:300]
        depth = np.zeros(len(points))
        depth[300:] = np.inf
        for first in range(0, len(some), 50):
            chunk = some[first : first + 50]
            distance = np.linalg.norm(chunk[:, None] - axis, axis=2)
            depth[first : first + len(chunk)] = np.maximum(reach - distance, 0.0).max(axis=1, initial=0.0)
        return depth

    return rank


def _at_pleura(placer: Placer, shape: Shape, lobe: str) -> Vector:
    """A position at which the nodule lies against the chest wall, hardly in it."""
    anatomy = placer.anatomy
    wall = anatomy.chest.cage
    wanted = 0.9 * float(shape.radius(PROBE).mean())
    centre = placer.at_surface(shape, [lobe], -wall, wanted, avoid=anatomy.mediastinum)
    # The place comes from the anatomy's grid, which is coarser than small nodules.
    return centre + placer.outwards(wall, centre) * (-float(placer.depth(wall, centre[None])[0]) - wanted)
