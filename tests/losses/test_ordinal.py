from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from monai_staging.losses.ordinal import ordinal_set_loss


def score(probabilities: list[float], members: list[int]) -> float:
    logits = torch.tensor([probabilities], dtype=torch.float64).log()
    sets = torch.zeros(1, len(probabilities), dtype=torch.bool)
    sets[0, members] = True
    return float(ordinal_set_loss(logits, sets))


def test_values_worked_out_by_hand() -> None:
    p = [0.1, 0.2, 0.3, 0.4]
    # Thresholds after categories 0, 1, 2: P(at most) = 0.1, 0.3, 0.6.
    assert score(p, [0]) == pytest.approx(-(math.log(0.1) + math.log(0.3) + math.log(0.6)) / 3)
    assert score(p, [2]) == pytest.approx(-(math.log(0.9) + math.log(0.7) + math.log(0.6)) / 3)
    # {1, 2} is above the first threshold, on both sides of the second and below the third.
    assert score(p, [1, 2]) == pytest.approx(-(math.log(0.9) + math.log(0.6)) / 3)
    # {1, 3} is above the first; within 1..3, what is not in the hole has (0.2 + 0.4) of 0.9.
    assert score(p, [1, 3]) == pytest.approx(-math.log(0.9) / 3 - math.log(0.6 / 0.9))
    assert score(p, [0, 1, 2, 3]) == pytest.approx(0, abs=1e-12)


def test_is_cross_entropy_for_two_categories() -> None:
    logits = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    expected = functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(ordinal_set_loss(logits, functional.one_hot(labels, 2).bool()), expected)


def test_single_category_says_nothing() -> None:
    assert ordinal_set_loss(torch.randn(3, 1), torch.ones(3, 1, dtype=torch.bool)).tolist() == [0, 0, 0]


def test_the_further_the_more_it_costs() -> None:
    costs = []
    for place in range(5):
        p = [0.02] * 5
        p[place] = 0.92
        costs.append(score(p, [0]))
    assert costs == sorted(costs) and costs[0] < 0.1 < costs[1]


@given(
    st.lists(st.floats(0.01, 1), min_size=2, max_size=6).flatmap(
        lambda w: st.tuples(st.just(w), st.lists(st.floats(0.01, 1), min_size=len(w), max_size=len(w)))
    )
)
def test_is_proper(weights: tuple[list[float], list[float]]) -> None:
    truth = [w / sum(weights[0]) for w in weights[0]]
    other = [w / sum(weights[1]) for w in weights[1]]

    def expected(p: list[float]) -> float:
        return sum(q * score(p, [c]) for c, q in enumerate(truth))

    # Whatever the truth, no forecast is expected to score better than the truth itself.
    assert expected(truth) <= expected(other) + 1e-9


@given(st.integers(2, 6).flatmap(lambda k: st.tuples(st.just(k), st.sets(st.integers(0, k - 1), min_size=1))))
def test_sets_never_cost_more_than_a_member_and_never_less_than_nothing(case: tuple[int, set[int]]) -> None:
    classes, members = case
    p = [1 + (7 * c) % 5 for c in range(classes)]
    p = [x / sum(p) for x in p]
    found = score(p, sorted(members))
    assert found >= -1e-12
    low, high = min(members), max(members)
    if members == set(range(low, high + 1)):
        assert found <= min(score(p, [m]) for m in members) + 1e-12


def test_gradient_is_right_and_finite_for_extreme_scores() -> None:
    torch.manual_seed(0)
    sets = torch.tensor([[1, 0, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1], [1, 1, 1, 1]], dtype=torch.bool)
    logits = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ordinal_set_loss(x, sets), (logits,))
    extreme = torch.tensor([[300.0, 0.0, 0.0, -300.0]] * 4, requires_grad=True)
    loss = ordinal_set_loss(extreme, sets)
    loss.sum().backward()
    assert bool(torch.isfinite(loss).all())
    assert extreme.grad is not None and bool(torch.isfinite(extreme.grad).all())


def test_half_precision_is_scored_in_single() -> None:
    assert ordinal_set_loss(torch.randn(2, 3).bfloat16(), torch.eye(3, dtype=torch.bool)[:2]).dtype == torch.float32
