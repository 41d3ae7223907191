"""NT-Xent against its formula, written out, and against MONAI's."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import ContrastiveLoss

from monai_staging.errors import UsageError
from monai_staging.losses.contrastive import NTXentLoss, partners


def formula(features: list[list[float]], temperature: float) -> float:
    """Equation 1 of Chen et al. 2020, over all views."""

    def similarity(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    count = len(features)
    total = 0.0
    for i in range(count):
        j = (i + count // 2) % count
        others = sum(math.exp(similarity(features[i], features[k]) / temperature) for k in range(count) if k != i)
        total -= math.log(math.exp(similarity(features[i], features[j]) / temperature) / others)
    return total / count


@given(images=st.integers(2, 6), length=st.integers(1, 5), temperature=st.floats(0.1, 2.0), seed=st.integers(0, 10_000))
@settings(max_examples=40)
def test_the_loss_is_the_formula_s(images: int, length: int, temperature: float, seed: int) -> None:
    features = torch.randn(2 * images, length, generator=torch.Generator().manual_seed(seed))
    loss = NTXentLoss(temperature)
    assert float(loss(features)) == pytest.approx(formula(features.tolist(), temperature), rel=1e-4, abs=1e-4)
    monai = ContrastiveLoss(temperature=temperature)(*features.chunk(2))
    assert float(loss(features)) == pytest.approx(float(monai), rel=1e-4, abs=1e-4)
    assert float(loss.each(features).mean()) == pytest.approx(float(loss(features)), rel=1e-6)


def test_a_small_temperature_does_not_overflow_and_gradients_are_finite() -> None:
    features = torch.randn(8, 16, requires_grad=True)
    loss = NTXentLoss(0.001)(features)
    loss.backward()
    assert torch.isfinite(loss) and features.grad is not None and torch.isfinite(features.grad).all()


def test_views_alike_cost_less() -> None:
    generator = torch.Generator().manual_seed(0)
    first, other = torch.randn(2, 16, 8, generator=generator)
    loss = NTXentLoss()
    assert loss(torch.cat([first, first])) < loss(torch.cat([first, other]))


def test_reduced_precision_is_widened() -> None:
    features = torch.randn(8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert float(NTXentLoss()(features)) == pytest.approx(formula(features.tolist(), 0.2), rel=1e-4)


def test_partners_are_each_other_s() -> None:
    assert partners(6).tolist() == [3, 4, 5, 0, 1, 2]


@pytest.mark.parametrize("shape", [(5, 3), (2, 3), (4, 3, 1)])
def test_views_that_are_no_pairs_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="two views of at least 2 images"):
        NTXentLoss()(torch.zeros(shape))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(UsageError, match="temperature must be above 0"):
        NTXentLoss(temperature)
