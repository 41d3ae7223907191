from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.errors import DataError
from monai_staging.tnm import (
    EDITIONS,
    categories,
    group_bounds,
    group_probabilities,
    group_table,
    groups,
    main_categories,
    stage_groups,
)


def distribution(data: st.DataObject, keys: tuple[str, ...]) -> dict[str, float]:
    weights = data.draw(st.lists(st.integers(0, 20), min_size=len(keys), max_size=len(keys)).filter(any))
    return {key: weight / sum(weights) for key, weight in zip(keys, weights, strict=True)}


def test_one_hot_letters_give_the_group_of_the_table() -> None:
    for edition in EDITIONS:
        for t, n, m in itertools.product(*(categories(letter, edition) for letter in "tnm")):
            group = group_table(edition)[t][n][m]
            if group is None:
                with pytest.raises(DataError, match="no stage group for any combination"):
                    group_probabilities({t: 1.0}, {n: 1.0}, {m: 1.0}, edition)
            else:
                expected = dict.fromkeys(groups(edition), 0.0) | {group: 1.0}
                assert group_probabilities({t: 1.0}, {n: 1.0}, {m: 1.0}, edition) == expected


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_probabilities_are_sums_over_the_table_and_sum_to_one(data: st.DataObject) -> None:
    edition = data.draw(st.sampled_from(EDITIONS))
    t, n, m = (distribution(data, categories(letter, edition)) for letter in "tnm")
    table = group_table(edition)
    sums = dict.fromkeys(groups(edition), 0.0)
    for a, b, c in itertools.product(t, n, m):
        group = table[a][b][c]
        if group is not None:
            sums[group] += t[a] * n[b] * m[c]
    whole = sum(sums.values())
    if whole == 0.0:
        with pytest.raises(DataError):
            group_probabilities(t, n, m, edition)
        return
    derived = group_probabilities(t, n, m, edition)
    assert list(derived) == list(groups(edition))
    assert math.isclose(sum(derived.values()), 1.0, abs_tol=1e-12)
    for group, value in sums.items():
        assert math.isclose(derived[group], value / whole, abs_tol=1e-12)


def test_without_tis_with_nodes_it_is_the_plain_sum() -> None:
    derived = group_probabilities({"T1b": 0.6, "T3": 0.4}, {"N0": 0.7, "N3": 0.3}, {"M0": 0.9, "M1c": 0.1})
    expected = {
        "IA2": 0.6 * 0.7 * 0.9,
        "IIIB": 0.6 * 0.3 * 0.9,
        "IIB": 0.4 * 0.7 * 0.9,
        "IIIC": 0.4 * 0.3 * 0.9,
        "IVB": 0.1,
    }
    assert {group: value for group, value in derived.items() if value} == pytest.approx(expected)


def test_main_categories_divide_evenly_or_by_shares() -> None:
    even = group_probabilities({"T2": 1.0}, {"N0": 1.0}, {"M0": 1.0})
    assert (even["IB"], even["IIA"]) == (0.5, 0.5)
    shared = group_probabilities({"T2": 1.0}, {"N0": 1.0}, {"M0": 1.0}, shares={"T2a": 3.0, "T2b": 1.0})
    assert (shared["IB"], shared["IIA"]) == (0.75, 0.25)
    mixed = group_probabilities({"T2": 0.5, "T2a": 0.5}, {"N0": 1.0}, {"M0": 1.0})
    assert (mixed["IB"], mixed["IIA"]) == (0.75, 0.25)
    with pytest.raises(DataError, match="must not all be zero"):
        group_probabilities({"T2": 1.0}, {"N0": 1.0}, {"M0": 1.0}, shares={"T2a": 0.0, "T2b": 0.0})
    with pytest.raises(DataError, match="finite numbers, zero or more"):
        group_probabilities({"T2": 1.0}, {"N0": 1.0}, {"M0": 1.0}, shares={"T2a": -1.0})


def test_bounds_assume_nothing_about_sub_stages() -> None:
    bounds = group_bounds({"T2": 0.6, "T3": 0.4}, {"N0": 1.0}, {"M0": 1.0})
    assert (bounds["IB"].low, bounds["IB"].high) == (0.0, 0.6)
    assert (bounds["IIA"].low, bounds["IIA"].high) == (0.0, 0.6)
    assert (bounds["IIB"].low, bounds["IIB"].high) == (0.4, 0.4)
    assert (bounds["IVB"].low, bounds["IVB"].high) == (0.0, 0.0)
    with pytest.raises(DataError, match="no stage group"):
        group_bounds({"Tis": 1.0}, {"N1": 1.0}, {"M0": 1.0})


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_bounds_hold_the_probabilities_of_any_division(data: st.DataObject) -> None:
    edition = data.draw(st.sampled_from(EDITIONS))
    # Tis only without nodes, so that both are over the same combinations.
    t = distribution(data, main_categories("t", edition)[1:])
    n, m = (distribution(data, main_categories(letter, edition)) for letter in "nm")
    shares = {category: data.draw(st.integers(1, 9)) for letter in "tnm" for category in categories(letter, edition)}
    bounds = group_bounds(t, n, m, edition)
    for group, value in group_probabilities(t, n, m, edition, shares=shares).items():
        assert bounds[group].low - 1e-9 <= value <= bounds[group].high + 1e-9


def test_occult_tx_has_its_group() -> None:
    derived = group_probabilities({"TX": 0.5, "T1a": 0.5}, {"N0": 1.0}, {"M0": 1.0})
    assert (derived["occult"], derived["IA1"]) == (0.5, 0.5)
    spread = group_probabilities({"TX": 1.0}, {"N3": 1.0}, {"M0": 1.0})
    assert {group for group, value in spread.items() if value} == set(
        stage_groups(categories("t", "8"), {"N3"}, {"M0"}, "8")
    )


@pytest.mark.parametrize(
    ("t", "message"),
    [
        ({"T1a": 0.5, "T3": 0.4}, r"T probabilities must sum to 1 \(tolerance 0.001\); they sum to 0.9"),
        ({}, "they sum to 0"),
        ({"T1a": 1.5, "T3": -0.5}, "Probability of T3 must be a finite number, zero or more; got -0.5"),
        ({"T1a": math.nan}, "Probability of T1a must be a finite number"),
        ({"T5": 1.0}, "T probabilities of the 8th edition are for .*; got 'T5'"),
        ({"N0": 1.0}, "T probabilities of the 8th edition are for .*; got 'N0'"),
        ({3: 1.0}, "got 3"),
    ],
)
def test_errors_state_letter_value_and_rule(t: dict[str, float], message: str) -> None:
    for function in (group_probabilities, group_bounds):
        with pytest.raises(DataError, match=message):
            function(t, {"N0": 1.0}, {"M0": 1.0})


def test_a_small_rounding_error_is_taken_and_the_result_still_sums_to_one() -> None:
    derived = group_probabilities({"T1a": 0.4999, "T3": 0.4999}, {"N0": 1.0}, {"M0": 1.0})
    assert math.isclose(sum(derived.values()), 1.0, abs_tol=1e-12)
    with pytest.raises(DataError, match="they sum to 0.9998"):
        group_probabilities({"T1a": 0.4999, "T3": 0.4999}, {"N0": 1.0}, {"M0": 1.0}, tolerance=1e-6)
