"""Writes what an evaluation of slices found: scores, ranked slices, and pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine
from torch import Tensor

from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.slices import slice_metrics
from monai_staging.outputs.figures_confusion import matrix_figure
from monai_staging.outputs.figures_curves import loss_figure
from monai_staging.outputs.figures_ranked import ranked_examples
from monai_staging.outputs.figures_slices import KnownNodule, montage_figure
from monai_staging.outputs.slices import slice_table, write_ranked_slices
from monai_staging.outputs.table import write_metrics
from monai_staging.workflows.history import History
from monai_staging.workflows.slice_classes import CLASSES, MALIGNANT, UNKNOWN
from monai_staging.workflows.slices import SliceCollector
from monai_staging.workflows.slices_data import SliceStudies


class SliceReport(SliceCollector):
    """At the end of an evaluation writes ``metrics.json``, ``slices.csv`` and figures, and prints the table.

    Figures: the confusion of the classes, montages of the studies with the best, the median and the worst recall of
    nodule slices among the ten highest ranked, and the training's losses.

    Args:
        data: of the evaluation.
        output_dir: folder for everything written.
        loss: as the training's, if any.
        history: of the training, if there was one.
        known: whether the cohort's nodules are rated; else there are no scores, and a montage of every study.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        figures: whether there are any.
        what: who is judged, for the table.
        tracker: a tracking handler that is given metrics and figures, if any.
        printer: where lines for the user go.
    """

    def __init__(
        self,
        data: SliceStudies,
        output_dir: str | os.PathLike[str],
        loss: Callable[[Any, Any], Tensor] | None = None,
        history: History | None = None,
        known: bool = True,
        seed: int = 0,
        resamples: int = 1000,
        figures: bool = True,
        what: str = "this network",
        tracker: Any = None,
        printer: Callable[[str], None] = print,
    ) -> None:
        super().__init__(data, loss)
        self.output_dir = Path(output_dir)
        self.history, self.known = history, known
        self.seed, self.resamples = seed, resamples
        self.figures = figures
        self.what, self.tracker = what, tracker
        self.printer = printer
        self.metrics: dict[str, Estimate] = {}

    def complete(self, engine: Engine) -> None:
        """Evaluates, writes and prints."""
        self.output_dir.mkdir(parents=True, exist_ok=True)
        files = [write_ranked_slices(self.output_dir / "slices.csv", self.studies, CLASSES, self.known)]
        title = self.data.title([name for name, own in self.data.parts.items() if set(own) & set(self._numbers)])
        if self.known:
            super().complete(engine)
            self.metrics = slice_metrics(self.studies, seed=self.seed, n_boot=self.resamples)
            nan = float("nan")
            self.metrics["seconds_per_study"] = Estimate(self.seconds_per_study, nan, nan, len(self.studies))
            files.append(write_metrics(self.output_dir / "metrics.json", self.metrics))
        figures = self._draw(title) if self.figures else []
        self.printer(f"\n{title}")
        if self.known:
            self.printer(f"95 % intervals by resampling patients ({self.resamples} times, seed {self.seed})\n")
            self.printer(slice_table({self.what: self.metrics}))
        self.printer("\nWritten:")
        for path in (*files, *figures):
            self.printer(f"  {path}")
        if self.tracker is not None:
            if self.known:
                self.tracker.log_metrics_file(files[-1], "test")
            self.tracker.log_figures(figures)

    def _draw(self, title: str) -> list[Path]:
        folder = self.output_dir / "figures"
        if not self.known:
            return [self._montage(folder / f"{one.case}.png", place, title) for place, one in enumerate(self.studies)]
        truth = np.concatenate([study.truth for study in self.studies])
        predicted = np.concatenate([study.probabilities.argmax(axis=1) for study in self.studies])
        told = truth != UNKNOWN
        paths = [
            matrix_figure(
                folder / "confusion.png",
                truth[told],
                predicted[told],
                CLASSES,
                title="Slices: confusion matrix",
                subtitle=title,
            )
        ]
        recalls = {
            place: float((study.ranks <= 10)[study.truth > 0].mean())
            for place, study in enumerate(self.studies)
            if (study.truth > 0).any()
        }
        for name, place in ranked_examples(list(recalls.values())).items():
            study = list(recalls)[place]
            paths.append(self._montage(folder / f"{name}.png", study, title))
        if self.history is not None and self.history.epochs:
            paths.append(loss_figure(folder / "losses.png", self.history.epochs, subtitle=title))
        return paths

    def _montage(self, path: Path, place: int, title: str) -> Path:
        number = self._numbers[place]
        volume = self.data.volume(number)
        spans = self.data.studies[number].spans
        known = [
            KnownNodule(
                tuple(np.asarray(span.lesion.center_mm) - np.asarray(span.lesion.size_mm) / 2),
                tuple(np.asarray(span.lesion.center_mm) + np.asarray(span.lesion.size_mm) / 2),
                span.kind == MALIGNANT,
            )
            for span in spans
        ]
        return montage_figure(
            path,
            volume.array,
            volume.affine,
            self.studies[place],
            nodules=known if self.known or known else None,
            phantom=self.data.cohort.phantom,
            subtitle=title,
        )
