"""What is in real chests besides the disease: granulomas, fissures, atelectasis, scars, vessels that cross."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from monai_staging.cohort.phantom.anatomy import Anatomy
from monai_staging.cohort.phantom.config import Disease, Stream, random_stream
from monai_staging.cohort.phantom.grid import Array
from monai_staging.cohort.phantom.place import Placed, Placer
from monai_staging.cohort.phantom.shapes import make_shape
from monai_staging.cohort.phantom.splat import Cloud
from monai_staging.cohort.phantom.trees import LOBE_NAMES, Segments, fissure_height


@dataclass(frozen=True)
class DistractorPlan:
    """How many of each; drawn from a stream of its own. ``micronodule_mm`` bounds the benign nodules."""

    granulomas: int
    nodules: int
    bands: int
    nodes: int
    large_nodes: int = 0
    crossings: int = 0
    scars: int = 0
    thickenings: int = 0
    micronodule_mm: float = 4.0


def plan_distractors(seed: int, index: int, disease: Disease = Disease.CANCER) -> DistractorPlan:
    """Draws the distractors of phantom ``index``: more, and more kinds, beside nodules that have to be told apart."""
    rng = random_stream(seed, index, Stream.DISTRACTORS)
    plan = DistractorPlan(
        granulomas=int(min(rng.poisson(0.6), 3)),
        nodules=int(min(rng.poisson(1.0), 4)),
        bands=int(min(rng.poisson(0.7), 3)),
        nodes=int(rng.integers(3, 9)),
    )
    if not disease.lungs_alone:
        return plan
    return replace(
        plan,
        granulomas=int(min(rng.poisson(1.2), 4)),
        large_nodes=int(min(rng.poisson(0.7), 3)),
        crossings=int(rng.integers(2, 6)),
        scars=int(min(rng.poisson(0.9), 3)),
        thickenings=int(min(rng.poisson(0.9), 3)),
        micronodule_mm=3.0,
    )


def place_small(placer: Placer, plan: DistractorPlan) -> list[Placed]:
    """Granulomas (calcified, 2.5 to 6 mm) and benign nodules (from 2 mm) in both lungs; no lesions."""
    rng = placer.rng
    found = []
    for k in range(plan.granulomas + plan.nodules):
        calcified = k < plan.granulomas
        diameter = float(rng.uniform(2.5, 6.0) if calcified else rng.uniform(2.0, plan.micronodule_mm))
        shape = make_shape(rng, diameter, "smooth")
        centre = placer.in_lung(shape, LOBE_NAMES, 0.5)
        hu = float(rng.uniform(320.0, 900.0) if calcified else rng.uniform(10.0, 45.0))
        site = "granuloma" if calcified else "benign nodule"
        found.append(Placed(0, "distractor", site, shape, centre, hu, diameter, 0.0))
    return found


def _sheet(points: Array, anatomy: Anatomy, volume: Array, inner_mm: float = 1.0) -> Cloud:
    keep = anatomy.grid.sample(anatomy.lung, points) < -inner_mm
    return Cloud(points[keep].astype(np.float32), volume[keep].astype(np.float32))


def fissures(rng: np.random.Generator, anatomy: Anatomy, step_mm: float) -> Cloud:
    """The oblique fissures of both lungs and the horizontal one of the right, as thin sheets of points so far apart."""
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


def thickenings(placer: Placer, sheets: Cloud, count: int) -> Cloud:
    """Lens-shaped thickenings of the fissures ``sheets``, 10 to 24 mm wide and 1.5 to 3.5 mm thick, between lesions."""
    rng, scale = placer.rng, placer.anatomy.build.scale
    clouds = []
    for _ in range(count):
        radius, thickness = rng.uniform(5.0, 12.0), rng.uniform(1.5, 3.5)
        middles = sheets.points[rng.integers(len(sheets.points), size=40)].astype(np.float64)
        free = [middle for middle in middles if placer.free(middle * scale, radius)]
        if not free:
            continue
        placer.take(free[0] * scale, radius)
        offset = sheets.points - free[0]
        near = np.flatnonzero((offset**2).sum(axis=1) < radius**2)
        height = thickness * (1.0 - (offset[near] ** 2).sum(axis=1) / radius**2)
        # Copies of the sheet, one above the other, shifted so that their points do not line up.
        layers = np.linspace(-0.5, 0.5, 9)
        points = sheets.points[near][:, None] + (layers * height[:, None])[:, :, None] * _normal(sheets.points[near])
        points += rng.uniform(-0.4, 0.4, points.shape)
        # Each point of the sheet stands for its part of the area.
        volume = np.repeat(np.pi * radius**2 / len(near) * height / len(layers), len(layers))
        clouds.append(Cloud(points.reshape(-1, 3).astype(np.float32), volume.astype(np.float32)))
    return Cloud.join(clouds)


def _normal(points: Array) -> Array:
    """The unit vector across points (N, 3) that lie about in a plane."""
    return np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][-1]


def scars(placer: Placer, count: int) -> Cloud:
    """Scars under the pleura, most of them at the apices: a flat uneven wedge and a few strands into the lung."""
    rng, anatomy = placer.rng, placer.anatomy
    scale = anatomy.build.scale
    clouds = []
    for _ in range(count):
        lobes = ("RUL", "LUL") if rng.random() < 0.65 else LOBE_NAMES
        points = placer.lobe_points(lobes) * scale
        depth = -placer.depth(anatomy.chest.cage, points)
        start = placer.best(points[(depth > 1.0) & (depth < 4.0)], lambda _: 0.0, 9.0)
        inwards = -placer.outwards(anatomy.chest.cage, start)
        for strand in range(int(rng.integers(4, 8))):
            along = inwards + rng.normal(0.0, 0.45, 3)
            along /= np.linalg.norm(along)
            across = np.cross(along, rng.standard_normal(3))
            across /= np.linalg.norm(across)
            if strand:
                length, width, thickness = rng.uniform(6.0, 20.0), rng.uniform(0.8, 2.5), rng.uniform(0.7, 1.4)
            else:
                length, width, thickness = rng.uniform(7.0, 15.0), rng.uniform(6.0, 12.0), rng.uniform(1.5, 3.5)
            axes = (np.arange(-3.0, length, 0.5), np.arange(-width / 2, width / 2, 0.5), np.linspace(-0.5, 0.5, 5))
            u, v, w = (a.ravel() for a in np.meshgrid(*axes))
            # Wide at the pleura, a thread at its tip; bent, with a ragged edge.
            narrow = np.clip(1.0 - u / length, 0.12, 1.0) * (1.0 + 0.3 * np.sin(u * 1.3 + rng.uniform(0, 6)))
            lift = 0.8 * np.sin(u / 5.0 + rng.uniform(0, 6)) + w * narrow * thickness
            points = start + u[:, None] * along + (v * narrow)[:, None] * across
            points = points + lift[:, None] * np.cross(along, across) + rng.uniform(-0.25, 0.25, points.shape)
            volume = 0.25 * narrow**2 * thickness / len(axes[2])
            clouds.append(_sheet(points / scale, anatomy, volume / scale**3, 0.0))
    return Cloud.join(clouds)


def crossings(placer: Placer, vessels: Segments, count: int) -> Segments:
    """Vessels that leave a branch, cross another one so closely that both look like one spot, and thin out."""
    none = Segments(vessels.start[:0], vessels.end[:0], vessels.radius[:0])
    if not count:
        return none
    rng, anatomy = placer.rng, placer.anatomy
    middle = (vessels.start + vessels.end) / 2
    inner = anatomy.grid.sample(anatomy.lung, middle) < -6.0
    crossed = np.flatnonzero(inner & (vessels.radius > 0.8) & (vessels.radius < 2.0))
    origins = np.flatnonzero(inner & (vessels.radius > 1.0))
    parts = []
    for at in rng.permutation(crossed)[:count]:
        distance = np.linalg.norm(vessels.end[origins] - middle[at], axis=1)
        near = origins[(distance > 12.0) & (distance < 35.0)]
        if not len(near) or not placer.free(middle[at] * anatomy.build.scale, 4.0):
            continue
        start = vessels.end[rng.choice(near)].astype(np.float64)
        radius = float(min(rng.uniform(0.8, 1.6), vessels.radius[at] * 1.1))
        aside = np.cross(middle[at] - start, vessels.end[at] - vessels.start[at])
        aside *= 0.9 * (radius + vessels.radius[at]) / max(float(np.linalg.norm(aside)), 1e-6)
        crossing = middle[at] + aside
        end = crossing + (crossing - start) * rng.uniform(0.5, 0.9)
        path = np.concatenate([np.linspace(start, crossing, 6)[:-1], np.linspace(crossing, end, 6)])
        path[1:-1] += rng.normal(0.0, 0.35, (len(path) - 2, 3))
        thin = np.linspace(1.15, 0.45, len(path) - 1) * radius
        parts.append(Segments(*(a.astype(np.float32) for a in (path[:-1], path[1:], thin))))
    return Segments.join(parts or [none])
