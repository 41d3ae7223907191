"""A loss that is no number, once."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Poisoned(nn.Module):
    """Another loss, times NaN at one call.

    Args:
        loss: the other.
        at: number of the call, from 1.
    """

    def __init__(self, loss: nn.Module, at: int) -> None:
        super().__init__()
        self.loss, self.at, self.calls = loss, at, 0

    def forward(self, *arguments: Any) -> Tensor:
        """The loss, or NaN."""
        self.calls += 1
        value: Tensor = self.loss(*arguments)
        return value * float("nan") if self.calls == self.at else value
