"""Collects what an evaluator says of classes, nodule by nodule or patient by patient, and scores it while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor

from monai_staging.metrics.classification import auroc, class_auroc
from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.workflows.collector import EpochCollector
from monai_staging.workflows.malignancy import probabilities


class ClassCollector(EpochCollector):
    """Collects an evaluator's predictions; after an epoch its metrics hold ``auroc``, ``accuracy`` and ``score``.

    ``score`` is minus the cross entropy, which moves smoothly where the others move in steps. A batch has ``name``,
    ``patient`` and ``label``, the network's output ``logits``.

    Args:
        task: ``binary``, ``multi-class`` or ``multi-label``.
        classes: names of the classes or findings; two for ``binary``.
    """

    def __init__(self, task: str, classes: Sequence[str]) -> None:
        self.task, self.classes = task, tuple(classes)
        self.predictions: NodulePredictions | None = None
        self._parts: list[tuple[list[str], list[str], Tensor, Tensor]] = []

    def begin(self) -> None:
        """Forgets the epoch before."""
        self._parts.clear()

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Keeps one batch."""
        logits: Tensor = output[Keys.PRED].logits
        self._parts.append((batch["name"], batch["patient"], batch["label"], logits.detach().cpu()))

    def complete(self, engine: Engine) -> None:
        """Puts the batches together."""
        logits = torch.cat([part[3] for part in self._parts])
        labels = torch.cat([part[2] for part in self._parts]).double()
        self.predictions = NodulePredictions(
            names=tuple(name for part in self._parts for name in part[0]),
            patients=tuple(name for part in self._parts for name in part[1]),
            task=self.task,
            classes=self.classes,
            labels=labels.numpy(),
            probabilities=probabilities(logits, self.task).double().numpy(),
        )
        engine.state.metrics.update(self._scores(self.predictions.known))

    def _scores(self, known: NodulePredictions) -> dict[str, float]:
        if not len(known):
            return {}
        truth, chance = known.labels.astype(np.int64), known.probabilities
        sure = np.clip(chance, 1e-7, 1 - 1e-7)
        if self.task == "multi-class":
            area, right = auroc(truth[:, 0], chance)[0], chance.argmax(axis=1) == truth[:, 0]
            loss = -np.log(sure[np.arange(len(sure)), truth[:, 0]])
        else:
            area = np.mean([class_auroc(truth[:, place] == 1, chance[:, place])[0] for place in range(truth.shape[1])])
            right = (chance >= 0.5) == (truth == 1)
            loss = -np.where(truth == 1, np.log(sure), np.log1p(-sure))
        return {"auroc": float(area), "accuracy": float(right.mean()), "score": -float(loss.mean())}
