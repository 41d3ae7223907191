"""Tiles of slides by themselves, as published: accuracy, F1 and the confusion matrix."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine
from monai.utils.enums import CommonKeys as Keys

from monai_staging.histology.slides import Slide
from monai_staging.metrics.intervals import Estimate, weightings
from monai_staging.outputs.figures_confusion import matrix_figure
from monai_staging.outputs.mitosis import estimates_table
from monai_staging.outputs.table import write_metrics
from monai_staging.workflows.collector import EpochCollector
from monai_staging.workflows.mitosis_data import patients_of


class TileReport(EpochCollector):
    """Tiles by themselves, as published: accuracy, F1 and the confusion matrix of positive and negative ones.

    Args:
        slides: of the tiles.
        output_dir: folder for everything written.
        threshold: of a tile's probability.
        name: of files and metrics.
        title: what the data is.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        figures: whether the matrix is drawn.
        tracker: a tracking handler that is given metrics and figures, if any.
        printer: where lines for the user go.
    """

    def __init__(
        self,
        slides: Sequence[Slide],
        output_dir: str | os.PathLike[str],
        threshold: float = 0.5,
        name: str = "tiles",
        title: str = "",
        seed: int = 0,
        resamples: int = 1000,
        figures: bool = True,
        tracker: Any = None,
        printer: Callable[[str], None] | None = print,
    ) -> None:
        self.patients = patients_of(slides)
        self.output_dir = Path(output_dir)
        self.threshold = threshold
        self.name = name
        self.title = title
        self.seed = seed
        self.resamples = resamples
        self.figures = figures
        self.tracker = tracker
        self.printer = printer
        self._rows: list[tuple[str, bool, bool]] = []

    def begin(self) -> None:
        """Forgets the epoch before."""
        self._rows.clear()

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Keeps what each tile is and was taken for."""
        chance = output[Keys.PRED].float().flatten(1).amax(dim=1).sigmoid()
        for slide, label, taken in zip(batch["slide"], batch["label"].tolist(), chance.tolist(), strict=True):
            self._rows.append((slide, label > 0, taken >= self.threshold))

    def complete(self, engine: Engine) -> None:
        """Scores the tiles; writes and prints where there is a printer."""
        metrics = self.metrics(self.resamples if self.printer else 0)
        engine.state.metrics |= {f"{self.name}_{key}": value.value for key, value in metrics.items()}
        if self.printer is None:
            return
        path = write_metrics(self.output_dir / f"{self.name}.json", metrics)
        _, truth, taken = (np.array(column) for column in zip(*self._rows, strict=True))
        drawn = []
        if self.figures:
            drawn = [
                matrix_figure(
                    self.output_dir / "figures" / f"{self.name}.png",
                    truth.astype(int),
                    taken.astype(int),
                    ("no mitosis", "mitosis"),
                    title="Tiles",
                    subtitle=self.title,
                )
            ]
        self.printer(
            f"\n{self.title}: {len(truth)} tiles, {int(truth.sum())} positive, {int(taken.sum())} taken for it"
        )
        self.printer(f"\n{estimates_table(metrics)}\n\nWritten:\n" + "\n".join(f"  {one}" for one in (path, *drawn)))
        if self.tracker is not None:
            self.tracker.log_metrics_file(path, prefix=f"test_{self.name}")
            self.tracker.log_figures(drawn)

    def metrics(self, resamples: int) -> dict[str, Estimate]:
        """``accuracy``, ``balanced_accuracy``, ``f1``, ``precision`` and ``recall`` of the positive tiles."""
        slides, truth, taken = (np.array(column) for column in zip(*self._rows, strict=True))
        kinds = np.stack([truth & taken, ~truth & taken, truth & ~taken, ~truth & ~taken], axis=1)
        counts = np.stack([kinds[slides == name].sum(axis=0) for name in self.patients]).astype(np.float64)
        draws = weightings(list(self.patients.values()), resamples, self.seed)
        hit, false, missed, true = (draws.weights @ counts).T
        with np.errstate(invalid="ignore", divide="ignore"):
            values = {
                "accuracy": (hit + true) / (hit + true + false + missed),
                "balanced_accuracy": (hit / (hit + missed) + true / (true + false)) / 2,
                "f1": 2 * hit / (2 * hit + false + missed),
                "precision": hit / (hit + false),
                "recall": hit / (hit + missed),
            }
        return {name: draws.estimate(each) for name, each in values.items()}
