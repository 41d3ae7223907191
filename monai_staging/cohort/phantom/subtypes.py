"""Histological subtypes: how tumours of each look and where they grow, as a change of a plan.

A to G are the classes of Lung-PET-CT-Dx: adenocarcinoma, small cell, large cell and squamous cell carcinoma. Which one
it is depends on the main T category alone, and that stays as it was; so the letters are as frequent, and as independent
of each other, as without subtypes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from monai_staging.cohort.phantom.config import choose, log_uniform
from monai_staging.cohort.phantom.sizes import (
    DESCRIPTOR_SIZE_MM,
    SIZE_RANGE_MM,
    SMALLEST_PART_MM,
    part_solid_diameter,
)

if TYPE_CHECKING:
    from monai_staging.cohort.phantom.plan import DiseasePlan

# Large cell carcinomas are large when found: none is T1.
WEIGHTS = {
    "T1": {"A": 0.45, "B": 0.28, "G": 0.27},
    **dict.fromkeys(("T2", "T3", "T4"), {"A": 0.24, "B": 0.24, "E": 0.28, "G": 0.24}),
}

NECROTIC_MM = 30.0


@dataclass(frozen=True)
class Habit:
    """One way of growing: where, with which margins and inside, how large at least, and with which descriptors.

    ``part_solid`` is the part of the T1 and T2 by size, solid so far, that grow in ground glass; without it, and above
    ``smallest_mm``, all are solid.
    """

    zone: str | None
    margins: Mapping[str, float]
    core: str
    smallest_mm: float
    descriptors: Mapping[str, Mapping[str, float]]
    part_solid: float = 0.0


_PERIPHERAL: Mapping[str, Mapping[str, float]] = {
    "T2": {"pleura": 1.0},
    "T3": {"chest_wall": 0.6, "same_lobe_nodule": 0.4},
    "T4": {"other_lobe_nodule": 1.0},
}
_CENTRAL: Mapping[str, Mapping[str, float]] = {
    "T2": {"main_bronchus": 1.0}, "T3": {"same_lobe_nodule": 1.0}, "T4": {"mediastinum": 0.6, "other_lobe_nodule": 0.4},
}  # fmt: skip
HABITS = {
    "A": (Habit("peripheral", {"spiculated": 0.7, "lobulated": 0.3}, "none", 0.0, _PERIPHERAL, part_solid=0.6),),
    "B": (Habit("central", {"lobulated": 0.7, "smooth": 0.3}, "none", 16.0, _CENTRAL),),
    "E": (Habit("peripheral", {"lobulated": 0.7, "spiculated": 0.3}, "necrosis", 30.0, _PERIPHERAL),),
    "G": (
        Habit("central", {"lobulated": 0.5, "spiculated": 0.5}, "necrosis", 16.0, _CENTRAL),
        Habit(None, {"lobulated": 0.6, "spiculated": 0.4}, "cavity", 15.0, _PERIPHERAL),
    ),
}


def with_subtype(rng: np.random.Generator, t_main: str, plan: DiseasePlan) -> DiseasePlan:
    """The plan with a subtype, and with the size, texture, margin, place and inside that go with it.

    Args:
        rng: a stream of its own.
        t_main: main T category of the plan, which stays.
        plan: the plan without a subtype.
    """
    subtype = choose(rng, WEIGHTS[t_main])
    habit = HABITS[subtype][int(rng.integers(len(HABITS[subtype])))]
    descriptor = None if plan.descriptor is None else choose(rng, habit.descriptors[t_main])
    t, texture, diameter, solid = _grown(rng, t_main, plan, habit, descriptor)
    extra = None
    if descriptor in ("same_lobe_nodule", "other_lobe_nodule"):
        extra = log_uniform(rng, 7.0, 16.0)
    return replace(
        plan,
        subtype=subtype,
        t=t,
        lobe="RUL" if diameter > 40 and plan.lobe == "RML" else plan.lobe,
        texture=texture,
        margin=choose(rng, habit.margins),
        diameter_mm=diameter,
        solid_diameter_mm=solid,
        descriptor=descriptor,
        extra_nodule_mm=extra,
        zone=habit.zone,
        core=habit.core if habit.core == "cavity" or diameter >= NECROTIC_MM else "none",
    )


def _grown(
    rng: np.random.Generator, t_main: str, plan: DiseasePlan, habit: Habit, descriptor: str | None
) -> tuple[str, str, float, float]:
    """Category by size, texture, longest diameter and longest solid diameter (mm), within the main category."""
    if descriptor is not None:
        low, high = DESCRIPTOR_SIZE_MM[descriptor]
        low = max(low, habit.smallest_mm)
        diameter = log_uniform(rng, low, max(high, 1.5 * low))
        return plan.t, "solid", diameter, diameter
    t, solid = plan.t, plan.solid_diameter_mm
    if habit.part_solid == 0:
        if solid < habit.smallest_mm:
            t = choose(rng, {"T1b": 1.0, "T1c": 1.0})
            solid = log_uniform(rng, max(SIZE_RANGE_MM[t][0], habit.smallest_mm), SIZE_RANGE_MM[t][1])
        return t, "solid", solid, solid
    if plan.texture == "solid" and t_main in ("T1", "T2") and rng.random() < habit.part_solid:
        solid = max(solid, SMALLEST_PART_MM)
        return t, "part_solid", part_solid_diameter(rng, solid), solid
    return t, plan.texture, plan.diameter_mm, solid
