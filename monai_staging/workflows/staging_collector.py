"""Collects what an evaluator saw as staging predictions, and scores it while training."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys as Keys
from numpy.typing import NDArray
from torch import Tensor

from monai_staging.errors import DataError
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.networks.staging import LETTERS, StagingOutput
from monai_staging.workflows.collector import EpochCollector
from monai_staging.workflows.staging_data import split_set

logger = logging.getLogger("monai_staging.workflows")


class StagingCollector(EpochCollector):
    """Collects an evaluator's predictions and writes the epoch's metrics to its state.

    After an epoch, ``engine.state.metrics`` holds ``score`` (minus the mean squared probability missing from the known
    letters, from -1 to 0: more is better; it moves smoothly, where the accuracy of a dozen patients moves in steps, and
    no single patient outweighs the others, as in a likelihood), ``t_accuracy``, ``n_accuracy``,
    ``m_accuracy`` and ``group_accuracy`` at the main level, ``predictions`` holds all of them, and ``attention`` the
    weights (3, slices) of each study.

    Args:
        classes: categories per letter, in the order of the network's outputs.
    """

    def __init__(self, classes: Mapping[str, Sequence[str]]) -> None:
        self.classes = {letter: tuple(classes[letter]) for letter in LETTERS}
        self.predictions: StagingPredictions | None = None
        self.attention: dict[str, NDArray[Any]] = {}
        self.begin()

    def begin(self) -> None:
        """Forgets the epoch before."""
        self._cases: list[str] = []
        self._studies: list[str] = []
        self._truth: dict[str, list[tuple[str, ...]]] = {letter: [] for letter in LETTERS}
        self._edition: set[tuple[str, str]] = set()
        self._logits: list[Tensor] = []
        self._sets: list[Tensor] = []
        self._attention: list[Tensor] = []

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Keeps one batch."""
        prediction: StagingOutput = output[Keys.PRED]
        self._cases += list(batch["case"])
        self._studies += list(batch["study"])
        for letter in LETTERS:
            self._truth[letter] += [split_set(text) for text in batch[f"{letter}_set"]]
        self._edition |= set(zip(batch["edition"], batch["prefix"], strict=True))
        self._logits.append(prediction.logits.detach().float().cpu())
        self._sets.append(torch.as_tensor(batch["tnm"]).bool().cpu())
        self._attention.append(prediction.attention.detach().float().cpu())

    def complete(self, engine: Engine) -> None:
        """Puts the batches together."""
        if len(self._edition) > 1:
            raise DataError(
                f"An evaluation is of one TNM edition and prefix; found {sorted(self._edition)}. "
                "Evaluate a cohort of each."
            )
        edition, prefix = next(iter(self._edition))
        logits, sets = torch.cat(self._logits), torch.cat(self._sets)
        widths = [len(self.classes[letter]) for letter in LETTERS]
        parts = {letter: part.double() for letter, part in zip(LETTERS, logits.split(widths, dim=1), strict=True)}
        self.predictions = StagingPredictions(
            patients=tuple(self._cases),
            classes=self.classes,
            t=parts["t"].softmax(dim=1).numpy(),
            n=parts["n"].softmax(dim=1).numpy(),
            m=parts["m"].softmax(dim=1).numpy(),
            truth_t=tuple(self._truth["t"]),
            truth_n=tuple(self._truth["n"]),
            truth_m=tuple(self._truth["m"]),
            edition=edition,
            prefix=prefix,
            studies=tuple(self._studies),
        )
        self.attention = dict(zip(self._studies, torch.cat(self._attention).numpy(), strict=True))
        engine.state.metrics["score"] = self._score(list(parts.values()), list(sets.split(widths, dim=1)))
        for name in (*LETTERS, "group"):
            level = self.predictions.levels[name]
            if level.known.any():
                right = level.predicted[level.known] == level.truth[level.known]
                engine.state.metrics[f"{name}_accuracy"] = float(right.mean())

    @staticmethod
    def _score(logits: Sequence[Tensor], sets: Sequence[Tensor]) -> float:
        """Minus the mean of (1 - p(set))^2 over the letters that are known (not a full set)."""
        gains = []
        for scores, possible in zip(logits, sets, strict=True):
            known = ~possible.all(dim=1)
            missed = 1 - (scores.softmax(dim=1) * possible).sum(dim=1)
            gains.append(-(missed[known] ** 2))
        every = torch.cat(gains)
        return float(every.mean()) if len(every) else 0.0


class EpochLine:
    """One plain line an epoch: losses, scores and seconds. Attach it to the trainer, after the validation.

    Args:
        evaluator: the validation's engine, whose metrics are shown.
    """

    def __init__(self, evaluator: Engine) -> None:
        self.evaluator = evaluator
        self._loss: list[float] = []
        self._start_s = 0.0

    def attach(self, engine: Engine) -> None:
        """Registers with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._completed)

    def _started(self, engine: Engine) -> None:
        self._loss = []
        self._start_s = time.monotonic()

    def _iteration(self, engine: Engine) -> None:
        output: Mapping[str, Any] = engine.state.output  # type: ignore[assignment]
        self._loss.append(float(output[Keys.LOSS].detach()))

    def _completed(self, engine: Engine) -> None:
        metrics = self.evaluator.state.metrics
        shown = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items() if isinstance(value, float))
        loss = sum(self._loss) / max(1, len(self._loss))
        logger.info(
            "epoch %d/%s: loss %.3f; %s%.1f s",
            engine.state.epoch,
            engine.state.max_epochs,
            loss,
            f"validation: {shown}; " if shown else "",
            time.monotonic() - self._start_s,
        )
