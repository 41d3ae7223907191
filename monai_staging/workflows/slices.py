"""What the slices bundle's engines need beyond MONAI's: batches, and what is collected of an evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import PrepareBatch
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor

from monai_staging.metrics.intervals import FloatArray
from monai_staging.metrics.slices import StudyScores, slice_metrics
from monai_staging.networks.slice_selector import SliceOutput
from monai_staging.transforms.slice_boxes import LEVELS
from monai_staging.workflows.collector import EpochCollector
from monai_staging.workflows.slice_classes import MALIGNANT
from monai_staging.workflows.slices_data import STRIDE, SliceStudies


class StretchPrepareBatch(PrepareBatch):
    """Batch to images in 0..1, classes of slices and cells, and how high the slices lie.

    Args:
        augment: of images and cells together; for training.
    """

    def __init__(self, augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None) -> None:
        self.augment = augment

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor], dict[str, Any]]:
        """Moves everything to ``device``."""
        names = ("image", "height", "class", "cells")
        image, height, classes, cells = (batchdata[name].to(device=device, non_blocking=non_blocking) for name in names)
        image = image.float() / LEVELS
        if self.augment is not None:
            image, cells = self.augment(image, cells)
        return image, (classes, cells), (height,), {"details": True}


class SliceCollector(EpochCollector):
    """Collects what is said of studies; after an epoch the evaluator's metrics hold the main ones and ``loss``.

    Args:
        data: of the evaluation.
        loss: as the training's.
    """

    def __init__(self, data: SliceStudies, loss: Callable[[Any, Any], Tensor] | None = None) -> None:
        self.data, self.loss = data, loss
        self.begin()

    def attach(self, engine: Engine) -> None:
        """Registers with an evaluator; the time that the network takes is measured."""
        engine.add_event_handler(Events.ITERATION_STARTED, lambda _: self._start())
        super().attach(engine)

    def begin(self) -> None:
        """Forgets the epoch before."""
        self._seconds, self._started_s = 0.0, time.perf_counter()
        self.studies: list[StudyScores] = []
        self._numbers: list[int] = []
        self._losses = 0.0

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Takes the probabilities of each study's slices, and the loss."""
        now = time.perf_counter()
        # Where several processes look at studies, what comes after the first of them has come meanwhile.
        self._seconds, self._started_s = self._seconds + now - self._started_s, now
        prediction: SliceOutput = output[Keys.PRED]
        chances = torch.softmax(prediction.logits.double(), dim=-1).cpu().numpy()
        cells = prediction.cells.float().cpu()
        for number, own, cell in zip(batch["study"].tolist(), chances, cells, strict=True):
            study = self.data.studies[number]
            nodules = tuple(rows for span in study.spans if len(rows := study.rows_of(span)))
            peaks = self._peaks(number, cell)
            scores = (study.case, study.patient, study.places, study.z_mm, study.classes, own, nodules, peaks)
            self.studies.append(StudyScores(*scores))
            self._numbers.append(number)
        if self.loss is not None:
            self._losses += float(self.loss(prediction, output[Keys.LABEL])) * len(chances)

    @property
    def seconds_per_study(self) -> float:
        """From a study's images to what its slices show."""
        return self._seconds / len(self.studies)

    def complete(self, engine: Engine) -> None:
        """Scores the epoch."""
        metrics = slice_metrics(self.studies, n_boot=0)
        for name in ("balanced_accuracy", "auroc_nodule", "auroc_malignant"):
            engine.state.metrics[name] = metrics[name].value
        if self.loss is not None:
            engine.state.metrics["loss"] = self._losses / len(self.studies)

    def _start(self) -> None:
        self._started_s = time.perf_counter()

    def _peaks(self, number: int, cells: Tensor) -> FloatArray:
        """(S, 2) where on each slice a nodule is most likely, RAS x and y; NaN of a network without a map."""
        study = self.data.studies[number]
        if not cells.numel():
            return np.full((len(study.places), 2), np.nan)
        odds = torch.logsumexp(cells[:, 1 : MALIGNANT + 1], dim=1) - cells[:, 0]
        columns = odds.shape[-1]
        peak = odds.flatten(1).argmax(dim=1)
        pixels = STRIDE * (torch.stack([peak % columns, peak // columns], dim=1).double().numpy() + 0.5)
        return self.data.pixels_mm(number, pixels)
