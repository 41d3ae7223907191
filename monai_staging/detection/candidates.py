"""From a network's probabilities, slice by slice, to candidates: distance merging in a slice, z-merging across slices.

A region is what is connected on one axial slice. Regions of a slice whose centres are close are one (distance merging),
and those of neighbouring slices whose centres are close are one candidate (z-merging), all of it in millimetres. The
pieces of a large lesion are far apart for a small one: close is also what lies within another's radius.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import FloatArray, IntArray
from monai_staging.transforms.grid import Grid

EXTENT = 0.5
"""A candidate's box holds its voxels with at least so much of its highest probability: a low threshold finds more, but
its rim is no part of the lesion."""


@dataclass(frozen=True)
class CandidateRules:
    """What makes a candidate.

    Attributes:
        threshold: probability from which on a voxel belongs to a region; low, so that little is missed.
        merge_mm: regions of one slice whose centres are at most so far apart are one.
        z_merge_mm: then likewise in plane, on slices that are at most ``gap_mm`` apart.
        gap_mm: neighbouring slices are always near enough, whatever their distance.
        radii: and in both cases at most so many radii of the larger one apart, those of circles of its area; 0 for
            distances alone.

    Raises:
        UsageError: a threshold outside (0, 1), a negative distance or number of radii.
    """

    threshold: float = 0.1
    merge_mm: float = 4.0
    z_merge_mm: float = 4.0
    gap_mm: float = 4.0
    radii: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1 or min(self.merge_mm, self.z_merge_mm, self.gap_mm, self.radii) < 0:
            raise UsageError(
                "CandidateRules: a threshold above 0 and below 1, distances and radii of 0 or more are needed; found "
                f"{self.threshold}, {self.merge_mm}, {self.z_merge_mm}, {self.gap_mm} mm and {self.radii}"
            )


def find_candidates(
    probability: NDArray[np.float32], grid: Grid, rules: CandidateRules | None = None
) -> tuple[FloatArray, FloatArray]:
    """Candidates of a scan.

    Args:
        probability: (X, Y, Z), the axial slices along the last axis.
        grid: where it lies.
        rules: what makes a candidate.

    Returns:
        (N, 6) corners of their boxes in RAS mm, and (N) scores: the highest probability of each.
    """
    from scipy import ndimage

    rules = rules or CandidateRules()
    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[:, :, 1] = True
    labels, count = ndimage.label(probability >= rules.threshold, structure=in_plane)
    places = np.argwhere(labels)
    if not count:
        return np.zeros((0, 6)), np.zeros(0)
    owner = labels[tuple(places.T)] - 1
    chance = probability[tuple(places.T)].astype(np.float64)
    points = places * np.asarray(grid.spacing_mm) + grid.origin_mm
    for step in (0.0, max(rules.gap_mm, grid.spacing_mm[2])):
        # First within slices, then, with the centres of what that gave, across them.
        area = np.bincount(owner) * grid.spacing_mm[0] * grid.spacing_mm[1]
        reach = np.maximum(rules.z_merge_mm if step else rules.merge_mm, rules.radii * np.sqrt(area / np.pi))
        owner = linked(_centers(points, chance, owner), reach, step)[owner]
    peak = np.full(owner.max() + 1, 0.0)
    np.maximum.at(peak, owner, chance)
    core = chance >= EXTENT * peak[owner]
    low, high = np.full((len(peak), 3), np.inf), np.full((len(peak), 3), -np.inf)
    np.minimum.at(low, owner[core], points[core])
    np.maximum.at(high, owner[core], points[core])
    half = np.asarray(grid.spacing_mm) / 2
    return np.concatenate([low - half, high + half], axis=1), peak


def linked(centers_mm: FloatArray, reach_mm: FloatArray, gap_mm: float) -> IntArray:
    """Groups of points that a chain of close ones joins.

    Args:
        centers_mm: (N, 3).
        reach_mm: (N) two are close if they lie at most as far apart in plane as the larger reach of both,
        gap_mm: and at most so far along z.

    Returns:
        (N) the number of each point's group, from 0 on.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import KDTree

    # Rounding must not part two that are just so far apart.
    plane, depth = reach_mm + 1e-6, gap_mm + 1e-6
    # All pairs in a box of the largest reach, then those within their own cylinder.
    scaled = centers_mm / (plane.max(), plane.max(), depth)
    pairs = KDTree(scaled).query_pairs(1.0, p=np.inf, output_type="ndarray")
    apart = centers_mm[pairs[:, 0]] - centers_mm[pairs[:, 1]]
    pairs = pairs[np.hypot(apart[:, 0], apart[:, 1]) <= plane[pairs].max(axis=1)]
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(centers_mm),) * 2)
    groups: IntArray = connected_components(graph, directed=False)[1].astype(np.int64)
    return groups


def _centers(points: FloatArray, weights: FloatArray, owner: IntArray) -> FloatArray:
    """(N, 3) weighted means of each owner's points."""
    total = np.bincount(owner, weights)
    return np.stack([np.bincount(owner, weights * axis) for axis in points.T], axis=1) / total[:, None]
