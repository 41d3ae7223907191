"""The plan of a phantom: which disease it is to have, before anything is placed.

`plan_disease` is pure and cheap: thousands of plans can be drawn without rendering one. What the plan asks for is a
wish; the labels of a phantom come from what was really placed (`truth`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_staging.cohort.phantom.config import PhantomConfig, Stream, choose, log_uniform, random_stream
from monai_staging.cohort.phantom.sizes import draw_size
from monai_staging.cohort.phantom.subtypes import with_subtype

LOBES = {"R": {"RUL": 0.5, "RML": 0.1, "RLL": 0.4}, "L": {"LUL": 0.55, "LLL": 0.45}}
# Descriptors that raise T whatever the size, each of them visible.
DESCRIPTORS = {
    "T2": {"pleura": 0.5, "main_bronchus": 0.5},
    "T3": {"chest_wall": 0.5, "same_lobe_nodule": 0.5},
    "T4": {"other_lobe_nodule": 0.5, "mediastinum": 0.5},
}
OTHER_SIDE = {"R": "L", "L": "R"}
ORGANS = {"adrenal": 0.34, "liver": 0.33, "bone": 0.33}


@dataclass(frozen=True)
class NodePlan:
    """One enlarged node: its IASLC station number, its side, and its short axis and elongation."""

    station: str
    side: str
    short_axis_mm: float
    elongation: float


@dataclass(frozen=True)
class MetastasisPlan:
    """One metastasis: ``lung``, ``pleural_effusion``, ``pericardial_effusion``, ``adrenal``, ``liver`` or ``bone``."""

    site: str
    diameter_mm: float


@dataclass(frozen=True)
class DiseasePlan:
    """What the tumour disease of one phantom is to be (targets; the labels come from what is placed)."""

    t: str
    n: str
    m: str
    side: str
    lobe: str
    texture: str  # solid, part_solid or ground_glass
    margin: str  # smooth, lobulated or spiculated
    diameter_mm: float
    solid_diameter_mm: float
    descriptor: str | None
    extra_nodule_mm: float | None
    nodes: tuple[NodePlan, ...]
    metastases: tuple[MetastasisPlan, ...]
    subtype: str | None = None  # A, B, E or G as `subtypes` has them; then zone and core follow it
    zone: str | None = None  # central or peripheral
    core: str | None = None  # none, necrosis or cavity; drawn on placing where nothing is said


@dataclass(frozen=True)
class ClinicalPlan:
    """The clinical variables, and how each letter is to be spelled: ``full``, ``main``, ``bare`` or ``unknown``."""

    age: int
    sex: str
    smoking: str
    spelling: dict[str, str]


def plan_disease(seed: int, index: int, config: PhantomConfig) -> DiseasePlan:
    """Draws the disease of phantom ``index``: T, N and M independently of each other and of everything else."""
    rng = random_stream(seed, index, Stream.LABELS)
    # The letters first, in this order, each with one draw, so that they are independent by construction.
    t_main, n, m = (choose(rng, weights) for weights in (config.t_weights, config.n_weights, config.m_weights))
    side = "R" if rng.random() < 0.56 else "L"
    lobe = choose(rng, LOBES[side])
    margin = choose(rng, {"smooth": 0.2, "lobulated": 0.35, "spiculated": 0.45})
    descriptor = None
    if t_main in DESCRIPTORS and rng.random() < config.descriptor_fraction:
        descriptor = choose(rng, DESCRIPTORS[t_main])
    t, texture, diameter, solid = draw_size(rng, t_main, descriptor)
    if diameter > 40 and lobe == "RML":
        lobe = "RUL"  # The middle lobe is too thin for it.
    extra = log_uniform(rng, 7.0, 16.0) if descriptor in ("same_lobe_nodule", "other_lobe_nodule") else None
    plan = DiseasePlan(
        t, n, m, side, lobe, texture, margin, diameter, solid, descriptor, extra, _nodes(rng, n, side), _spread(rng, m)
    )
    return with_subtype(random_stream(seed, index, Stream.SUBTYPE), t_main, plan) if config.subtypes else plan


def _nodes(rng: np.random.Generator, n: str, side: str) -> tuple[NodePlan, ...]:
    other = OTHER_SIDE[side]
    hilar = [("10", side), ("11", side)]
    ipsilateral = [("2", side), ("4", side), ("4", side), ("7", "M"), ("7", "M")]
    ipsilateral += [("5", "L"), ("6", "L")] if side == "L" else [("4", side)]
    contralateral = [("4", other), ("2", other), ("10", other), ("1", side), ("1", other)]
    if other == "L":
        contralateral.append(("5", "L"))
    chosen: list[tuple[str, str]] = []
    if n == "N3":
        chosen += _some(rng, contralateral, 1, 2)
    if n == "N2" or (n == "N3" and rng.random() < 0.6):
        chosen += _some(rng, ipsilateral, 1, 3)
    if n == "N1" or (n in ("N2", "N3") and rng.random() < 0.5):
        chosen += _some(rng, hilar, 1, 2)
    return tuple(
        NodePlan(station, where, log_uniform(rng, 11.5, 25.0), float(rng.uniform(1.1, 1.6)))
        for station, where in chosen
    )


def _some(rng: np.random.Generator, stations: list[tuple[str, str]], low: int, high: int) -> list[tuple[str, str]]:
    """``low`` to ``high`` different stations."""
    order = [stations[int(k)] for k in rng.permutation(len(stations))]
    return list(dict.fromkeys(order))[: int(rng.integers(low, high + 1))]


def _spread(rng: np.random.Generator, m: str) -> tuple[MetastasisPlan, ...]:
    range_mm = {"lung": (7.0, 20.0), "adrenal": (18.0, 40.0), "liver": (15.0, 45.0), "bone": (12.0, 30.0)}
    sites: list[str] = []
    if m == "M1a" or (m == "M1c" and rng.random() < 0.3):
        intrathoracic = choose(rng, {"lung": 0.5, "pleural_effusion": 0.35, "pericardial_effusion": 0.15})
        sites += [intrathoracic] * (int(rng.integers(1, 4)) if intrathoracic == "lung" else 1)
    if m == "M1b":
        sites.append(choose(rng, ORGANS))
    if m == "M1c":
        sites += [choose(rng, ORGANS) for _ in range(int(rng.integers(2, 6)))]
    return tuple(MetastasisPlan(site, log_uniform(rng, *range_mm[site]) if site in range_mm else 0.0) for site in sites)


def plan_clinical(seed: int, index: int, config: PhantomConfig) -> ClinicalPlan:
    """Draws age, sex, smoking and the spelling of the letters, independently of the disease and of the scanner."""
    rng = random_stream(seed, index, Stream.CLINICAL)
    age = int(np.clip(rng.normal(66.0, 9.0), 38, 90))
    sex = "F" if rng.random() < 0.45 else "M"
    smoking = choose(rng, {"never": 0.2, "former": 0.45, "current": 0.35})
    spelling = {}
    for letter in "tnm":
        draw = rng.random()
        bare = rng.random() < 0.5
        if draw < config.unknown_fraction:
            spelling[letter] = "unknown"
        elif draw < config.unknown_fraction + config.main_only_fraction:
            spelling[letter] = "bare" if bare else "main"
        else:
            spelling[letter] = "full"
    return ClinicalPlan(age, sex, smoking, spelling)
