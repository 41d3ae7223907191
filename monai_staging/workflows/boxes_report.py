"""Writes what an evaluation of the box regressor found: scores, rows, pictures and the training's losses."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine
from torch import Tensor

from monai_staging.cohort.volume import read_volume
from monai_staging.metrics.boxes import box_pair_iou
from monai_staging.metrics.intervals import Estimate
from monai_staging.outputs.boxes import SliceScore, box_table, write_box_evaluation
from monai_staging.outputs.figures_curves import loss_figure
from monai_staging.outputs.figures_lesion import lesion_figure
from monai_staging.outputs.figures_ranked import ranked_examples
from monai_staging.transforms.grid import Affine
from monai_staging.workflows.boxes import BoxCollector, epochs_to_reach
from monai_staging.workflows.boxes_data import SliceBoxData
from monai_staging.workflows.history import History

# Characters over one of the two panels of losses.
_LINE = 70


class BoxReport(BoxCollector):
    """At the end of an evaluation writes ``metrics.json``, ``predictions.csv`` and figures, and prints the table.

    Figures: the five panels of the slices with the best, the median and the worst IoU, and the training's losses.

    Args:
        data: of the evaluation.
        loss: as the training's.
        output_dir: folder for everything written.
        history: of the training, if there was one.
        later: the epoch from which the losses are drawn again.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        figures: whether there are any.
        what: who is judged, for the table.
        tracker: a tracking handler that is given metrics and figures, if any.
        prefix: of the metrics there.
        printer: where lines for the user go.
    """

    def __init__(
        self,
        data: SliceBoxData,
        loss: Callable[[Any, Tensor], Tensor],
        output_dir: str | os.PathLike[str],
        history: History | None = None,
        later: int = 100,
        seed: int = 0,
        resamples: int = 1000,
        figures: bool = True,
        what: str = "this network",
        tracker: Any = None,
        prefix: str = "test",
        printer: Callable[[str], None] = print,
    ) -> None:
        super().__init__(loss)
        self.data = data
        self.output_dir = Path(output_dir)
        self.history, self.later = history, later
        self.seed, self.resamples = seed, resamples
        self.figures = figures
        self.what = what
        self.tracker, self.prefix = tracker, prefix
        self.printer = printer
        self.metrics: dict[str, Estimate] = {}

    def complete(self, engine: Engine) -> None:
        """Evaluates, writes and prints."""
        super().complete(engine)
        slices = self._slices_found()
        reached = float("nan") if self.history is None else epochs_to_reach(self.history.epochs)
        self.metrics, files = write_box_evaluation(
            self.output_dir, slices, epochs_to_70=reached, seed=self.seed, n_boot=self.resamples
        )
        figures = self._draw(slices) if self.figures else []
        self.printer(f"\n{self.data.title()}")
        self.printer(f"95 % intervals by resampling patients ({self.resamples} times, seed {self.seed})\n")
        self.printer(f"{box_table({self.what: self.metrics})}\n\nWritten:")
        for path in (*files, *figures):
            self.printer(f"  {path}")
        if self.tracker is not None:
            self.tracker.log_metrics_file(files[0], self.prefix)
            self.tracker.log_figures(figures)

    def _slices_found(self) -> list[SliceScore]:
        rows = []
        for place, index, *boxes in zip(*self.places, self.truth, self.found, strict=True):
            owner = self.data.owners[place]
            reader, network = self.data.image.to_slice(boxes, owner.shape).tolist()
            iou = float(box_pair_iou([reader], [network])[0])
            whose = owner.case, owner.patient, owner.subtype, int(index), owner.leaks
            rows.append(SliceScore(*whose, tuple(reader), tuple(network), iou))
        return rows

    def _draw(self, slices: list[SliceScore]) -> list[Path]:
        folder = self.output_dir / "figures"
        cases = self.places[0]
        paths = []
        for name, row in ranked_examples([one.iou for one in slices]).items():
            one = slices[row]
            volume = read_volume(self.data.volume_path(int(cases[row])))
            paths.append(
                lesion_figure(
                    folder / f"{name}.png",
                    volume.array,
                    volume.affine,
                    box_mm(one.truth, one.slice, volume.affine),
                    box_mm(one.found, one.slice, volume.affine),
                    case_name=one.case,
                    subtitle=f"{self.data.title()}; {name} of {len(slices)}, IoU {one.iou:.2f}",
                    phantom=self.data.cohort.phantom,
                )
            )
        if self.history is not None and self.history.epochs:
            epochs = self.history.epochs
            later = min(self.later, int(epochs[-1]["epoch"]))
            title = textwrap.fill(self.data.title(), _LINE)
            paths.append(loss_figure(folder / "losses.png", epochs, later=later, subtitle=title))
        return paths


def box_mm(edges: Sequence[float], index: int, affine: Affine) -> list[float]:
    """The corners (xmin, ymin, zmin, xmax, ymax, zmax) in RAS mm of a box on one slice."""
    # Pixel i covers [i, i + 1] of the edges and [i - 1/2, i + 1/2] of the affine's indices, a slice likewise.
    x, y, z = (edges[0], edges[2]), (edges[1], edges[3]), (index, index + 1)
    corners = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1).reshape(-1, 3) - 0.5
    world = corners @ affine[:3, :3].T + affine[:3, 3]
    return [*world.min(axis=0).tolist(), *world.max(axis=0).tolist()]
