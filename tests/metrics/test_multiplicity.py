from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.errors import UsageError
from monai_staging.metrics import holm


def by_closed_testing(p_values):
    """A test's adjusted p: the largest Bonferroni p of any set of hypotheses that it is in (Marcus et al., 1976)."""
    tests = range(len(p_values))
    sets = [some for size in range(1, len(p_values) + 1) for some in combinations(tests, size)]
    return [max(min(1, len(some) * min(p_values[i] for i in some)) for some in sets if test in some) for test in tests]


@given(st.lists(st.floats(0, 1), max_size=7))
def test_holm_is_closed_testing_with_bonferroni(p_values):
    assert holm(p_values) == pytest.approx(by_closed_testing(p_values))


def test_published_examples():
    # The documentation of MultipleTesting.jl.
    assert holm([0.001, 0.01, 0.03, 0.5]) == pytest.approx([0.004, 0.03, 0.06, 0.5])


def test_a_test_that_was_not_made_does_not_count():
    assert holm([0.04, math.nan, 0.01]) == pytest.approx([0.04, np.nan, 0.02], nan_ok=True)


def test_refuses_what_is_no_p_value():
    for p_values in ([0.5, 1.1], [-0.1], [[0.5]]):
        with pytest.raises(UsageError, match=r"0\.\.1, one a test"):
            holm(p_values)
