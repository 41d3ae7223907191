from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.errors import UsageError
from monai_staging.label.coverage import distance_to_nearest, next_center


def radius(points: np.ndarray, centers: np.ndarray) -> float:
    return max(min(float(np.linalg.norm(point - center)) for center in centers) for point in points)


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(0, 5), st.integers(1, 4))
def test_distances_and_choice_are_those_of_every_pair(seed: int, count: int, centers: int, features: int) -> None:
    rng = np.random.default_rng(seed)
    points, covered = rng.integers(-3, 4, (count, features)), rng.integers(-3, 4, (centers, features))
    expected = [min((float(np.linalg.norm(p - c)) for c in covered), default=np.inf) for p in points]
    np.testing.assert_allclose(distance_to_nearest(points, covered), expected)
    if centers:
        assert next_center(points, covered) == int(np.argmax(expected))


@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 4))
def test_greedy_choice_is_within_twice_the_best(seed: int, count: int, centers: int) -> None:
    points = np.random.default_rng(seed).normal(size=(count, 2))
    centers = min(centers, count)
    chosen = np.zeros((0, 2))
    for _ in range(centers):
        chosen = np.vstack([chosen, points[next_center(points, chosen)]])
    best = min(radius(points, np.array(some)) for some in itertools.combinations(points, centers))
    assert radius(points, chosen) <= 2 * best + 1e-9


def test_without_a_centre_the_most_typical_comes_first() -> None:
    assert next_center(np.array([[9.0], [1.0], [0.0], [2.0]]), np.zeros((0, 1))) == 3


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one point"):
        next_center(np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(UsageError, match="same number of features"):
        distance_to_nearest(np.zeros((1, 2)), np.zeros((1, 3)))
