"""Metastases: in the other lung, fluid around lung or heart, adrenals, liver and bone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_staging.cohort.phantom import bones
from monai_staging.cohort.phantom.grid import Array, Grid, ellipsoid, paint, smooth_max, smooth_noise
from monai_staging.cohort.phantom.organs import ADRENALS
from monai_staging.cohort.phantom.place import Placed, Placer, Vector
from monai_staging.cohort.phantom.plan import LOBES, OTHER_SIDE, MetastasisPlan
from monai_staging.cohort.phantom.shapes import make_shape

EXTRATHORACIC = ("adrenal", "liver", "bone")


@dataclass(frozen=True)
class Fluid:
    """Fluid around a lung or the heart: its field of distances on the anatomical grid (negative inside)."""

    label: int
    site: str
    field: Array


def m_category(sites: list[str]) -> str:
    """M of the sites of all metastases (8th edition)."""
    distant = sum(site.split(" ")[0] in EXTRATHORACIC for site in sites)
    if distant:
        return "M1b" if distant == 1 and len(sites) == 1 else ("M1c" if distant > 1 else "M1b")
    return "M1a" if sites else "M0"


def place_metastases(
    placer: Placer, plans: tuple[MetastasisPlan, ...], side: str, first_label: int, hu: dict[str, float]
) -> tuple[list[Placed], list[Fluid]]:
    """Places the metastases of the plan; fluid changes the anatomy's fields in place.

    Args:
        placer: finds the places.
        plans: what to place.
        side: the primary's side.
        first_label: label of the first one; the others count on.
        hu: attenuation of the tissues.
    """
    found: list[Placed] = []
    fluids: list[Fluid] = []
    bones_free = _bone_sites(placer)
    adrenals = [str(s) for s in placer.rng.permutation(["R", "L"])]
    label = first_label
    for plan in plans:
        site = plan.site
        if site == "adrenal" and not adrenals:
            site = "bone"  # Both adrenals have one already.
        if site in ("pleural_effusion", "pericardial_effusion"):
            fluids.append(_pleural(placer, side, label) if site == "pleural_effusion" else _pericardial(placer, label))
        elif site == "lung":
            found.append(_contralateral(placer, plan, side, label, hu["lesion"]))
        elif site == "adrenal":
            found.append(_adrenal(placer, plan, adrenals.pop(), label, hu["lesion"]))
        elif site == "liver":
            found.append(_liver(placer, plan, label, hu["liver"]))
        else:
            found.append(_bone(placer, plan, bones_free.pop(), label))
        label += 1
    return found, fluids


def _contralateral(placer: Placer, plan: MetastasisPlan, side: str, label: int, enhancement_hu: float) -> Placed:
    shape = make_shape(placer.rng, plan.diameter_mm, "smooth")
    centre = placer.in_lung(shape, list(LOBES[OTHER_SIDE[side]]), 2.0)
    diameter = shape.diameter_mm
    site = f"lung {placer.lobe_of(centre)}"
    return Placed(label, "metastasis", site, shape, centre, 34.0 + 0.8 * enhancement_hu, diameter, diameter)


def _adrenal(placer: Placer, plan: MetastasisPlan, side: str, label: int, enhancement_hu: float) -> Placed:
    shape = make_shape(placer.rng, plan.diameter_mm, "smooth")
    centre = np.array(ADRENALS[side]) * placer.anatomy.build.scale + placer.rng.uniform(-2, 2, 3)
    placer.take(centre, plan.diameter_mm / 2)
    # Fat around it: it pushes its neighbours away rather than growing into them.
    anatomy = placer.anatomy
    middle, radius = centre / anatomy.build.scale, plan.diameter_mm / 2 / anatomy.build.scale
    box = anatomy.grid.around([middle], radius + 8.0)
    rim = ellipsoid(box, middle, (radius + 1.8,) * 3)
    paint(anatomy.soft, box, np.maximum(rim, anatomy.chest.diaphragm[box.slices] * -1.0 + 3.0), -100.0)
    diameter = shape.diameter_mm
    return Placed(
        label, "metastasis", f"adrenal {side}", shape, centre, 32.0 + 0.7 * enhancement_hu, diameter, diameter
    )


def _liver(placer: Placer, plan: MetastasisPlan, label: int, liver_hu: float) -> Placed:
    anatomy, rng = placer.anatomy, placer.rng
    shape = make_shape(rng, plan.diameter_mm, "smooth")
    radius = plan.diameter_mm / 2
    z, y, x = np.nonzero(anatomy.liver * anatomy.build.scale < -(radius + 2.0))
    points = np.stack([x, y, z], axis=1) * anatomy.grid.step_mm + np.asarray(anatomy.grid.low)
    points = points[points[:, 2] > -172.0] * anatomy.build.scale
    if not len(points):
        z, y, x = np.unravel_index(np.argsort(anatomy.liver, axis=None)[:200], anatomy.liver.shape)
        points = (
            np.stack([x, y, z], axis=1) * anatomy.grid.step_mm + np.asarray(anatomy.grid.low)
        ) * anatomy.build.scale
    centre = placer.best(rng.permutation(points), lambda _: 0.0, radius)
    value = liver_hu - float(rng.uniform(28.0, 45.0)) - 0.25 * max(liver_hu - 56.0, 0.0)
    diameter = shape.diameter_mm
    return Placed(label, "metastasis", "liver", shape, centre, value, diameter, diameter)


def _bone_sites(placer: Placer) -> list[tuple[str, Vector]]:
    """Vertebrae and ribs of this body in random order (anatomical frame)."""
    anatomy = placer.anatomy
    grid, build, chest = anatomy.grid, anatomy.build, anatomy.chest
    sites: list[tuple[str, Vector]] = []
    for k in range(-2, 7):
        level = bones.vertebra_level(build, k)
        row = int(round((level - grid.low[2]) / grid.step_mm))
        sites.append((f"bone vertebra {k + 5}", np.array([0.0, float(chest.spine_y[row, 0, 0]) - 2.0, level])))
    for k in range(-2, 6):
        for side in (-1, 1):
            theta = float(placer.rng.uniform(0.25, 0.7)) * np.pi
            level = bones.rib_height(theta, bones.vertebra_level(build, k))
            where = _on_cage(anatomy.grid, chest.cage, theta, side, level)
            if where is not None and level > -150:
                sites.append((f"bone rib {k + 5} {'R' if side < 0 else 'L'}", where))
    order = placer.rng.permutation(len(sites))
    return [sites[int(k)] for k in order]


def _on_cage(grid: Grid, cage: Array, theta: float, side: int, level: float) -> Vector | None:
    """The point in the middle of the ribs' layer at an angle and a height."""
    radius = np.arange(30.0, 170.0, 1.0)
    points = np.stack(
        [side * radius * np.sin(theta), 5.0 + radius * np.cos(theta), np.full_like(radius, level)], axis=1
    )
    distance = grid.sample(cage, points)
    hit = np.flatnonzero(distance >= bones.RIB_DEPTH_MM)
    return points[hit[0]] if len(hit) else None


def _bone(placer: Placer, plan: MetastasisPlan, site: tuple[str, Vector], label: int) -> Placed:
    name, where = site
    rng = placer.rng
    shape = make_shape(rng, plan.diameter_mm, "lobulated")
    jitter = rng.uniform(-1, 1, 3) * np.array([6.0, 3.0, 3.0] if "vertebra" in name else [0.0, 0.0, 0.0])
    centre = (where + jitter) * placer.anatomy.build.scale
    placer.take(centre, plan.diameter_mm / 2)
    value = float(rng.uniform(35.0, 60.0)) if rng.random() < 0.6 else float(rng.uniform(600.0, 850.0))
    kind = "lytic" if value < 100 else "sclerotic"
    diameter = shape.diameter_mm
    return Placed(label, "metastasis", f"{name} {kind}", shape, centre, value, diameter, diameter)


def _pleural(placer: Placer, side: str, label: int) -> Fluid:
    """Fluid at the back of one pleural space; the lung above it shrinks, in place."""
    anatomy, rng = placer.anatomy, placer.rng
    x, y, z = anatomy.grid.axes
    half = (x < 0) if side == "R" else (x > 0)
    level = float(rng.uniform(38.0, 66.0))
    # Higher against the wall than in the middle, and higher at the base than at the apex.
    surface = level + 0.22 * (z + 60.0) - 26.0 * np.exp(anatomy.chest.cage / 16.0)
    surface = surface + 2.0 * smooth_noise(rng, anatomy.lung.shape, 8)
    fluid = smooth_max(anatomy.lung - 0.3, surface - y, 6.0)
    fluid = np.where(half, fluid, np.float32(40.0)).astype(np.float32)
    lung = smooth_max(anatomy.lung, y - surface + 0.5, 5.0)
    anatomy.lung[...] = np.where(half, lung, anatomy.lung)
    # The fluid fills what the lung leaves, without a gap of fat.
    fluid_hu = float(rng.uniform(4.0, 18.0))
    filled = np.clip(0.5 - np.where(half, anatomy.pleura - 1.0, 40.0) / 2.5, 0, 1)
    anatomy.soft += filled * (fluid_hu - anatomy.soft)
    rim = np.clip(1.0 - np.abs(surface - y + 6.0) / 9.0, 0, 1) * half
    anatomy.lung_hu += 0.6 * rim * (20.0 - anatomy.lung_hu)
    return Fluid(label, f"pleural effusion {side}", fluid)


def _pericardial(placer: Placer, label: int) -> Fluid:
    """Fluid around the heart; the lungs give way, in place."""
    anatomy, rng = placer.anatomy, placer.rng
    thickness = float(rng.uniform(9.0, 16.0))
    z = anatomy.grid.axes[2]
    # Most of it lies at the bottom and behind.
    thick = thickness * np.clip(1.0 - (z + 85.0) / 70.0, 0.35, 1.0)
    outer = anatomy.heart - thick
    fluid = np.maximum(np.maximum(outer, -anatomy.heart), anatomy.chest.diaphragm)
    fluid = np.maximum(fluid, -anatomy.hard).astype(np.float32)
    anatomy.lung[...] = smooth_max(anatomy.lung, -(outer - 2.0), 5.0)
    part = np.clip(0.5 - fluid / 2.5, 0, 1)
    anatomy.soft += part * (float(rng.uniform(6.0, 20.0)) - anatomy.soft)
    return Fluid(label, "pericardial effusion", fluid)
