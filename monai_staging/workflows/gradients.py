"""Keeps a step of the optimizer within bounds."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from torch.utils.hooks import RemovableHandle

from monai_staging.errors import DataError, UsageError


class GradientNorm:
    """Scales gradients down whose norm is too large (Pascanu et al., 2013), before each step of the optimizer.

    Hung on the step, not on the backward pass: where several batches are accumulated their sum is clipped, once, and
    where a gradient scaler is used it has taken its factor out by then.

    Args:
        network: whose gradients.
        largest: largest norm over all of them.

    Raises:
        UsageError: a norm that is not positive.
        DataError: while training, a gradient that is not finite, before it reaches the weights.
    """

    def __init__(self, network: torch.nn.Module, largest: float = 5.0) -> None:
        if not largest > 0:
            raise UsageError(f"GradientNorm: largest must be positive, found {largest}")
        self.network = network
        self.largest = float(largest)
        self._hook: RemovableHandle | None = None

    def attach(self, engine: Engine) -> None:
        """Attaches to a MONAI trainer."""
        engine.add_event_handler(Events.STARTED, self._started)

    def _started(self, engine: Any) -> None:
        # A trainer attaches its handlers before it knows its optimizer.
        if self._hook is not None:
            self._hook.remove()
        self._hook = engine.optimizer.register_step_pre_hook(self._clip)

    def _clip(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.largest)
        if not torch.isfinite(norm):
            raise DataError(
                f"GradientNorm: gradients must be finite, found a norm of {float(norm)} at a finite loss: "
                "try --amp false, or a lower --learning_rate."
            )
