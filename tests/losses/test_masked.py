from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from monai_staging.errors import DataError, UsageError
from monai_staging.losses.masked import MaskedTNMLoss, set_cross_entropy
from monai_staging.losses.ordinal import ordinal_set_loss

CLASSES = {"t": ("T1", "T2", "T3", "T4"), "n": ("N0", "N1", "N2", "N3"), "m": ("M0", "M1")}


def one_hot(*labels: list[int]) -> torch.Tensor:
    parts = [
        functional.one_hot(torch.tensor(known), len(names))
        for known, names in zip(labels, CLASSES.values(), strict=True)
    ]
    return torch.cat(parts, dim=1).float()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, [0.5, 1.0, 2.0, 0.0]])
def test_singletons_are_torchs_cross_entropy(smoothing: float, weight: list[float] | None) -> None:
    logits = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 3, 2, 1, 0])
    loss = MaskedTNMLoss(
        {"t": CLASSES["t"]}, label_smoothing=smoothing, class_weights={"t": weight} if weight else None
    )
    expected = functional.cross_entropy(
        logits, labels, weight=torch.tensor(weight) if weight else None, label_smoothing=smoothing
    )
    torch.testing.assert_close(loss(logits, functional.one_hot(labels, 4)), expected)


def test_letters_and_cases_that_are_known_are_averaged() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 10)
    targets = one_hot([0, 1, 2], [3, 2, 1], [0, 1, 0])
    targets[1, 4:8] = 1  # N of the second case is unknown
    targets[:, 8:] = 1  # M of all
    t = functional.cross_entropy(logits[:, :4], torch.tensor([0, 1, 2]), reduction="none")
    n = functional.cross_entropy(logits[:, 4:8], torch.tensor([3, 2, 1]), reduction="none")
    torch.testing.assert_close(MaskedTNMLoss(CLASSES)(logits, targets), (t.sum() + n[0] + n[2]) / 5)
    weighted = MaskedTNMLoss(CLASSES, weights={"n": 3.0})(logits, targets)
    torch.testing.assert_close(weighted, (t.sum() + 3 * (n[0] + n[2])) / 9)


def test_a_set_costs_what_its_members_probability_leaves() -> None:
    p = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    loss = MaskedTNMLoss({"t": CLASSES["t"]})
    assert float(loss(p.log(), torch.tensor([[0, 1, 1, 0]]))) == pytest.approx(-math.log(0.5), abs=1e-6)
    assert float(loss(p.log(), torch.tensor([[1, 0, 1, 1]]))) == pytest.approx(-math.log(0.8), abs=1e-6)
    # Weight of a set: the mean of its members'. With one case it cancels; beside another case it does not.
    heavy = MaskedTNMLoss({"t": CLASSES["t"]}, class_weights={"t": [1, 2, 4, 1]})
    found = heavy(p.log().expand(2, 4), torch.tensor([[0, 1, 1, 0], [1, 0, 0, 0]]))
    assert float(found) == pytest.approx((3 * -math.log(0.5) - math.log(0.1)) / 4, abs=1e-6)


def test_modes_per_letter() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 10), one_hot([0, 3], [1, 2], [0, 1])
    targets[0, 4:8] = torch.tensor([1.0, 1.0, 0.0, 0.0])
    sets = targets.bool()
    t = ordinal_set_loss(logits[:, :4], sets[:, :4])
    n = ordinal_set_loss(logits[:, 4:8], sets[:, 4:8])
    m = set_cross_entropy(logits[:, 8:], sets[:, 8:])
    mixed = MaskedTNMLoss(CLASSES, mode={"t": "ordinal", "n": "ordinal"})(logits, targets)
    torch.testing.assert_close(mixed, torch.cat([t, n, m]).mean())
    everywhere = MaskedTNMLoss(CLASSES, mode="ordinal")(logits, targets)
    # With two categories, ordinal and cross-entropy are one.
    torch.testing.assert_close(everywhere, mixed)


@settings(max_examples=40)
@given(st.integers(0, 2**16), st.sampled_from(["ce", "ordinal"]), st.sampled_from([0.0, 0.2]))
def test_what_is_not_known_gets_no_gradient(seed: int, mode: str, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (5 * torch.randn(4, 10, generator=generator)).requires_grad_()
    targets = (torch.rand(4, 10, generator=generator) < 0.5).float()
    # No letter is left without a category.
    targets[:, [0, 4, 8]] = torch.maximum(targets[:, [0, 4, 8]], torch.rand(4, 3, generator=generator).round())
    for part in (slice(0, 4), slice(4, 8), slice(8, 10)):
        targets[~targets[:, part].bool().any(dim=1), part] = 1
    loss = MaskedTNMLoss(CLASSES, mode=mode, label_smoothing=smoothing)(logits, targets)
    loss.backward()
    assert math.isfinite(float(loss.detach())) and float(loss.detach()) >= -1e-6
    assert logits.grad is not None
    for part in (slice(0, 4), slice(4, 8), slice(8, 10)):
        unknown = targets[:, part].bool().all(dim=1)
        assert not logits.grad[unknown, part].any()


def test_nothing_known_is_zero_and_still_connected() -> None:
    logits = torch.randn(2, 10, requires_grad=True)
    loss = MaskedTNMLoss(CLASSES)(logits, torch.ones(2, 10))
    assert float(loss.detach()) == 0
    loss.backward()
    assert logits.grad is not None and not logits.grad.any()


def test_a_letter_of_weight_zero_is_left_out() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 10), one_hot([0, 3], [1, 2], [0, 1])
    only_t = MaskedTNMLoss(CLASSES, weights={"n": 0, "m": 0})(logits, targets)
    torch.testing.assert_close(only_t, functional.cross_entropy(logits[:, :4], torch.tensor([0, 3])))
    assert float(MaskedTNMLoss(CLASSES, weights=dict.fromkeys(CLASSES, 0.0))(logits, targets)) == 0


@pytest.mark.parametrize("mode", ["ce", "ordinal"])
def test_gradient_is_right(mode: str) -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 10, dtype=torch.float64, requires_grad=True)
    targets = one_hot([0, 1, 2], [3, 2, 1], [0, 1, 0])
    targets[0, :4] = torch.tensor([0.0, 1.0, 1.0, 0.0])
    targets[1, 4:8] = 1
    loss = MaskedTNMLoss(CLASSES, mode=mode, label_smoothing=0.1, weights={"m": 0.5}, class_weights={"m": [1, 3]})
    assert torch.autograd.gradcheck(lambda x: loss(x, targets), (logits,))


def test_half_precision_is_scored_in_single_and_extremes_stay_finite() -> None:
    logits = torch.tensor([[300.0, 0, 0, -300, -300, 0, 0, 300, 300, -300]]).bfloat16().requires_grad_()
    loss = MaskedTNMLoss(CLASSES)(logits, one_hot([3], [0], [1]))
    assert loss.dtype == torch.float32 and float(loss.detach()) == pytest.approx(600)
    loss.backward()
    assert logits.grad is not None and bool(torch.isfinite(logits.grad).all())


def test_class_weights_are_no_part_of_the_state_dict() -> None:
    assert not MaskedTNMLoss(CLASSES, class_weights={"m": [1, 3]}).state_dict()


def test_a_letter_without_a_category_is_refused() -> None:
    targets = one_hot([0, 1], [0, 1], [0, 1])
    targets[1, 4:8] = 0
    with pytest.raises(DataError, match=r"n needs at least one category still possible, found none in rows \[1\]"):
        MaskedTNMLoss(CLASSES)(torch.randn(2, 10), targets)


@pytest.mark.parametrize("shape", [(2, 9), (10,)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"must both be \(B, 10\)"):
        MaskedTNMLoss(CLASSES)(torch.randn(shape), torch.ones(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": {}}, "every letter needs categories"),
        ({"classes": {"t": []}}, "every letter needs categories"),
        ({"mode": "mse"}, "mode of t must be one of ce, ordinal, found 'mse'"),
        ({"mode": {"x": "ce"}}, "mode names letters without categories: x"),
        ({"weights": {"s": 1}}, "weights names letters without categories: s"),
        ({"weights": {"t": -1}}, "weights must not be negative"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), found 1.0"),
        ({"class_weights": {"m": [1, 2, 3]}}, "class_weights of m must be 2 numbers"),
        ({"class_weights": {"m": [1, -2]}}, "none negative"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MaskedTNMLoss(**{"classes": CLASSES, **arguments})
