"""Lymph nodes by station: enlarged ones that give N, and normal ones that do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from monai_staging.cohort.phantom.grid import ellipsoid, paint, smooth_max
from monai_staging.cohort.phantom.place import PROBE, Placed, Placer, Vector
from monai_staging.cohort.phantom.plan import OTHER_SIDE, NodePlan
from monai_staging.cohort.phantom.shapes import make_node

# IASLC stations: middle and half extents (x, y, z) in the anatomical frame, for the patient's right and left.
STATIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "1R": ((-52, -30, 108), (6, 6, 5)), "1L": ((52, -30, 108), (6, 6, 5)),
    "2R": ((-17, -17, 62), (6, 7, 12)), "2L": ((17, -14, 66), (6, 7, 9)),
    "4R": ((-19, -12, 22), (6, 7, 12)), "4L": ((14, 0, 14), (6, 5, 8)),
    "5": ((33, -16, 9), (5, 7, 7)), "6": ((22, -48, 26), (6, 6, 10)),
    "7": ((1, 9, -26), (7, 5, 10)),
    "10R": ((-36, -4, -22), (5, 8, 9)), "10L": ((47, 0, -22), (5, 8, 9)),
    "11R": ((-49, 6, -46), (5, 8, 9)), "11L": ((59, 10, -44), (5, 8, 9)),
}  # fmt: skip
LARGE = (("10", "R"), ("10", "L"), ("11", "R"), ("11", "L"), ("4", "R"), ("7", "M"))


def station_name(plan: NodePlan) -> str:
    """The station with its side where stations have sides: ``4R``, ``7``."""
    return plan.station if plan.station in ("5", "6", "7") else plan.station + plan.side


def n_category(stations: list[str], tumour_side: str) -> str:
    """N of the involved stations (8th edition) for a tumour of the given side."""
    level = 0
    other = OTHER_SIDE[tumour_side]
    for name in stations:
        number = int(name.rstrip("RL"))
        side = name[-1] if name[-1] in "RL" else ("L" if number in (5, 6) else tumour_side)
        own = 2 if number <= 9 else 1
        level = max(level, 3 if number == 1 or side == other else own)
    return f"N{level}"


def place_nodes(placer: Placer, plans: tuple[NodePlan, ...], first_label: int, enhancement_hu: float) -> list[Placed]:
    """Places the enlarged nodes of the plan, each in its station where it collides least with vessels and airways."""
    return [_place(placer, plan, first_label + k, enhancement_hu) for k, plan in enumerate(plans)]


def _place(placer: Placer, plan: NodePlan, label: int, enhancement_hu: float) -> Placed:
    rng = placer.rng
    shape = make_node(rng, plan.short_axis_mm, plan.elongation)
    surface = PROBE * shape.radius(PROBE)[:, None]
    name = station_name(plan)
    centre = _position(placer, name, surface)
    _make_room(placer, centre, np.abs(surface).max(0), in_neck=plan.station == "1")
    hu = float(rng.uniform(28.0, 42.0)) + 0.9 * enhancement_hu
    diameter = shape.diameter_mm
    return Placed(label, "node", name, shape, centre, hu, diameter, diameter)


def _position(placer: Placer, name: str, surface: Vector) -> Vector:
    anatomy = placer.anatomy
    middle, extent = (np.array(v, dtype=np.float64) for v in STATIONS[name])
    points = (middle + placer.rng.uniform(-1, 1, (60, 3)) * extent) * anatomy.build.scale
    radius = float(np.linalg.norm(surface, axis=1).mean())

    def cost(point: Vector) -> float:
        hit = np.maximum(-placer.depth(anatomy.hard, point + 0.85 * surface), 0).mean()
        bone = np.maximum(1.0 - placer.depth(anatomy.bone, point + surface), 0).mean()
        # Outside the mediastinum a node would float in the lung: it may bulge, not leave.
        if name[0] == "1" and len(name) == 2:
            return float(hit + bone)
        float_free = max(float(placer.depth(anatomy.mediastinum, point[None])[0]) + 0.25 * radius, 0.0)
        return float(hit + bone) + 0.25 * float_free

    return placer.best(points, cost, radius * 0.75, tries=24, enough=0.15)


def _make_room(placer: Placer, centre: Vector, radii: Vector, in_neck: bool) -> None:
    """Pushes the pleura outwards around a node of the mediastinum or hilum, or the muscles of the neck, in place."""
    anatomy = placer.anatomy
    scale = anatomy.build.scale
    middle, half = centre / scale, radii / scale
    box = anatomy.grid.around([middle], float(half.max()) + 14.0)
    node = ellipsoid(box, middle, tuple(half))
    if in_neck:
        skin = anatomy.chest.body[box.slices] + 5.0
        paint(anatomy.soft, box, np.maximum(node - 3.0, skin), -98.0)
        return
    view = anatomy.lung[box.slices]
    view[...] = smooth_max(view, 1.5 - node, 7.0)
    inner = anatomy.pleura[box.slices]
    inner[...] = smooth_max(inner, 1.5 - node, 7.0)


def place_large_nodes(placer: Placer, count: int, enhancement_hu: float) -> list[Placed]:
    """Places nodes of 8 to 13 mm short axis at the hila and between the lungs that carry no label either."""
    found = []
    for _ in range(count):
        number, side = LARGE[int(placer.rng.integers(len(LARGE)))]
        plan = NodePlan(number, side, float(placer.rng.uniform(8.0, 13.0)), float(placer.rng.uniform(1.1, 1.6)))
        found.append(replace(_place(placer, plan, 0, enhancement_hu), kind="distractor"))
    return found


def place_normal_nodes(placer: Placer, count: int, enhancement_hu: float) -> list[Placed]:
    """Places normal nodes (short axis under 8 mm): they carry no label and are no lesions."""
    rng = placer.rng
    names = list(STATIONS)
    found = []
    for _ in range(count):
        name = names[int(rng.integers(len(names)))]
        shape = make_node(rng, float(rng.uniform(3.5, 7.5)), float(rng.uniform(1.2, 1.9)))
        surface = PROBE * shape.radius(PROBE)[:, None]
        centre = _position(placer, name, surface)
        found.append(Placed(0, "distractor", name, shape, centre, 32.0 + 0.8 * enhancement_hu, shape.diameter_mm, 0.0))
    return found
