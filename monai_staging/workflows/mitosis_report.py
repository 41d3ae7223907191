"""Scores the points of an evaluation, and writes them down with pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine
from monai.utils.enums import CommonKeys as Keys

from monai_staging.histology.regions import SlideRegions
from monai_staging.histology.slide_pass import SlideMap
from monai_staging.histology.slides import Slide
from monai_staging.histology.tiles import mitosis_map
from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.points import Points, match_points, point_curve, point_metrics
from monai_staging.outputs.figures_mitosis import FALSE, FOUND, MISSED, precision_recall_figure, slide_figure
from monai_staging.outputs.mitosis import estimates_table, right_points, write_points
from monai_staging.outputs.table import write_metrics
from monai_staging.workflows.mitosis_data import patients_of
from monai_staging.workflows.mitosis_points import METRICS, POINTS, PointCollector, load_threshold, truth_points

PICTURE = 900
"""Pixels along the longer side of a slide's picture."""
DRAWN = 3
"""Slides that are drawn: the best, the middle and the worst."""


class MitosisReport(PointCollector):
    """At the end of an evaluation writes points, metrics and pictures.

    Args:
        slides: of the evaluator.
        output_dir: folder for everything written.
        threshold_file: of :func:`choose_threshold`, read when the evaluation is over.
        regions: gives the slides' pixels, for pictures.
        title: what the data is.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        figures: whether they are drawn.
        tracker: a tracking handler that is given metrics and figures, if any.
        printer: where lines for the user go.
        phantom: whether the data is, with a truth that no reader found: pictures say so.
    """

    def __init__(
        self,
        slides: Sequence[Slide],
        output_dir: str | os.PathLike[str],
        threshold_file: str | os.PathLike[str],
        regions: SlideRegions,
        title: str = "",
        seed: int = 0,
        resamples: int = 1000,
        figures: bool = True,
        tracker: Any = None,
        printer: Callable[[str], None] = print,
        phantom: bool = False,
    ) -> None:
        super().__init__(slides)
        self.output_dir = Path(output_dir)
        self.threshold_file = Path(threshold_file)
        self.regions = regions
        self.title = title
        self.phantom = phantom
        self.seed = seed
        self.resamples = resamples
        self.figures = figures
        self.tracker = tracker
        self.printer = printer
        self._maps: dict[str, SlideMap] = {}

    def begin(self) -> None:
        """Forgets the epoch before."""
        super().begin()
        self._maps.clear()

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Keeps a slide's points, and its map for a picture."""
        super().keep(batch, output)
        if self.figures:
            self._maps[batch["slide"].name] = output[Keys.PRED]["map"]

    def complete(self, engine: Engine) -> None:
        """Evaluates, writes and prints."""
        super().complete(engine)
        threshold = load_threshold(self.threshold_file)
        truth, found, patients = truth_points(self.slides), self.points, patients_of(self.slides)
        metrics = point_metrics(truth, found, patients, threshold=threshold, n_boot=self.resamples, seed=self.seed)
        engine.state.metrics["f1"] = metrics["f1"].value
        right = right_points(self.slides, found)
        write_points(self.output_dir / POINTS, self.slides, found, threshold, right)
        write_metrics(self.output_dir / METRICS, metrics)
        figures = self._draw(truth, found, right, metrics, threshold) if self.figures else []
        self.printer(
            f"\n{self.title}: {len(truth.slides)} mitoses; {int(found.counted(threshold).sum())} points from "
            f"{threshold:.3f} on, the threshold of {self.threshold_file.name}"
        )
        self.printer(f"95 % intervals by resampling patients ({self.resamples} times, seed {self.seed})")
        self.printer(f"\n{estimates_table(metrics)}\n\nWritten:")
        for path in (self.output_dir / POINTS, self.output_dir / METRICS, *figures):
            self.printer(f"  {path}")
        if self.tracker is not None:
            self.tracker.log_metrics_file(self.output_dir / METRICS)
            self.tracker.log_figures(figures)

    def _draw(
        self, truth: Points, found: Points, right: Any, metrics: Mapping[str, Estimate], threshold: float
    ) -> list[Path]:
        folder = self.output_dir / "figures"
        recall, precision = point_curve(truth, found, patients_of(self.slides))
        paths = [
            precision_recall_figure(
                folder / "precision_recall.png",
                recall,
                precision,
                (metrics["recall"], metrics["precision"]),
                metrics["average_precision"],
                threshold=threshold,
                subtitle=self.title,
            )
        ]
        for name, slide in self._examples(truth, found, right, threshold).items():
            own = np.array([one == slide.name for one in found.slides], dtype=bool) & found.counted(threshold)
            places = np.array(slide.mitoses).reshape(-1, 2) * slide.microns_per_pixel
            hit = match_points(found.xy_um[own & right], places, np.zeros(len(places)))
            seen = self._maps[slide.name]
            picture, width_um = self._picture(slide)
            step = seen.cell_um / slide.microns_per_pixel
            rows, columns = seen.values.shape
            middle = (step - 1) / 2
            whole = mitosis_map(slide.mitoses, (middle, middle), max(rows, columns), step, um=slide.microns_per_pixel)[
                0, :rows, :columns
            ]
            paths.append(
                slide_figure(
                    folder / f"slide_{name}.png",
                    picture,
                    seen.values.astype(np.float64),
                    whole.double().numpy(),
                    {FOUND: found.xy_um[own & right], FALSE: found.xy_um[own & ~right], MISSED: places[~hit]},
                    width_um=width_um,
                    threshold=threshold,
                    title=f"{name} of {len(self.slides)} slides by F1: {slide.name}",
                    subtitle=self.title,
                    phantom=self.phantom,
                )
            )
        return paths

    def _examples(self, truth: Points, found: Points, right: Any, threshold: float) -> dict[str, Slide]:
        """The best, the middle and the worst slide of those with a mitosis."""
        scored = []
        for slide in self.slides:
            own = np.array([one == slide.name for one in found.slides], dtype=bool) & found.counted(threshold)
            if slide.mitoses:
                scored.append((2 * int((own & right).sum()) / (int(own.sum()) + len(slide.mitoses)), slide.name, slide))
        scored.sort(key=lambda row: row[:2], reverse=True)
        if not scored:
            return {}
        places = {"best": 0, "middle": len(scored) // 2, "worst": len(scored) - 1}
        chosen = {place: name for name, place in reversed(places.items())}
        return {name: scored[place][2] for place, name in sorted(chosen.items())}

    def _picture(self, slide: Slide) -> tuple[Any, float]:
        """The whole of a slide in a few pixels, and its width in um."""
        width, height = self.regions.size(slide)
        um = self.regions.microns_per_pixel
        scale = max(1.0, max(width, height) / PICTURE)
        coarse = SlideRegions(um * scale)
        across, down = coarse.size(slide)
        return coarse.read(slide, 0, 0, across, down).permute(1, 2, 0).numpy(), width * um
