"""The handler of an evaluator that keeps something of every batch, and joins it when the epoch is over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events


class EpochCollector(ABC):
    """Begins, keeps each batch, completes; subclasses say what."""

    def attach(self, engine: Engine) -> None:
        """Registers with an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self.begin())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.complete)

    def collect(self, engine: Engine) -> None:
        """Keeps one batch."""
        self.keep(engine.state.batch, engine.state.output)  # type: ignore[arg-type]

    @abstractmethod
    def begin(self) -> None:
        """Forgets the epoch before."""

    @abstractmethod
    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Takes what it needs of a batch and of what the evaluator made of it."""

    @abstractmethod
    def complete(self, engine: Engine) -> None:
        """Joins what was kept; the evaluator's metrics are set here."""
