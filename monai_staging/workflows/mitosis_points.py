"""Points found on slides: collected by an evaluator, scored, written, and the threshold of their scores."""

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
from monai_staging.histology.slide_pass import SlideMap
from monai_staging.histology.slides import Slide
from monai_staging.metrics.points import Points, best_threshold, point_metrics
from monai_staging.outputs.mitosis import write_points
from monai_staging.progress import progress
from monai_staging.workflows.collector import EpochCollector
from monai_staging.workflows.mitosis import SlideInferer
from monai_staging.workflows.mitosis_data import patients_of
from monai_staging.workflows.rank import main_process_only

POINTS, METRICS = "points.csv", "metrics.json"


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


@main_process_only
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
