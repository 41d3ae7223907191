"""The rare hinge against its formula and PyTorch's hinge."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import multi_margin_loss

from monai_staging.errors import UsageError
from monai_staging.losses.rare import RareHingeLoss

pairs = st.lists(st.tuples(st.floats(-5, 5), st.booleans()), min_size=1, max_size=20)


@given(pairs, st.floats(0.1, 3))
def test_without_a_weight_it_is_the_svm_s_hinge_of_two_scores(drawn: list, margin: float) -> None:
    logits = torch.tensor([score for score, _ in drawn])
    target = torch.tensor([float(rare) for _, rare in drawn])
    two = torch.stack([-logits / 2, logits / 2], dim=1)
    # PyTorch divides by the number of classes.
    expected = 2 * multi_margin_loss(two, target.long(), margin=margin)
    assert RareHingeLoss(0.0, margin)(logits, target) == pytest.approx(float(expected), abs=1e-5)


@given(pairs, st.sampled_from([2.0, 4.0]))
def test_errors_on_the_rare_class_count_more(drawn: list, weight: float) -> None:
    def hinge(score: float, rare: bool) -> float:
        return math.exp(weight) * max(0.0, 1 - score) if rare else max(0.0, 1 + score)

    logits = torch.tensor([score for score, _ in drawn])[:, None]
    target = torch.tensor([float(rare) for _, rare in drawn])[:, None]
    expected = sum(hinge(float(score), bool(rare)) for score, rare in zip(logits, target, strict=True)) / len(drawn)
    assert RareHingeLoss(weight)(logits, target) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_all_negative_is_no_way_out() -> None:
    target = torch.zeros(100)
    target[:5] = 1
    logits = torch.full((100,), -1.0, requires_grad=True)
    RareHingeLoss(2.0)(logits, target).backward()
    # The few pull up with e^2 times their number, and the many are content.
    assert (logits.grad[:5] < 0).all() and (logits.grad[5:] == 0).all()
    assert float(logits.grad[0]) == pytest.approx(-math.exp(2) / 100, rel=1e-5)


def test_what_cannot_be_is_refused() -> None:
    for settings in ({"margin": 0.0}, {"weight": math.inf}):
        with pytest.raises(UsageError, match="a margin above 0 and a finite weight"):
            RareHingeLoss(**settings)
    with pytest.raises(UsageError, match=r"shapes are the same, found \(2,\) and \(2, 1\)"):
        RareHingeLoss()(torch.zeros(2), torch.zeros(2, 1))
