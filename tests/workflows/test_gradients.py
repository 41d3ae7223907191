"""Gradients within bounds, in trainings as MONAI runs them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer

from monai_staging.errors import DataError, UsageError
from monai_staging.workflows.gradients import GradientNorm

VALUES = (1.0, 4.0, 2.0, 3.0)


class Steps(torch.optim.SGD):
    """Notes the gradients that each step sees."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__(network.parameters(), lr=0.0)
        self.network = network
        self.seen: list[list[float]] = []

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        self.seen.append(
            torch.cat([p.grad.flatten() for p in self.network.parameters() if p.grad is not None]).tolist()
        )


def shifted(prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return (prediction - label - 5).sum()


def gradients(largest: float | None, accumulation_steps: int, loss: Any = shifted) -> list[list[float]]:
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 1, bias=False)
    optimizer = Steps(network)
    items = [{"image": value * torch.tensor([1.0, -2.0, value]), "label": torch.zeros(1)} for value in VALUES]
    SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=DataLoader(Dataset(items), batch_size=1),
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        accumulation_steps=accumulation_steps,
        train_handlers=[] if largest is None else [GradientNorm(network, largest)],
    ).run()
    return optimizer.seen


@pytest.mark.parametrize("accumulation_steps", [1, 2, 4])
def test_what_a_step_sees_is_clipped_once(accumulation_steps: int) -> None:
    largest = 6.0
    free, clipped = gradients(None, accumulation_steps), gradients(largest, accumulation_steps)
    assert len(free) == len(clipped) == len(VALUES) // accumulation_steps
    assert any(torch.tensor(one).norm() > largest for one in free)
    for one, other in zip(free, clipped, strict=True):
        expected = torch.tensor(one)
        expected = expected * min(1.0, largest / float(expected.norm()))
        torch.testing.assert_close(torch.tensor(other), expected, rtol=1e-4, atol=1e-5)


def test_a_norm_must_be_positive() -> None:
    with pytest.raises(UsageError, match="found 0"):
        GradientNorm(torch.nn.Linear(1, 1), 0)


def test_a_gradient_that_is_not_finite_ends_the_training_before_the_step() -> None:
    # The root of 0 is 0, its slope is not finite.
    with pytest.raises(DataError, match="gradients must be finite, found a norm of nan"):
        gradients(6.0, 1, lambda prediction, label: torch.sqrt(0 * prediction).sum())
