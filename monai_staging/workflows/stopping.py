"""When a training ends before its last epoch: no progress, or a loss that is not a number."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

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


class FiniteLoss:
    """Ends a training with an error when its loss is not finite, before that reaches the weights.

    Args:
        cohort: cohort folder: a batch of ``patient`` is then named by keyed hashes. A batch of ``case`` (keyed hashes
            already) needs none.

    Raises:
        DataError: in the iteration in question, with epoch, iteration, the loss and the batch's cases.
    """

    def __init__(self, cohort: str | os.PathLike[str] | None = None) -> None:
        self._cohort = Path(cohort) if cohort is not None else None

    def attach(self, engine: Engine) -> None:
        """Attaches to a MONAI trainer."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._check)

    def _check(self, engine: Any) -> None:
        loss = engine.state.output["loss"]
        if bool(torch.isfinite(loss).all()):
            return
        raise DataError(
            f"Training: the loss is {loss.tolist()} in epoch {engine.state.epoch}, iteration {engine.state.iteration} "
            f"({self._cases(engine.state.batch)}); a loss must be finite."
        )

    def _cases(self, batch: Any) -> str:
        names = batch.get("case") if isinstance(batch, Mapping) else None
        if isinstance(names, Sequence) and not isinstance(names, str):
            return "cases " + ", ".join(dict.fromkeys(map(str, names)))
        patients = batch.get("patient") if isinstance(batch, Mapping) else None
        if self._cohort is None or not isinstance(patients, Sequence) or isinstance(patients, str):
            return "cases not named"
        from monai_staging.cohort.privacy import case_name, load_key

        key = load_key(self._cohort)
        return "cases " + ", ".join(dict.fromkeys(case_name(str(patient), key) for patient in patients))
