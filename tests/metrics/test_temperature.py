from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from sklearn.isotonic import IsotonicRegression

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.isotonic import IsotonicScaling
from monai_staging.metrics.temperature import (
    BOUND,
    PRIOR_SD,
    TemperatureScaling,
    possible_classes,
    says_something,
)


def cohort(rows, seed=0, classes=5, true=2.0, partial=0.2, unknown=0.1):
    """Logits that are ``true`` times too large, and truths that are now one class, now two, now unknown."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes))
    chosen = np.array([rng.choice(classes, p=row) for row in softmax(logits, axis=1)], dtype=int)
    possible = np.eye(classes, dtype=bool)[chosen]
    draw = rng.random(rows)
    # A pair of neighbours, as T2 is T2a or T2b.
    for row in np.flatnonzero(draw < partial):
        possible[row, chosen[row] ^ 1 if chosen[row] ^ 1 < classes else 0] = True
    possible[draw > 1 - unknown] = True
    return true * logits, possible


def reference(logits, possible, weights, prior_sd):
    """The same posterior by another road: over the inverse temperature, from many starts, without a gradient."""

    def loss(inverse):
        (b,) = np.exp(inverse)
        inside = logsumexp(np.where(possible, b * logits, -np.inf), axis=1)
        return -(weights * (inside - logsumexp(b * logits, axis=1))).sum() + 0.5 * (inverse[0] / prior_sd) ** 2

    starts = (-2.0, -0.5, 0.0, 0.5, 2.0)
    fits = [minimize(loss, [start], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-12}) for start in starts]
    return float(np.exp(-min(fits, key=lambda fit: fit.fun).x[0]))


@pytest.mark.parametrize("prior_sd", [PRIOR_SD, np.inf])
@pytest.mark.parametrize(("rows", "seed"), [(12, 0), (40, 1), (300, 2)])
def test_the_temperature_is_that_of_an_independent_optimiser(rows, seed, prior_sd):
    logits, possible = cohort(rows, seed)
    weights = np.random.default_rng(9).uniform(0.2, 1, rows)
    found = TemperatureScaling.fit(softmax(logits, axis=1), possible, weights, prior_sd)
    known = says_something(possible)
    expected = reference(logits[known], possible[known], weights[known], prior_sd)
    assert found.temperature == pytest.approx(expected, rel=1e-5)


def test_probabilities_twice_too_sure_are_found_out():
    logits, possible = cohort(4000, 3)
    assert TemperatureScaling.fit(softmax(logits, axis=1), possible).temperature == pytest.approx(2, abs=0.1)


def test_rows_that_say_nothing_change_nothing():
    logits, possible = cohort(60, 4)
    more = np.concatenate([possible, np.ones((20, 5), bool), np.zeros((20, 5), bool)])
    noise = np.random.default_rng(0).normal(size=(40, 5)) * 5
    both = softmax(np.concatenate([logits, noise]), axis=1)
    fits = [TemperatureScaling.fit(*data).temperature for data in ((both[:60], possible), (both, more))]
    assert fits[0] == pytest.approx(fits[1], rel=1e-9)


def test_a_few_rows_move_it_a_little_and_none_not_at_all():
    assert TemperatureScaling.fit(np.zeros((0, 3)), np.zeros((0, 3), bool)).temperature == pytest.approx(1, abs=1e-6)
    right = np.tile([0.9, 0.05, 0.05], (30, 1)), np.tile([True, False, False], (30, 1))
    few, many = (TemperatureScaling.fit(right[0][:n], right[1][:n]).temperature for n in (2, 30))
    assert 0.8 < few < 1 and 0.2 < many < few
    # Always right: likelihood alone goes on to where doubt is nothing, or to the bound.
    assert 1 / BOUND <= TemperatureScaling.fit(*right, prior_sd=np.inf).temperature < 0.1


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda row: sum(row) > 0.1), min_size=1),
    st.floats(0.1, 10),
)
def test_scaled_probabilities_keep_their_order_and_sum_to_1(rows, temperature):
    values = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    scaled = TemperatureScaling(temperature).apply(values)
    assert scaled.sum(axis=1) == pytest.approx(1) and (scaled >= 0).all()
    for before, after in zip(values, scaled, strict=True):
        assert (np.diff(after[np.argsort(before, kind="stable")]) >= -1e-12).all()
    assert TemperatureScaling().apply(values) == pytest.approx(values, abs=1e-9)


def test_scaling_is_that_of_logits():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4))
    expected = softmax(logits / 1.7, axis=-1)
    assert TemperatureScaling(1.7).apply(softmax(logits, axis=-1)) == pytest.approx(expected)


def test_sets_as_columns():
    possible = possible_classes([("a",), ("b", "c"), ("a", "b", "c"), ("z",)], ("a", "b", "c"))
    assert possible.tolist() == [[True, False, False], [False, True, True], [True] * 3, [False] * 3]
    assert says_something(possible).tolist() == [True, True, False, False]
    assert possible_classes([], ("a", "b")).shape == (0, 2)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(DataError, match="above 0, found -1"):
        TemperatureScaling(-1.0)
    with pytest.raises(UsageError, match=r"one shape, got \(2, 3\) and \(3, 3\)"):
        TemperatureScaling.fit(np.full((2, 3), 1 / 3), np.ones((3, 3)))
    with pytest.raises(UsageError, match="deviation"):
        TemperatureScaling.fit(np.full((1, 3), 1 / 3), np.eye(1, 3), prior_sd=0)
    with pytest.raises(UsageError, match="One weight a row"):
        TemperatureScaling.fit(np.full((2, 3), 1 / 3), np.eye(2, 3), weights=[1])
    with pytest.raises(UsageError, match=r"one shape, got \(2, 3\) and \(1, 3\)"):
        IsotonicScaling.fit(np.full((2, 3), 1 / 3), np.eye(1, 3))
    with pytest.raises(DataError, match="ascending corners"):
        IsotonicScaling((((0.0, 0.5), (1.0, 0.2)),))
    with pytest.raises(UsageError, match="is of 2 classes"):
        IsotonicScaling(((), ())).apply([[0.2, 0.3, 0.5]])
    with pytest.raises(DataError, match="each of 3 classes is needed, found 1"):
        IsotonicScaling.from_json({"isotonic": [[]]}, 3)


def test_isotonic_scaling_is_scikit_learn_s_one_against_the_rest():
    logits, possible = cohort(200, 5, classes=3, partial=0)
    values = softmax(logits, axis=1)
    known = says_something(possible)
    columns = []
    for place in range(3):
        least = 1 / (known.sum() + 2)
        fit = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
        columns.append(fit.fit(values[known, place], possible[known, place]).predict(values[:, place]))
    expected = np.stack(columns, axis=1)
    scaled = IsotonicScaling.fit(values, possible)
    assert scaled.apply(values) == pytest.approx(expected / expected.sum(axis=1, keepdims=True))
    assert IsotonicScaling.from_json(scaled.to_json(), 3) == scaled


def test_a_set_says_of_a_class_outside_it_that_it_is_not_that_one():
    values = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7], [0.1, 0.1, 0.8]])
    possible = np.array([[True, True, False], [False, True, False], [False, False, True], [False, True, True]])
    scaled = IsotonicScaling.fit(values, possible)
    # Of the first class three rows say what it is not, none that it is: never 0 all the same.
    assert scaled.maps[0][0][1] == pytest.approx(1 / 5) and scaled.apply(values).min() > 0
    nobody = IsotonicScaling.fit(values, np.ones((4, 3), bool))
    assert nobody.maps == ((), (), ()) and nobody.apply(values) == pytest.approx(values)
