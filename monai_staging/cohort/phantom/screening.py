"""Patients as screening sees them: nodules that readers rate, and in every second patient one of them is a cancer.

Cancers are larger, more often spiculated and more often in part of ground glass than what is harmless, and both
overlap. The signs are those of screened nodules (McWilliams et al. 2013, 10.1056/NEJMoa1214726); how often each is seen
here is made up. Harmless nodules are as many in either kind of patient: their number tells nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from monai_staging.cohort.nodules.phantom import Properties, draw_ratings
from monai_staging.cohort.phantom.config import Stream, choose, random_stream
from monai_staging.cohort.phantom.nodules import LOBE_WEIGHTS, PLEURAL, SMALLEST_MM, NodulePlan

READERS = 4


@dataclass(frozen=True)
class Kind:
    """What nodules of one kind are like.

    Attributes:
        median_mm: of the longest diameter, which is log-normal.
        spread: standard deviation of its logarithm.
        range_mm: least and largest.
        textures: how often each.
        margins: likewise; below 8 mm all are smooth.
        lobes: likewise.
        calcified: part of the solid, smooth ones that are.
    """

    median_mm: float
    spread: float
    range_mm: tuple[float, float]
    textures: Mapping[str, float]
    margins: Mapping[str, float]
    lobes: Mapping[str, float]
    calcified: float = 0.0


def _often(**values: float) -> Mapping[str, float]:
    return MappingProxyType(values)


CANCER = Kind(
    14.0,
    0.45,
    (6.0, 45.0),
    _often(solid=0.70, part_solid=0.20, ground_glass=0.10),
    _often(smooth=0.15, lobulated=0.30, spiculated=0.55),
    # Most lie in the upper lobes.
    _often(RUL=0.36, RML=0.05, RLL=0.17, LUL=0.29, LLL=0.13),
)
HARMLESS = Kind(
    6.5,
    0.40,
    (4.0, 25.0),
    _often(solid=0.88, part_solid=0.02, ground_glass=0.10),
    _often(smooth=0.70, lobulated=0.24, spiculated=0.06),
    MappingProxyType(LOBE_WEIGHTS),
    calcified=0.25,
)
HARMLESS_COUNTS = {"0": 0.25, "1": 0.35, "2": 0.22, "3": 0.12, "4": 0.06}


@dataclass(frozen=True)
class ScreeningPlan:
    """What one patient has.

    Attributes:
        cancer: whether one of the nodules is a cancer.
        nodules: the largest first.
        ratings: of each, by :data:`READERS` made-up readers, 1 to 5: they see what it looks like, not what it is.
    """

    cancer: bool
    nodules: tuple[NodulePlan, ...]
    ratings: tuple[tuple[int, ...], ...]


def plan_screening(seed: int, index: int) -> ScreeningPlan:
    """Draws the nodules of phantom ``index``; of two neighbours (0 and 1, 2 and 3, ...) one has a cancer."""
    first = bool(random_stream(seed, index // 2, Stream.SCREENING).random() < 0.5)
    cancer = first == (index % 2 == 0)
    rng = random_stream(seed, index, Stream.LABELS)
    plans = [_plan(rng, HARMLESS) for _ in range(int(choose(rng, HARMLESS_COUNTS)))]
    plans += [_plan(rng, CANCER)] if cancer else []
    plans.sort(key=lambda nodule: -nodule.diameter_mm)
    return ScreeningPlan(cancer, tuple(plans), tuple(draw_ratings(_look(plan, rng), READERS, rng) for plan in plans))


def _plan(rng: np.random.Generator, kind: Kind) -> NodulePlan:
    diameter = float(np.clip(np.exp(rng.normal(np.log(kind.median_mm), kind.spread)), *kind.range_mm))
    texture, margin, lobe = (choose(rng, weights) for weights in (kind.textures, kind.margins, kind.lobes))
    if diameter < SMALLEST_MM[texture]:
        texture = "solid"
    if diameter < 8:
        margin = "smooth"
    if diameter > 25 and lobe == "RML":
        lobe = "RUL"  # The middle lobe is too thin for it.
    calcified = bool(rng.random() < kind.calcified) and texture == "solid" and margin == "smooth"
    solid = {"solid": 1.0, "part_solid": float(rng.uniform(0.35, 0.65)), "ground_glass": 0.0}[texture] * diameter
    return NodulePlan(lobe, bool(rng.random() < PLEURAL), texture, margin, diameter, solid, calcified)


def _look(plan: NodulePlan, rng: np.random.Generator) -> Properties:
    """What readers see of it."""
    spiculation, lobulation = {"smooth": (0.05, 0.1), "lobulated": (0.1, 0.8), "spiculated": (0.85, 0.5)}[plan.margin]
    solidity = {"solid": 1.0, "part_solid": 0.5, "ground_glass": 0.1}[plan.texture]
    return Properties(
        diameter_mm=plan.diameter_mm,
        spiculation=spiculation,
        lobulation=lobulation,
        softness=float(rng.beta(1, 2.5)),
        solidity=solidity,
        calcium=0.8 if plan.calcified else 0.0,
        elongation=0.3,
    )
