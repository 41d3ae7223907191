"""Collects the points that a network finds on an evaluator's slides, scores them, and writes them down at the end."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine
from monai.utils.enums import CommonKeys as Keys

from monai_staging.errors import DataError
from monai_staging.files import atomic_path, write_json_atomic
from monai_staging.histology.regions import SlideRegions
from monai_staging.histology.slide_pass import SlideMap
from monai_staging.histology.slides import Slide
from monai_staging.histology.tiles import mitosis_map
from monai_staging.metrics.intervals import Estimate, weightings
from monai_staging.metrics.points import Points, best_threshold, match_points, point_curve, point_metrics
from monai_staging.outputs.figures_confusion import matrix_figure
from monai_staging.outputs.figures_mitosis import FALSE, FOUND, MISSED, precision_recall_figure, slide_figure
from monai_staging.outputs.mitosis import estimates_table, right_points, write_points
from monai_staging.outputs.table import write_metrics
from monai_staging.progress import progress
from monai_staging.workflows.collector import EpochCollector
from monai_staging.workflows.mitosis import SlideInferer
from monai_staging.workflows.mitosis_data import patients_of

POINTS, METRICS, THRESHOLD = "points.csv", "metrics.json", "threshold.json"
PICTURE = 900
"""Pixels along the longer side of a slide's picture."""
DRAWN = 3
"""Slides that are drawn: the best, the middle and the worst."""


def truth_points(slides: Iterable[Slide]) -> Points:
    """The mitoses of slides, in um."""
    rows = [
        (slide.name, x, y)
        for slide in slides
        for x, y in np.array(slide.mitoses).reshape(-1, 2) * slide.microns_per_pixel
    ]
    return Points(tuple(name for name, _, _ in rows), np.array([[x, y] for _, x, y in rows]))


class PointCollector(EpochCollector):
    """Collects an evaluator's points; after an epoch its metrics hold ``average_precision`` and the best ``f1``.

    Args:
        slides: of the evaluator.
    """

    def __init__(self, slides: Sequence[Slide]) -> None:
        self.slides = list(slides)
        self._names: list[str] = []
        self._places: list[Any] = []
        self._scores: list[Any] = []

    def begin(self) -> None:
        """Forgets the epoch before."""
        for kept in (self._names, self._places, self._scores):
            kept.clear()

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Keeps a slide's points."""
        found = output[Keys.PRED]
        self._names += [batch["slide"].name] * len(found["scores"])
        self._places.append(found["xy_um"])
        self._scores.append(found["scores"])

    @property
    def points(self) -> Points:
        """Of all slides so far."""
        return Points(
            tuple(self._names),
            np.concatenate([np.zeros((0, 2)), *self._places]),
            np.concatenate([np.zeros(0), *self._scores]),
        )

    def complete(self, engine: Engine) -> None:
        """Scores the epoch."""
        truth, found = truth_points(self.slides), self.points
        values = point_metrics(truth, found, patients_of(self.slides), threshold=math.inf, n_boot=0)
        engine.state.metrics["average_precision"] = values["average_precision"].value
        try:
            _, engine.state.metrics["f1"] = best_threshold(truth, found)
        except DataError:
            engine.state.metrics["f1"] = 0.0


def choose_threshold(
    inferer: SlideInferer, slides: Sequence[Slide], path: str | os.PathLike[str], chosen_on: str
) -> float:
    """Runs over slides, takes the score with the highest F1, and writes it to a file.

    Args:
        inferer: runs the network.
        slides: never those that the network is judged by.
        path: the JSON file.
        chosen_on: what the slides are.

    Raises:
        DataError: nothing was found, or there is nothing to be found.
    """
    collector = PointCollector(slides)
    for slide in progress(slides, description="choosing the threshold", unit="slide"):
        collector.keep({"slide": slide}, {Keys.PRED: inferer(slide, inferer.slide_pass.network)})
    threshold, f1 = best_threshold(truth_points(slides), collector.points)
    write_json_atomic(Path(path), {"threshold": threshold, "f1": f1, "chosen_on": chosen_on})
    return threshold


def load_threshold(path: str | os.PathLike[str]) -> float:
    """A threshold that :func:`choose_threshold` wrote.

    Raises:
        DataError: the file is not there, or holds none.
    """
    try:
        value = float(json.loads(Path(path).read_text(encoding="utf-8"))["threshold"])
    except FileNotFoundError:
        raise DataError(
            f"{path}: the threshold chosen on validation slides is needed, the file is not there."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: holds no threshold ({type(error).__name__}: {error}).") from None
    return value


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
    ) -> None:
        super().__init__(slides)
        self.output_dir = Path(output_dir)
        self.threshold_file = Path(threshold_file)
        self.regions = regions
        self.title = title
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
            own = np.array([one == slide.name for one in found.slides]) & found.counted(threshold)
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
                )
            )
        return paths

    def _examples(self, truth: Points, found: Points, right: Any, threshold: float) -> dict[str, Slide]:
        """The best, the middle and the worst slide of those with a mitosis."""
        scored = []
        for slide in self.slides:
            own = np.array([one == slide.name for one in found.slides]) & found.counted(threshold)
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


class PointWriter(PointCollector):
    """At the end of an inference writes ``points.csv``, and ``maps/<slide>.tif`` of every slide.

    A map is one byte a cell, 255 being certain, with the cell's size as the file's resolution.

    Args:
        slides: of the evaluator.
        output_dir: folder for everything written.
        threshold_file: of :func:`choose_threshold`.
        maps: whether maps are written.
        printer: where lines for the user go.
    """

    def __init__(
        self,
        slides: Sequence[Slide],
        output_dir: str | os.PathLike[str],
        threshold_file: str | os.PathLike[str],
        maps: bool = True,
        printer: Callable[[str], None] = print,
    ) -> None:
        super().__init__(slides)
        self.output_dir = Path(output_dir)
        # Before hours of slides.
        self.threshold = load_threshold(threshold_file)
        self.maps = maps
        self.printer = printer

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Keeps a slide's points, and writes its map."""
        import tifffile

        super().keep(batch, output)
        if self.maps:
            found: SlideMap = output[Keys.PRED]["map"]
            with atomic_path(self.output_dir / "maps" / f"{found.slide}.tif") as temporary:
                values = np.rint(255 * found.values.astype(np.float32)).astype(np.uint8)
                cells_per_cm = 1e4 / found.cell_um
                tifffile.imwrite(
                    *(temporary, values),
                    compression="zlib",
                    resolution=(cells_per_cm, cells_per_cm),
                    resolutionunit="CENTIMETER",
                )

    def complete(self, engine: Engine) -> None:
        """Writes the points, and says how many there are."""
        found = self.points
        path = write_points(self.output_dir / POINTS, self.slides, found, self.threshold)
        counted = found.counted(self.threshold)
        self.printer(f"{len(self.slides)} slides: {int(counted.sum())} points from {self.threshold:.3f} on in {path}")


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
