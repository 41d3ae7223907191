from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.errors import UsageError
from monai_staging.networks.attention import GatedAttentionPool


def reference(pool: GatedAttentionPool, bag: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equation 9 of Ilse et al. 2018 in NumPy, one bag (S, F)."""
    w = {name: value.detach().double().numpy() for name, value in pool.state_dict().items()}
    value = np.tanh(bag @ w["value.weight"].T + w["value.bias"])
    gate = 1 / (1 + np.exp(-(bag @ w["gate.weight"].T + w["gate.bias"])))
    score = (value * gate) @ w["score.weight"].T + w["score.bias"]
    weights = np.exp(score) / np.exp(score).sum(axis=0)
    return weights.T @ bag, weights.T


def test_is_the_published_equation() -> None:
    torch.manual_seed(0)
    pool = GatedAttentionPool(6, hidden=4, heads=3)
    bags = torch.randn(2, 5, 6)
    pooled, weights = pool(bags)
    for index in range(2):
        expected_pooled, expected_weights = reference(pool, bags[index].double().numpy())
        np.testing.assert_allclose(pooled[index].detach(), expected_pooled, atol=1e-5)
        np.testing.assert_allclose(weights[index].detach(), expected_weights, atol=1e-6)


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**16), st.floats(0.01, 1e4))
def test_weights_are_a_distribution_over_what_is_there(size: int, heads: int, seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    pool = GatedAttentionPool(3, hidden=4, heads=heads)
    with torch.no_grad():
        pool.score.weight.mul_(scale)
    bags = torch.randn(2, size, 3, generator=generator)
    mask = torch.rand(2, size, generator=generator) < 0.6
    mask[:, 0] = True
    pooled, weights = pool(bags, mask)
    assert pooled.shape == (2, heads, 3) and weights.shape == (2, heads, size)
    assert bool((weights >= 0).all())
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, heads))
    assert bool((weights.transpose(1, 2)[~mask] == 0).all())


def test_masked_places_are_as_if_they_were_not_there_whatever_they_hold() -> None:
    torch.manual_seed(0)
    pool = GatedAttentionPool(4, heads=2)
    bag = torch.randn(1, 5, 4)
    padded = torch.cat([bag, torch.full((1, 3, 4), torch.nan)], dim=1)
    mask = torch.tensor([[True] * 5 + [False] * 3])
    pooled, weights = pool(bag)
    padded.requires_grad_()
    pooled_padded, weights_padded = pool(padded, mask)
    torch.testing.assert_close(pooled_padded, pooled)
    torch.testing.assert_close(weights_padded[..., :5], weights)
    # Numbers instead of booleans serve as well.
    torch.testing.assert_close(pool(padded.nan_to_num(), mask.float())[0], pooled)


def test_empty_bag_gives_zeros_and_a_finite_gradient() -> None:
    torch.manual_seed(0)
    pool = GatedAttentionPool(4)
    bags = torch.randn(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    pooled, weights = pool(bags, mask)
    assert not pooled[1].any() and not weights[1].any()
    pooled.square().sum().backward()
    assert bags.grad is not None and bool(torch.isfinite(bags.grad).all()) and not bags.grad[1].any()


def test_half_precision_keeps_the_weights_exact() -> None:
    torch.manual_seed(0)
    pool = GatedAttentionPool(16, heads=2)
    bags = torch.randn(2, 300, 16)
    exact, _ = pool(bags)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled, weights = pool(bags)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(pooled.float(), exact, atol=0.02, rtol=0.05)
    assert pool.bfloat16()(bags.bfloat16())[0].dtype == torch.bfloat16


def test_gradient_is_right() -> None:
    torch.manual_seed(0)
    pool = GatedAttentionPool(3, hidden=2, heads=2).double()
    bags = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True] * 4, [True, False, True, False]])
    assert torch.autograd.gradcheck(lambda x: pool(x, mask)[0], (bags,))


def test_traces_for_other_batch_and_bag_sizes() -> None:
    torch.manual_seed(0)
    pool = GatedAttentionPool(4, heads=2).eval()
    traced = torch.jit.trace(pool, (torch.randn(2, 5, 4), torch.ones(2, 5)))
    bags, mask = torch.randn(3, 8, 4), torch.tensor([[1.0] * 8, [1.0] * 4 + [0.0] * 4, [0.0] * 7 + [1.0]])
    for found, expected in zip(traced(bags, mask), pool(bags, mask), strict=True):
        torch.testing.assert_close(found, expected)


def test_exports_to_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    torch.manual_seed(0)
    pool = GatedAttentionPool(4, hidden=3, heads=2).eval()
    bags = torch.randn(2, 5, 4)
    file = tmp_path / "pool.onnx"
    torch.onnx.export(pool, (bags,), str(file), input_names=["features"], dynamo=True, verbose=False)
    onnx.checker.check_model(onnx.load(str(file)))
    found = ReferenceEvaluator(str(file)).run(None, {"features": bags.numpy()})
    for value, expected in zip(found, pool(bags), strict=True):
        np.testing.assert_allclose(value, expected.detach().numpy(), atol=1e-5)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="heads must be at least 1, found 0"):
        GatedAttentionPool(4, heads=0)
