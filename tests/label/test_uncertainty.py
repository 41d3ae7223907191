from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monai_staging.label.uncertainty import entropy, mutual_information


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 9))
def test_entropy_is_scipys(seed: int, rows: int, classes: int) -> None:
    chances = np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), rows)
    np.testing.assert_allclose(entropy(chances), [stats.entropy(row) for row in chances], atol=1e-12)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 9))
def test_mutual_information_is_the_mean_divergence_from_the_mean(seed: int, passes: int, classes: int) -> None:
    # Another way to the same number: the expected Kullback-Leibler divergence of a pass from the mean of all.
    chances = np.random.default_rng(seed).dirichlet(np.ones(classes), passes)
    mean = chances.mean(axis=0)
    expected = np.mean([sum(p * math.log(p / q) for p, q in zip(row, mean, strict=True) if p > 0) for row in chances])
    found = mutual_information(chances)
    assert found == pytest.approx(max(expected, 0), abs=1e-12)
    assert 0 <= found <= math.log(classes) + 1e-12


def test_noise_is_no_disagreement() -> None:
    assert mutual_information(np.full((4, 2), 0.5)) == 0
    assert mutual_information(np.array([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(math.log(2))
    assert entropy(np.array([1.0, 0.0])) == 0
