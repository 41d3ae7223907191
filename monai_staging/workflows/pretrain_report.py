"""What a pretraining measures while it trains, and what it leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.utils.enums import CommonKeys as Keys
from numpy.typing import NDArray
from torch import Tensor

from monai_staging.metrics.intervals import Estimate, patient_bootstrap
from monai_staging.outputs.figures_confusion import matrix_figure
from monai_staging.outputs.figures_pretrain import curves_figure, patches_figure
from monai_staging.outputs.table import write_metrics
from monai_staging.workflows.collector import EpochCollector
from monai_staging.workflows.history import History
from monai_staging.workflows.pretrain import Classification, PretrainTask
from monai_staging.workflows.pretrain_data import PretrainData

# How many images a figure shows.
_SHOWN = 8


class PretrainCollector(EpochCollector):
    """Collects a task's measures over an evaluator's epoch; their means are its metrics.

    After an epoch ``engine.state.metrics`` also holds ``score``: the task's metric, with the sign that makes more of it
    better.

    Args:
        task: what is measured.
    """

    def __init__(self, task: PretrainTask) -> None:
        self.task = task
        self.rows: dict[str, NDArray[np.float64]] = {}
        self.groups: NDArray[np.int64] = np.zeros(0, np.int64)
        self._parts: list[dict[str, Tensor]] = []

    def begin(self) -> None:
        """Forgets the epoch before."""
        self._parts.clear()

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Measures one batch; nothing leaves the device yet."""
        rows = self.task.measure(output[Keys.PRED].detach().float(), output[Keys.LABEL], output[Keys.IMAGE])
        self._parts.append({**rows, "group": batch["group"]})

    def complete(self, engine: Engine) -> None:
        """Puts the batches together."""
        joined = {name: torch.cat([part[name] for part in self._parts]).cpu().numpy() for name in self._parts[0]}
        self.groups = joined.pop("group")
        self.rows = {name: values.astype(np.float64) for name, values in joined.items()}
        engine.state.metrics.update({name: float(values.mean()) for name, values in self.rows.items()})
        engine.state.metrics["score"] = self.task.better * engine.state.metrics[self.task.metric]


class PretrainReport(PretrainCollector):
    """At the end of an evaluation writes ``metrics.json`` and figures, and prints what was found.

    Args:
        task: what is measured.
        data: of what; its test part is what the evaluator runs on.
        output_dir: folder for everything written.
        history: of the training, for its curve; none in an evaluation alone.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        tracker: a tracking handler that is given metrics and figures, if any.
        printer: where lines for the user go.
    """

    def __init__(
        self,
        task: PretrainTask,
        data: PretrainData,
        output_dir: str | os.PathLike[str],
        history: History | None = None,
        seed: int = 0,
        resamples: int = 1000,
        tracker: Any = None,
        printer: Callable[[str], None] = print,
    ) -> None:
        super().__init__(task)
        self.data = data
        self.output_dir = Path(output_dir)
        self.history = history
        self.seed, self.resamples = seed, resamples
        self.tracker = tracker
        self.printer = printer
        self._shown: dict[str, NDArray[np.float32]] = {}
        self._predicted: list[Tensor] = []

    def begin(self) -> None:
        """Forgets the epoch before."""
        super().begin()
        self._predicted.clear()

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Measures one batch; keeps the first images and, of a classification, every class."""
        super().keep(batch, output)
        if len(self._parts) == 1:
            pictures = self.task.pictures
            self._shown = {name: output[key][:_SHOWN].detach().float().cpu().numpy() for name, key in pictures.items()}
        if isinstance(self.task, Classification):
            self._predicted.append(output[Keys.PRED].argmax(dim=1).cpu())

    def complete(self, engine: Engine) -> None:
        """Evaluates, writes and prints."""
        super().complete(engine)
        rows = dict(self.rows)
        if self._predicted:
            # What the commonest class of the training part would do.
            common = int(torch.bincount(self.data.training.labels).argmax())
            rows["majority_accuracy"] = (self.data.test.labels == common).numpy().astype(np.float64)
        metrics = {name: self._estimate(values) for name, values in rows.items()}
        path = write_metrics(self.output_dir / "metrics.json", metrics)
        figures = self._figures()
        count = len(np.unique(self.groups))
        owners = "" if self.data.unit == "image" else f" of {count} {self.data.unit}s"
        self.printer(f"\n{self.data.title}: {len(self.groups)} images{owners}")
        self.printer(f"95 % intervals by resampling {self.data.unit}s ({self.resamples} times, seed {self.seed})\n")
        for name, estimate in metrics.items():
            self.printer(f"  {name:<18} {estimate.text(4)}")
        self.printer("\nWritten:")
        for written in (path, *figures):
            self.printer(f"  {written}")
        if self.tracker is not None:
            self.tracker.log_metrics_file(path)
            self.tracker.log_figures(figures)

    def _estimate(self, values: NDArray[np.float64]) -> Estimate:
        def mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
            found: NDArray[np.float64] = weights @ values / weights.sum(axis=1)
            return found

        return patient_bootstrap(mean, self.groups, values, n=self.resamples, seed=self.seed, weighted=True)

    def _figures(self) -> list[Path]:
        folder, paths = self.output_dir / "figures", []
        if self._shown:
            paths.append(
                patches_figure(
                    folder / self.task.figure,
                    self._shown,
                    title=self.task.title,
                    ras=self.data.ras,
                    subtitle=self.data.title,
                )
            )
        if self._predicted:
            truth, predicted = self.data.test.labels.numpy(), torch.cat(self._predicted).numpy()
            paths.append(
                matrix_figure(
                    *(folder / "confusion.png", truth, predicted, self.data.classes),
                    title="Confusion matrix",
                    subtitle=f"{self.data.title}, test, {len(truth)} images",
                )
            )
        if self.history is not None and self.history.epochs:
            metric = self.task.metric
            paths.append(
                curves_figure(folder / "training.png", self.history.epochs, metric=metric, subtitle=self.data.title)
            )
        return paths
