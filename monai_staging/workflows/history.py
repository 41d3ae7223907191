"""The course of a training, epoch by epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys as Keys

from monai_staging.tracking.losses import EpochMeans


class History:
    """Losses and metrics of every epoch, with a state that a checkpoint keeps. Attach it after the validation.

    A row an epoch: ``epoch``, ``seconds`` of training from the first one on (without validation), the losses, and the
    validation's metrics as ``val_<name>``.

    Args:
        evaluator: the validation's engine.
    """

    def __init__(self, evaluator: Engine) -> None:
        self.evaluator = evaluator
        self.epochs: list[dict[str, float]] = []
        self._means = EpochMeans()
        self._start_s = 0.0
        self._images = 0

    def attach(self, engine: Engine) -> None:
        """Registers with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._completed)

    def _started(self, engine: Engine) -> None:
        self._means.reset()
        self._images, self._start_s = 0, time.monotonic()

    def _iteration(self, engine: Any) -> None:
        self._means.update(engine)
        self._images += len(engine.state.output[Keys.IMAGE]) * idist.get_world_size()
        if engine.state.iteration % engine.state.epoch_length == 0:
            # Before the validation, which is no part of the rate.
            losses, seconds = self._means.take(), time.monotonic() - self._start_s
            engine.state.metrics["images_per_second"] = self._images / max(1e-9, seconds)
            self.epochs = [row for row in self.epochs if row["epoch"] < engine.state.epoch]
            seconds += self.epochs[-1]["seconds"] if self.epochs else 0.0
            self.epochs.append({"epoch": float(engine.state.epoch), "seconds": seconds, **losses})

    def _completed(self, engine: Engine) -> None:
        if self.evaluator.state.epoch == engine.state.epoch:
            self.epochs[-1] |= {
                f"val_{name}": float(value)
                for name, value in self.evaluator.state.metrics.items()
                if isinstance(value, int | float)
            }

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far."""
        return {"epochs": [dict(row) for row in self.epochs]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes back what ``state_dict`` gave."""
        self.epochs = [dict(row) for row in state_dict["epochs"]]
