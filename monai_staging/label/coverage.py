"""Which of some points lies farthest from all that is covered: the greedy way to k centres."""

from __future__ import annotations

import numpy as np

from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import FloatArray


def distance_to_nearest(points: FloatArray, centers: FloatArray) -> FloatArray:
    """Euclidean distance of each point to the nearest centre, (N); infinite where there is no centre.

    Args:
        points: (N, D).
        centers: (K, D).
    """
    points, centers = np.asarray(points, dtype=np.float64), np.asarray(centers, dtype=np.float64)
    if not len(centers):
        return np.full(len(points), np.inf)
    if points.shape[1:] != centers.shape[1:]:
        raise UsageError(f"Points and centres have the same number of features; got {points.shape}, {centers.shape}")
    # One centre at a time: memory for N x D, not N x K x D.
    nearest = np.full(len(points), np.inf)
    for center in centers:
        np.minimum(nearest, np.linalg.norm(points - center, axis=1), out=nearest)
    return nearest


def next_center(points: FloatArray, centers: FloatArray) -> int:
    """The point that a greedy k-centre takes next, the first of equals.

    That is the one farthest from its nearest centre, so that the largest distance of any point to a centre shrinks: at
    most twice the best for that number of centres (Gonzalez, 1985; for active learning: Sener and Savarese, 2018,
    arXiv:1708.00489). Without a centre it is the point nearest to the mean of all, not the oddest one.

    Args:
        points: (N, D), not empty.
        centers: (K, D).
    """
    points = np.asarray(points, dtype=np.float64)
    if not len(points):
        raise UsageError("A next centre needs at least one point; got none.")
    if not len(centers):
        return int(np.argmin(np.linalg.norm(points - points.mean(axis=0), axis=1)))
    return int(np.argmax(distance_to_nearest(points, centers)))
