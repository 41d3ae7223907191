"""What is in real chests besides the disease: granulomas, small benign nodules, atelectasis bands, fissures, scars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_staging.cohort.phantom.anatomy import Anatomy
from monai_staging.cohort.phantom.config import Stream, random_stream
from monai_staging.cohort.phantom.grid import Array
from monai_staging.cohort.phantom.place import Placed, Placer
from monai_staging.cohort.phantom.shapes import make_shape
from monai_staging.cohort.phantom.splat import Cloud
from monai_staging.cohort.phantom.trees import LOBE_NAMES, fissure_height


@dataclass(frozen=True)
class DistractorPlan:
    """How many of each; drawn from a stream of its own."""

    granulomas: int
    nodules: int
    bands: int
    nodes: int


def plan_distractors(seed: int, index: int) -> DistractorPlan:
    """Draws the distractors of phantom ``index``."""
    rng = random_stream(seed, index, Stream.DISTRACTORS)
    return DistractorPlan(
        granulomas=int(min(rng.poisson(0.6), 3)),
        nodules=int(min(rng.poisson(1.0), 4)),
        bands=int(min(rng.poisson(0.7), 3)),
        nodes=int(rng.integers(3, 9)),
    )


def place_small(placer: Placer, plan: DistractorPlan) -> list[Placed]:
    """Granulomas (calcified, 2.5 to 6 mm) and benign nodules (2 to 4 mm) in both lungs; no lesions."""
    rng = placer.rng
    found = []
    for k in range(plan.granulomas + plan.nodules):
        calcified = k < plan.granulomas
        diameter = float(rng.uniform(2.5, 6.0) if calcified else rng.uniform(2.0, 4.0))
        shape = make_shape(rng, diameter, "smooth")
        centre = placer.in_lung(shape, LOBE_NAMES, 0.5)
        hu = float(rng.uniform(320.0, 900.0) if calcified else rng.uniform(10.0, 45.0))
        site = "granuloma" if calcified else "benign nodule"
        found.append(Placed(0, "distractor", site, shape, centre, hu, diameter, 0.0))
    return found


def _sheet(points: Array, anatomy: Anatomy, volume: Array, inner_mm: float = 1.0) -> Cloud:
    keep = anatomy.grid.sample(anatomy.lung, points) < -inner_mm
    return Cloud(points[keep].astype(np.float32), volume[keep].astype(np.float32))


def fissures(rng: np.random.Generator, anatomy: Anatomy, step_mm: float = 0.85) -> Cloud:
    """The oblique fissures of both lungs and the horizontal one of the right, as thin sheets."""
    thickness = float(rng.uniform(0.2, 0.5))
    clouds = []
    # Jittered points: a regular lattice would show where a sheet lies in a slice.
    for left in (False, True):
        x, y = np.meshgrid(np.arange(8.0, 138.0, step_mm), np.arange(-100.0, 100.0, step_mm * 0.8))
        x, y = (v.ravel() + rng.uniform(-0.5, 0.5, v.size) * step_mm for v in (x, y))
        bulge = 3.0 * np.sin(x / 23.0 + rng.uniform(0, 6)) + 2.0 * np.sin(y / 17.0 + rng.uniform(0, 6))
        bulge += 9.0 * ((x - 75.0) / 60.0) ** 2 * rng.uniform(0.4, 1.4)
        x = x * (1 if left else -1)
        z = fissure_height(y.astype(np.float32), left) + bulge
        volume = np.full(len(x), step_mm * step_mm * 0.8 * 1.5 * thickness)
        clouds.append(_sheet(np.stack([x, y, z], axis=1), anatomy, volume))
    x, y = np.meshgrid(np.arange(-138.0, -8.0, step_mm), np.arange(-100.0, 10.0, step_mm))
    x, y = (v.ravel() + rng.uniform(-0.5, 0.5, v.size) * step_mm for v in (x, y))
    z = -28.0 - 0.0035 * (x + 70.0) ** 2 + 2.5 * np.sin(x / 19.0 + rng.uniform(0, 6)) + 0.09 * (y + 40.0)
    front = z > fissure_height(y.astype(np.float32), False)
    points = np.stack([x, y, z], axis=1)[front]
    clouds.append(_sheet(points, anatomy, np.full(len(points), step_mm**2 * thickness)))
    return Cloud.join(clouds)


def bands(rng: np.random.Generator, anatomy: Anatomy, count: int) -> Cloud:
    """Plates of atelectasis at the bases: flat strips 20 to 50 mm long that reach the pleura."""
    clouds = []
    for _ in range(count):
        side = float(rng.choice([-1.0, 1.0]))
        length, width = rng.uniform(20.0, 50.0), rng.uniform(6.0, 14.0)
        thickness = rng.uniform(0.9, 2.2)
        start = np.array([side * rng.uniform(45.0, 85.0), rng.uniform(-20.0, 55.0), rng.uniform(-100.0, -70.0)])
        along = np.array([side * rng.uniform(0.4, 1.0), rng.uniform(-0.5, 1.0), rng.uniform(-0.25, 0.25)])
        along /= np.linalg.norm(along)
        across = np.cross(along, [0.0, 0.0, 1.0]) * rng.uniform(-0.6, 0.6) + np.array([0.0, 0.0, 1.0])
        across /= np.linalg.norm(across)
        u, v = (a.ravel() for a in np.meshgrid(np.arange(0, length, 0.7), np.arange(-width / 2, width / 2, 0.7)))
        wave = 1.2 * np.sin(u / 6.0 + rng.uniform(0, 6))
        normal = np.cross(along, across)
        points = start + u[:, None] * along + v[:, None] * across + wave[:, None] * normal
        taper = np.clip(1.3 - np.abs(v) / (width / 2), 0.2, 1.0)
        clouds.append(_sheet(points, anatomy, 0.49 * thickness * taper, 0.0))
    return Cloud.join(clouds)
