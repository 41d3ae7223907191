"""The primary tumour, and further nodules in its lung."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_staging.cohort.phantom.grid import inside
from monai_staging.cohort.phantom.place import Placed, Placer, Vector
from monai_staging.cohort.phantom.plan import LOBES, DiseasePlan
from monai_staging.cohort.phantom.shapes import Shape, make_shape
from monai_staging.cohort.phantom.trees import ARTERY_GATES, LOBE_NAMES, lobe_index
from monai_staging.tnm import Descriptor

FOUND = {
    "pleura": (Descriptor.VISCERAL_PLEURA,),
    "main_bronchus": (Descriptor.MAIN_BRONCHUS, Descriptor.ATELECTASIS),
    "chest_wall": (Descriptor.CHEST_WALL,),
    "same_lobe_nodule": (Descriptor.NODULE_SAME_LOBE,),
    "other_lobe_nodule": (Descriptor.NODULE_OTHER_LOBE,),
    "mediastinum": (Descriptor.MEDIASTINUM,),
}
MAIN_BRONCHUS_END = {"R": (-25.0, 5.0, -20.0), "L": (43.0, 11.0, -28.0)}


@dataclass(frozen=True)
class Primary:
    """The primary, the nodules that belong to its T, and the descriptors that were realised."""

    lesion: Placed
    nodules: tuple[Placed, ...]
    descriptors: tuple[Descriptor, ...]


def place_primary(placer: Placer, plan: DiseasePlan, enhancement_hu: float) -> Primary:
    """Places the primary (label 1) and, where the plan has one, the further nodule in the same lung (label 2)."""
    rng, anatomy = placer.rng, placer.anatomy
    margin = plan.margin if plan.diameter_mm >= 8 else "smooth"
    shape = make_shape(rng, plan.diameter_mm, margin, upright=plan.diameter_mm > 45)
    lobe, centre, tag = plan.lobe, None, None
    radius = plan.diameter_mm / 2
    if plan.descriptor == "pleura":
        centre = placer.at_surface(shape, [lobe], -anatomy.chest.cage, 0.80 * radius, avoid=anatomy.mediastinum)
        tag = placer.outwards(anatomy.chest.cage, centre)
    elif plan.descriptor == "chest_wall":
        centre = placer.at_surface(shape, [lobe], -anatomy.chest.cage, 0.12 * radius, avoid=anatomy.mediastinum)
    elif plan.descriptor == "mediastinum":
        centre = placer.at_surface(
            shape, [lobe], anatomy.mediastinum, 0.15 * radius, avoid=-anatomy.chest.cage, spare=anatomy.hard
        )
    elif plan.descriptor == "main_bronchus":
        end = np.array(MAIN_BRONCHUS_END[plan.side])
        side = np.array([-1.0 if plan.side == "R" else 1.0, 0.0, 0.0])
        centre = (end + side * 3.0) * anatomy.build.scale + side * radius * 0.4
        placer.take(centre, radius)
        _collapse(placer, lobe)
    elif plan.zone == "central":
        centre = placer.at_hilum(shape, lobe)
    else:
        # A small tumour that touches the pleura would be T2: it keeps clear.
        clearance = 3.5 if plan.diameter_mm <= 31 else 0.5
        rank = placer.peripheral(radius + clearance) if plan.zone == "peripheral" else None
        centre = placer.in_lung(shape, [lobe], clearance, rank=rank)
    hu = float(rng.uniform(26.0, 42.0)) + enhancement_hu * float(rng.uniform(0.6, 1.3))
    core, solid = _inside(rng, plan, shape, hu)
    if plan.texture != "solid":
        hu = float(rng.uniform(-640.0, -520.0))
    site = placer.lobe_of(centre)
    lesion = Placed(
        1, "primary", site, shape, centre, hu, shape.diameter_mm, solid, core,
        spiculated=plan.margin == "spiculated" and plan.texture != "ground_glass" and plan.diameter_mm >= 8, tag=tag,
    )  # fmt: skip
    nodules: list[Placed] = []
    if plan.extra_nodule_mm is not None:
        same = plan.descriptor == "same_lobe_nodule"
        lobes = [lobe] if same else [name for name in LOBES[plan.side] if name != lobe]
        extra = make_shape(rng, plan.extra_nodule_mm, "lobulated")
        where = placer.in_lung(extra, lobes, 2.5, near=centre if same else None)
        diameter = extra.diameter_mm
        nodules.append(
            Placed(2, "nodule", placer.lobe_of(where), extra, where, 35.0 + enhancement_hu, diameter, diameter)
        )
    return Primary(lesion, tuple(nodules), FOUND[plan.descriptor] if plan.descriptor else ())


def _inside(
    rng: np.random.Generator, plan: DiseasePlan, shape: Shape, hu: float
) -> tuple[tuple[Shape, Vector, float] | None, float]:
    """The solid part of a part-solid lesion, or the dead middle of a large one; and the solid diameter in mm."""
    if plan.texture == "ground_glass":
        return None, 0.0
    if plan.texture == "part_solid":
        part, offset = solid_part(rng, plan.solid_diameter_mm, shape)
        return (part, offset, hu), part.diameter_mm
    if plan.core == "none":
        return None, shape.diameter_mm
    if plan.core == "cavity":
        part = shape.scaled(float(rng.uniform(0.40, 0.62)))
        offset = rng.uniform(-0.15, 0.15, 3) * plan.diameter_mm / 2
        return (part, offset, float(rng.uniform(-930.0, -830.0))), shape.diameter_mm
    if plan.core == "necrosis":
        part = shape.scaled(float(rng.uniform(0.45, 0.65)))
        offset = rng.uniform(-0.1, 0.1, 3) * plan.diameter_mm / 2
        return (part, offset, float(rng.uniform(4.0, 18.0))), shape.diameter_mm
    if plan.diameter_mm > 35 and rng.random() < 0.6:
        part = shape.scaled(float(rng.uniform(0.35, 0.6)))
        value = -850.0 if rng.random() < 0.15 else float(rng.uniform(12.0, 24.0))
        return (part, rng.uniform(-0.1, 0.1, 3) * plan.diameter_mm / 2, value), shape.diameter_mm
    return None, shape.diameter_mm


def solid_part(rng: np.random.Generator, diameter_mm: float, shape: Shape) -> tuple[Shape, Vector]:
    """The solid part of a part-solid lesion of this shape, and where it lies in it (mm from its centre)."""
    part = make_shape(rng, diameter_mm, "smooth")
    room = max(0.0, float(shape.radius(np.eye(3)).min()) - diameter_mm / 2 - 1.0)
    return part, rng.uniform(-0.5, 0.5, 3) * room


def _collapse(placer: Placer, lobe: str) -> None:
    """Fills a wedge of a lobe, from the hilum to the pleura, with airless lung, in place."""
    anatomy = placer.anatomy
    rng = placer.rng
    gate = np.array(ARTERY_GATES[lobe][1], dtype=np.float64)
    points = placer.lobe_points([lobe])
    # Towards the chest wall, in a slice rather than along the body: a triangle with its tip at the hilum.
    offset = points - gate
    far = points[
        np.argmax(
            (offset[:, 0] ** 2 + offset[:, 1] ** 2) * rng.uniform(0.5, 1.0, len(points)) - 0.5 * offset[:, 2] ** 2
        )
    ]
    axis = (far - gate) / np.linalg.norm(far - gate)
    box = anatomy.grid.around(points[:: max(1, len(points) // 200)], 8.0)
    dx, dy, dz = box.x - gate[0], box.y - gate[1], box.z - gate[2]
    reach = dx * axis[0] + dy * axis[1] + dz * axis[2]
    across = np.sqrt(np.maximum(dx * dx + dy * dy + dz * dz - reach * reach, 0))
    wedge = np.maximum((across - rng.uniform(0.36, 0.50) * reach - 5.0) * 0.92, -reach - 8.0)
    z, y, x = np.broadcast_arrays(box.z, box.y, box.x)
    lobes = lobe_index(np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)).reshape(x.shape)
    part = inside(wedge, 4.0) * (lobes == LOBE_NAMES.index(lobe))
    view = anatomy.lung_hu[box.slices]
    view += part * (36.0 - view)
