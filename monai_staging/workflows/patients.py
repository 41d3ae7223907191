"""What the patient score's engines need beyond MONAI's: batches, what is collected, and the choice on validation."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import PrepareBatch
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor

from monai_staging.errors import DataError
from monai_staging.files import write_json_atomic
from monai_staging.metrics.intervals import FloatArray
from monai_staging.metrics.patients import Decision, choose_decision
from monai_staging.networks.nodule_bag import BagOutput
from monai_staging.workflows.class_collector import ClassCollector
from monai_staging.workflows.patients_data import CLASSES

DECISION = "decision.json"


class PatientPrepareBatch(PrepareBatch):
    """Batch to cubes in 0..1, which of them there are, what is known of them, and the patients' labels.

    Args:
        augment: of the cubes, (B, K, C, Z, Y, X) on their device; for training.
        measured: give the network the detector's score and size of each nodule.
    """

    def __init__(self, augment: Callable[[Tensor], Tensor] | None = None, measured: bool = True) -> None:
        self.augment = augment
        self.measured = measured

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor], tuple[Tensor], dict[str, Any]]:
        """Moves what the network and the loss need to ``device``."""

        def move(name: str) -> Tensor:
            moved: Tensor = batchdata[name].to(device=device, non_blocking=non_blocking)
            return moved

        nodules = move("nodules").float() / 255
        if self.augment is not None:
            nodules = self.augment(nodules)
        given = {"measured": move("measured")} if self.measured else {}
        return nodules, {"label": move("label")}, (move("mask"),), {**given, "details": True}


class PatientCollector(ClassCollector):
    """A :class:`~monai_staging.workflows.class_collector.ClassCollector` of patients and of what is said of nodules.

    Args:
        pool: of the network.
    """

    def __init__(self, pool: str) -> None:
        super().__init__("binary", CLASSES)
        self.pool = pool
        self._said: list[Tensor] = []

    def begin(self) -> None:
        """Forgets the epoch before."""
        super().begin()
        self._said.clear()

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Keeps one batch."""
        super().keep(batch, output)
        found: BagOutput = output[Keys.PRED]
        said = found.nodules.detach().float().cpu()
        said = said if self.pool == "attention" else said.sigmoid()
        self._said.append(said.masked_fill(~batch["mask"], torch.nan))

    @property
    def said(self) -> FloatArray:
        """(N, K) each nodule's probability of being a cancer, or its weight for ``attention``; NaN without one."""
        every: FloatArray = torch.cat(self._said).double().numpy()
        return every


class DecisionChooser(PatientCollector):
    """Chooses threshold and temperature on the patients of an evaluation, and writes them to ``decision.json``.

    Args:
        pool: of the network.
        output_dir: folder of the file.
        title: who the patients are.
        printer: where a line for the user goes.
    """

    def __init__(
        self,
        pool: str,
        output_dir: str | os.PathLike[str],
        title: str = "",
        printer: Callable[[str], None] = print,
    ) -> None:
        super().__init__(pool)
        self.path = Path(output_dir) / DECISION
        self.title = title
        self.printer = printer
        self.decision = Decision()

    def complete(self, engine: Engine) -> None:
        """Chooses."""
        super().complete(engine)
        assert self.predictions is not None
        self.decision = choose_decision(self.predictions, self.title)
        write_json_atomic(self.path, asdict(self.decision))
        self.printer(
            f"Chosen on {self.title}: threshold {self.decision.threshold:.3f}, temperature "
            f"{self.decision.temperature:.3f}"
        )


def read_decision(path: str | os.PathLike[str], printer: Callable[[str], None] = print) -> Decision:
    """What a training chose; where it left no file, the defaults, and says so.

    Raises:
        DataError: the file is not one of :class:`DecisionChooser`.
    """
    file = Path(path)
    if not file.is_file():
        printer(f"{file} is not there: a threshold of 0.5, and probabilities as the network gives them.")
        return Decision()
    try:
        found = Decision(**json.loads(file.read_text(encoding="utf-8")))
        good = 0 <= float(found.threshold) <= 1 and float(found.temperature) > 0
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{file}: a threshold and a temperature are needed ({type(error).__name__}: {error})") from None
    if not good:
        raise DataError(
            f"{file}: a threshold lies in 0..1 and a temperature above 0, found {found.threshold} and "
            f"{found.temperature}"
        )
    return found
