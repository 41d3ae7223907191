"""Keeps a step of the optimizer within bounds."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents

from monai_staging.errors import UsageError


class GradientNorm:
    """Scales gradients down whose norm is too large (Pascanu et al., 2013), after the backward pass.

    With MONAI's ``amp=True`` on CUDA the gradients are scaled by the gradient scaler at this point; bundles that use
    :class:`monai_staging.workflows.inferers.AutocastInferer` have none.

    Args:
        network: whose gradients.
        largest: largest norm over all of them.

    Raises:
        UsageError: a norm that is not positive.
    """

    def __init__(self, network: torch.nn.Module, largest: float = 5.0) -> None:
        if not largest > 0:
            raise UsageError(f"GradientNorm: largest must be positive, found {largest}")
        self.network = network
        self.largest = float(largest)

    def attach(self, engine: Engine) -> None:
        """Attaches to a MONAI trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._clip)

    def _clip(self, engine: Any) -> None:
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.largest)
