"""The handler of an evaluator that keeps something of every batch, and joins it when the epoch is over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from monai_staging.workflows.exchange import from_main, gathered
from monai_staging.workflows.rank import is_main_process
from monai_staging.workflows.shares import EvaluationShare, share_of


class EpochCollector(ABC):
    """Begins, keeps each batch, completes; subclasses say what.

    Where processes share an evaluation (:mod:`monai_staging.workflows.shares`), the main one keeps the batches of all,
    each once and in the order that one process would have seen them in; it alone completes, and the others get the
    metrics it comes to.
    """

    _share: EvaluationShare | None = None
    _number = 0

    def attach(self, engine: Engine) -> None:
        """Registers with an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._complete)

    def collect(self, engine: Engine) -> None:
        """Keeps one batch, or the main process one of each."""
        own: tuple[Any, Any] = (engine.state.batch, engine.state.output)
        if self._share is None:
            self.keep(*own)
            return
        for process, (batch, output) in enumerate(gathered(own)):
            if self._share.counts(self._number, process):
                self.keep(batch, output)
        self._number += 1

    def _begin(self, engine: Engine) -> None:
        self._share, self._number = share_of(engine.state.dataloader), 0
        self.begin()

    def _complete(self, engine: Engine) -> None:
        if is_main_process() or idist.get_world_size() == 1:
            self.complete(engine)
        engine.state.metrics = from_main(engine.state.metrics)

    @abstractmethod
    def begin(self) -> None:
        """Forgets the epoch before."""

    @abstractmethod
    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Takes what it needs of a batch and of what the evaluator made of it."""

    @abstractmethod
    def complete(self, engine: Engine) -> None:
        """Joins what was kept; the evaluator's metrics are set here."""
