"""From nodules to the patient: against probabilities multiplied out, also of patients without a nodule."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.nodule_bag import POOLS, NoduleBag, noisy_or


@settings(max_examples=100)
@given(st.lists(st.floats(-6, 6), max_size=6), st.floats(-8, 3))
def test_noisy_or_is_what_independent_causes_give(logits: list[float], leak: float) -> None:
    padded = torch.tensor([[*logits, 100.0]], dtype=torch.float64)
    mask = torch.tensor([[True] * len(logits) + [False]])
    found = float(noisy_or(padded, mask, torch.tensor(leak, dtype=torch.float64)))
    none = 1.0
    for own in (*logits, leak):
        none *= 1 - 1 / (1 + math.exp(-own))
    assert 1 / (1 + math.exp(-found)) == pytest.approx(1 - none, rel=1e-9)


def test_noisy_or_has_a_gradient_where_probabilities_are_0_and_1() -> None:
    for value in (-60.0, 60.0):
        logits = torch.full((1, 3), value, requires_grad=True)
        found = noisy_or(logits, torch.ones(1, 3, dtype=torch.bool), torch.tensor(-80.0))
        found.sum().backward()
        assert torch.isfinite(found).all() and torch.isfinite(logits.grad).all() and logits.grad.min() > 0


@pytest.fixture(scope="module")
def nodules() -> torch.Tensor:
    return torch.rand(3, 4, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pool", POOLS)
def test_order_and_empty_places_mean_nothing(pool: str, nodules: torch.Tensor) -> None:
    torch.manual_seed(0)
    network = NoduleBag(build_backbone("resnet10", spatial_dims=3, in_channels=1, width=0.125), pool).eval()
    mask = torch.tensor([[True, True, True, False], [True, False, False, False], [False] * 4])
    found = network(nodules, mask, details=True)
    assert found.logits.shape == (3, 1) and found.nodules.shape == (3, 4)
    turned = nodules.clone()
    turned[0, :3] = nodules[0, [2, 0, 1]]
    turned[~mask] = math.nan
    torch.testing.assert_close(network(turned, mask), found.logits)
    # Of a patient without a nodule only the leak is known.
    assert float(found.logits[2]) == pytest.approx(float(network.leak), abs=1e-5)
    if pool == "max":
        torch.testing.assert_close(found.logits[0, 0], found.nodules[0, :3].max())
    if pool == "attention":
        torch.testing.assert_close(found.nodules.sum(dim=1), torch.tensor([1.0, 1.0, 0.0]))


@pytest.mark.parametrize("pool", POOLS)
def test_a_patient_is_learned_from_one_bright_nodule(pool: str) -> None:
    torch.manual_seed(1)
    network = NoduleBag(build_backbone("resnet10", spatial_dims=3, in_channels=1, width=0.125), pool, dropout=0.0)
    nodules = 0.2 * torch.rand(24, 3, 1, 16, 16, 16)
    label = (torch.arange(24) % 2).float()[:, None]
    nodules[1::2, 1] += 0.7
    mask = torch.ones(24, 3, dtype=torch.bool)
    mask[::5, 2] = False
    optimizer = torch.optim.Adam(network.parameters(), lr=0.005)
    for _ in range(25):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(network(nodules, mask), label).backward()
        optimizer.step()
    right = (network(nodules, mask) > 0) == (label > 0)
    assert float(right.float().mean()) > 0.9


def test_no_such_pool() -> None:
    with pytest.raises(UsageError, match="NoduleBag: one of noisy_or, max, attention"):
        NoduleBag(build_backbone("resnet10", spatial_dims=3, in_channels=1, width=0.125), "mean")


def test_what_is_measured_stands_beside_the_picture_and_means_nothing_without_a_nodule(nodules: torch.Tensor) -> None:
    torch.manual_seed(0)
    backbone = build_backbone("resnet10", spatial_dims=3, in_channels=1, width=0.125)
    network = NoduleBag(backbone, "max", measured=2).eval()
    mask = torch.tensor([[True, True, False, False]] * 3)
    known = torch.zeros(3, 4, 2)
    found = network(nodules, mask, known)
    known[:, 2:] = math.nan
    torch.testing.assert_close(network(nodules, mask, known), found)
    known[:, :2, 0] = 5.0
    assert not torch.allclose(network(nodules, mask, known), found)
    for wrong in (None, known[..., :1]):
        with pytest.raises(UsageError, match="2 measured numbers a nodule are needed, found"):
            network(nodules, mask, wrong)
    with pytest.raises(UsageError, match="0 or more, found -1"):
        NoduleBag(backbone, measured=-1)


@pytest.mark.parametrize("pool", POOLS)
def test_it_is_exported_for_any_number_of_nodules(pool: str, nodules: torch.Tensor) -> None:
    network = NoduleBag(build_backbone("resnet10", spatial_dims=3, in_channels=1, width=0.125), pool).eval()
    mask = torch.tensor([[True, True, False, False], [True] * 4, [False] * 4])
    exported = torch.export.export(network, (nodules, torch.ones_like(mask))).module()
    torch.testing.assert_close(exported(nodules, mask), network(nodules, mask))
