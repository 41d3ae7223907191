"""Mean losses of an epoch, without making the GPU wait in each iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine


class EpochMeans:
    """Sums what an engine's output calls a loss (``loss``, ``loss_t`` ...) and gives the means at the epoch's end.

    Tensors are summed where they are; the one transfer from the device is in ``take``.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {}
        self._counts: dict[str, int] = {}

    @staticmethod
    def losses(output: Any) -> dict[str, Any]:
        """The scalar losses of an engine's output (a dict, or MONAI's decollated list of dicts), by name."""
        if isinstance(output, Sequence) and output and isinstance(output[0], Mapping):
            # Decollating repeats a scalar for each item.
            output = output[0]
        if not isinstance(output, Mapping):
            return {}
        return {
            str(key): value.detach() if torch.is_tensor(value) else value
            for key, value in output.items()
            if str(key).startswith("loss") and (not torch.is_tensor(value) or value.numel() == 1)
        }

    def reset(self) -> None:
        """Forgets everything: a new epoch begins."""
        self._sums.clear()
        self._counts.clear()

    def update(self, engine: Engine) -> None:
        """Adds the losses of the iteration the engine has just done."""
        for name, value in self.losses(engine.state.output).items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means over the iterations since ``reset``, as numbers."""
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}
