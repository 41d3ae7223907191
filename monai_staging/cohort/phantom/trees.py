"""Branching vessels and airways of the lungs.

Each lobe gets trees of its own: target points spread through the lobe are split in two again and again, and a branch
leads to the middle of each half. Radii follow a power of the number of twigs beyond (Murray's law).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monai_staging.cohort.phantom.grid import Array, Grid
from monai_staging.cohort.phantom.organs import TRACHEA

LOBE_NAMES = ("RUL", "RML", "RLL", "LUL", "LLL")
# Where arteries (with the bronchi) and veins enter each lobe: hub in the mediastinum, gate at the hilum.
ARTERY_GATES = {
    "RUL": ((-30, -6, -22), (-44, 0, -8)), "RML": ((-40, 6, -48), (-60, -6, -60)), "RLL": ((-40, 9, -52), (-45, 18,
    -66)),
    "LUL": ((40, 8, -15), (54, -2, -10)), "LLL": ((46, 17, -32), (52, 22, -54)),
}  # fmt: skip
VEIN_GATES = {
    "RUL": ((-38, 4, -58), (-46, -10, -34)), "RML": ((-38, 4, -56), (-60, -14, -66)), "RLL": ((-30, 10, -70), (-44,
    20, -80)),
    "LUL": ((40, 10, -46), (54, -12, -36)), "LLL": ((34, 16, -68), (50, 26, -76)),
}  # fmt: skip
BRONCHI = [
    ([(0, 0, 2), (-12, 2, -9), (-23, 4, -18)], (8.0, 7.0)),
    ([(-22, 4, -16), (-32, 4, -11), (-44, 2, -8)], (5.0, 4.4)),
    ([(-23, 4, -18), (-29, 5, -34), (-32, 5, -47)], (6.2, 5.6)),
    ([(-32, 5, -47), (-44, 4, -54), (-57, 0, -59)], (4.2, 3.4)),
    ([(-32, 5, -47), (-37, 12, -58), (-43, 17, -68)], (5.2, 4.6)),
    ([(0, 0, 2), (16, 4, -12), (40, 11, -28)], (7.4, 6.2)),
    ([(40, 11, -28), (47, 5, -25), (55, -2, -14)], (5.0, 4.4)),
    ([(40, 11, -28), (45, 16, -40), (51, 21, -56)], (5.2, 4.6)),
]


@dataclass(frozen=True)
class Segments:
    """Straight pieces of tubes in the anatomical frame: ends (N, 3) and radii (N,) in mm."""

    start: Array
    end: Array
    radius: Array

    @staticmethod
    def join(parts: list[Segments]) -> Segments:
        """All pieces of several sets."""
        return Segments(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("start", "end", "radius")))


def overlapping(segments: Segments) -> Segments:
    """The pieces, wide ones so long at both ends that no gap is left where they meet at an angle."""
    along = segments.end - segments.start
    length = np.linalg.norm(along, axis=1)
    reach = np.where(segments.radius > 1.2, 0.5 * segments.radius, 0.0) / np.maximum(length, 1e-3)
    more = reach[:, None].astype(np.float32) * along
    return Segments(segments.start - more, segments.end + more, segments.radius)


def fissure_height(y: Array, left: Array | bool) -> Array:
    """Height of the oblique fissure at a depth ``y`` (mm)."""
    return np.where(left, 1.18 * y - 27.0, 1.10 * y - 33.0).astype(np.float32)


def lobe_index(points: Array) -> np.ndarray:
    """Index into `LOBE_NAMES` for points (N, 3) of the anatomical frame, whether or not they lie in a lung."""
    x, y, z = np.asarray(points, dtype=np.float32).T
    left = x > 0
    lower = z < fissure_height(y, left)
    right_lobe = np.where(lower, 2, np.where(z < -30.0, 1, 0))
    return np.where(left, np.where(lower, 4, 3), right_lobe)


def targets(rng: np.random.Generator, grid: Grid, lung: Array, pitch_mm: float) -> Array:
    """Points spread evenly, with jitter, through the lungs."""
    axes = [
        np.arange(low, low + (n - 1) * grid.step_mm, pitch_mm)
        for low, n in zip(grid.low, grid.shape[::-1], strict=True)
    ]
    points = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=1)
    points = points + rng.uniform(-0.5, 0.5, points.shape) * pitch_mm
    return points[grid.sample(lung, points) < -2.5].astype(np.float32)


def _grow(
    rng: np.random.Generator, points: Array, owner: np.ndarray, hubs: Array, gates: Array
) -> tuple[Array, Array, np.ndarray, np.ndarray]:
    """Grows all trees at once, level by level.

    Args:
        rng: makes the trees irregular.
        points: targets (P, 3).
        owner: the tree of each target, a row of ``hubs`` and ``gates`` (T, 3).
        hubs: where each tree leaves the mediastinum.
        gates: where it enters its lobe.

    Returns:
        Starts and ends of the pieces (N, 3), the number of targets beyond each, and the tree of each.
    """
    order = np.argsort(owner, kind="stable")
    points, owner = points[order], owner[order]
    trees, first, count = np.unique(owner, return_index=True, return_counts=True)
    starts, ends, counts, whose = [hubs[trees]], [gates[trees]], [count], [trees]
    origin, heading = gates[trees], gates[trees] - hubs[trees]
    while len(points):
        groups = len(first)
        group = np.repeat(np.arange(groups), count)
        centre = np.add.reduceat(points, first, axis=0) / count[:, None].astype(np.float32)
        reach = np.where(count > 2, rng.uniform(0.22, 0.42, groups), np.where(count == 2, 0.6, 1.0)).astype(np.float32)
        branch = origin + reach[:, None] * (centre - origin) + np.where(count > 1, 0.16, 0.0)[:, None] * heading
        branch = branch.astype(np.float32)
        starts.append(origin)
        ends.append(branch)
        counts.append(count)
        whose.append(trees)
        # Halves across the main direction of each group's points; groups of one are done.
        offset = points - centre[group]
        products = (offset[:, :, None] * offset[:, None, :]).reshape(-1, 9)
        axis = np.linalg.eigh(np.add.reduceat(products, first, axis=0).reshape(-1, 3, 3).astype(np.float64))[1][:, :, 2]
        key = (offset * axis[group].astype(np.float32)).sum(1)
        spread = np.sqrt(np.add.reduceat(key * key, first) / count)
        cut = rng.uniform(-0.8, 0.8, groups) * spread
        half = key > cut[group]
        left = np.add.reduceat(half.astype(np.intp), first)
        # A cut beside all points would not divide them: take the last point alone.
        stuck = (left == 0) | (left == count)
        last = np.zeros(len(points), dtype=bool)
        last[first + count - 1] = True
        half = np.where(stuck[group], last, half)
        keep = (count > 1)[group]
        points, group, half = points[keep], group[keep], half[keep]
        child = 2 * group + half
        order = np.argsort(child, kind="stable")
        points, child = points[order], child[order]
        child, first, count = np.unique(child, return_index=True, return_counts=True)
        parent = child // 2
        heading = (branch - origin)[parent]
        origin, trees = branch[parent], trees[parent]
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(counts), np.concatenate(whose)


def lung_trees(rng: np.random.Generator, grid: Grid, lung: Array, pitch_mm: float) -> tuple[Segments, Segments]:
    """Vessels of both lungs, and the airways (trachea to segmental bronchi; radii of the lumen)."""
    vessels, airways = [], [_path(list(TRACHEA), (9.0, 8.6))]
    airways += [_path(points, radii) for points, radii in BRONCHI]
    for entry, pitch, root_mm in ((ARTERY_GATES, pitch_mm, 6.6), (VEIN_GATES, pitch_mm * 1.15, 6.0)):
        hubs, gates = (np.array([entry[name][k] for name in LOBE_NAMES], dtype=np.float32) for k in (0, 1))
        points = targets(rng, grid, lung, pitch)
        start, end, number, tree = _grow(rng, points, lobe_index(points), hubs, gates)
        total = np.maximum(np.bincount(tree, weights=number == 1, minlength=len(hubs)), 2.0)
        # Murray's law between the root and twigs of 0.44 mm, whatever the number of twigs.
        power = np.log(root_mm / 0.44) / np.log(total)
        radius = (0.44 * number ** power[tree] * rng.uniform(0.85, 1.15, len(number))).astype(np.float32)
        # Nothing runs through heart or chest wall.
        middle = grid.sample(lung, (start + end) / 2)
        root = np.linalg.norm(end - gates[tree], axis=1) < 28.0
        fine = (middle < 1.0) | root
        vessels.append(Segments(start[fine], end[fine], radius[fine]))
        if entry is ARTERY_GATES:
            big = (radius > 1.35) & (np.arange(len(number)) >= len(hubs)) & (middle < 0.0)
            side = np.where(hubs[tree][:, :1] < 0, 1.0, -1.0).astype(np.float32)
            shift = (radius * 1.7)[:, None] * np.concatenate([side * 0.6, 0.5 + 0 * side, -0.3 + 0 * side], axis=1)
            airways.append(Segments((start + shift)[big], (end + shift)[big], radius[big] * np.float32(0.66)))
    return Segments.join(vessels), Segments.join(airways)


def _path(points: Sequence[Sequence[float]], radii: tuple[float, float]) -> Segments:
    array = np.array(points, dtype=np.float32)
    return Segments(array[:-1], array[1:], np.linspace(*radii, len(points) - 1).astype(np.float32))
