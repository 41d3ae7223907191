"""When a training ends before its last epoch: no progress, or a loss that is not a number."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from ignite.engine import Engine
from monai.engines import IterationEvents
from monai.handlers import EarlyStopHandler

from monai_staging.errors import DataError, UsageError


class EarlyStop(EarlyStopHandler):
    """MONAI's early stop by a validation metric, with a state that a checkpoint can keep.

    Attach it to the trainer, after the ``ValidationHandler``. An epoch without validation does not count.

    Args:
        patience: number of validations without improvement after which the training ends.
        evaluator: engine whose ``state.metrics`` hold ``metric``.
        metric: name of the metric.
        mode: whether more (``max``) or less (``min``) of it is better. A metric that is not a number is no improvement.
        min_delta: what does not exceed this is no improvement.
    """

    def __init__(
        self,
        patience: int,
        evaluator: Engine,
        metric: str,
        mode: Literal["max", "min"] = "max",
        min_delta: float = 0.0,
    ) -> None:
        super().__init__(patience=patience, score_function=self._score, min_delta=min_delta)
        self.evaluator = evaluator
        self.metric = metric
        self.sign = 1.0 if mode == "max" else -1.0

    def attach(self, engine: Engine) -> None:
        """Attaches to the trainer."""
        self.set_trainer(engine)
        super().attach(engine)

    def _score(self, engine: Engine) -> float:
        metrics = self.evaluator.state.metrics
        if self.metric not in metrics:
            raise UsageError(f"EarlyStop: no metric {self.metric!r} among {sorted(metrics)}.")
        value = float(metrics[self.metric])
        return -math.inf if math.isnan(value) else self.sign * value

    def __call__(self, engine: Engine) -> None:
        """Looks at the metric of this epoch's validation, if there was one."""
        if self.evaluator.state.epoch == engine.state.epoch:
            super().__call__(engine)

    def state_dict(self) -> dict[str, Any]:
        """Count of validations without improvement, and the best score."""
        assert self._handler is not None
        return {"counter": self._handler.counter, "best_score": self._handler.best_score}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes back what ``state_dict`` gave."""
        assert self._handler is not None
        self._handler.counter = state_dict["counter"]
        self._handler.best_score = state_dict["best_score"]


class KeepsState(Protocol):
    """What can put a training's state aside: a ``TrainingCheckpoint``."""

    def put_by(self, engine: Any, why: Mapping[str, Any]) -> Path:
        """Writes the state as it is now to a file of its own; gives the file."""


class FiniteLoss:
    """Ends a training with an error when its loss is not finite, before that reaches the weights.

    Args:
        cohort: cohort folder: a batch of ``patient`` is then named by keyed hashes. A batch of ``key`` needs none.
        checkpoint: keeps the state of that moment, for a look at it; a resumed training does not continue from there.
        key: of the batch's cases: their names, which tell of no patient, or their numbers.
        names: of the cases that are numbered.

    Raises:
        DataError: in the iteration in question, with epoch, iteration, loss, the batch's cases and the state's file.
    """

    def __init__(
        self,
        cohort: str | os.PathLike[str] | None = None,
        checkpoint: KeepsState | None = None,
        key: str = "case",
        names: Sequence[str] | None = None,
    ) -> None:
        self._cohort = Path(cohort) if cohort is not None else None
        self.checkpoint = checkpoint
        self._key, self._names = key, names

    def attach(self, engine: Engine) -> None:
        """Attaches to a MONAI trainer."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._check)

    def _check(self, engine: Any) -> None:
        loss = engine.state.output["loss"]
        if bool(torch.isfinite(loss).all()):
            return
        cases = self.cases(engine.state.batch)
        kept = ""
        if self.checkpoint is not None:
            try:
                path = self.checkpoint.put_by(engine, {"loss": loss.detach().cpu(), "cases": cases})
                kept = f" The state of that moment is in {path}."
            except OSError as error:
                kept = f" The state of that moment could not be kept ({error.strerror or error})."
        raise DataError(
            f"Training: the loss is {loss.tolist()} in epoch {engine.state.epoch}, iteration {engine.state.iteration} "
            f"({'cases ' + ', '.join(cases) if cases else 'cases not named'}); a loss must be finite.{kept}"
        )

    def cases(self, batch: Any) -> list[str]:
        """The names of a batch's cases, each once; none where the batch does not tell."""
        if not isinstance(batch, Mapping):
            return []
        found = batch.get(self._key)
        if isinstance(found, torch.Tensor):
            numbers = [int(number) for number in found.flatten().tolist()]
            found = [self._names[number] if self._names else f"{self._key} {number}" for number in numbers]
        if isinstance(found, Sequence) and not isinstance(found, str):
            return list(dict.fromkeys(map(str, found)))
        patients = batch.get("patient")
        if self._cohort is None or not isinstance(patients, Sequence) or isinstance(patients, str):
            return []
        from monai_staging.cohort.privacy import case_name, load_key

        key = load_key(self._cohort)
        return list(dict.fromkeys(case_name(str(patient), key) for patient in patients))
