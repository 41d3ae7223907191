"""Collects what a detector found in an evaluator's scans, scores it while training, and writes it down at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine
from monai.utils.enums import CommonKeys as Keys

from monai_staging.cohort.case import Lesion
from monai_staging.detection.detections import Detections, concatenate, write_detections
from monai_staging.detection.detector import Detector, detect_all
from monai_staging.detection.evaluation import DetectionEvaluation, detection_froc, write_detection_evaluation
from monai_staging.detection.examples import lesion_examples
from monai_staging.detection.operating_points import OperatingPoints
from monai_staging.detection.truth import DetectionTruth
from monai_staging.outputs.case_figures import scan_lesion_figure
from monai_staging.workflows.collector import EpochCollector
from monai_staging.workflows.rank import main_process_only


class ScanCollector(EpochCollector):
    """Collects an evaluator's predictions, which are :class:`Detections`."""

    def __init__(self) -> None:
        self._parts: list[Detections] = []

    def begin(self) -> None:
        """Forgets the epoch before."""
        self._parts.clear()

    def keep(self, batch: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        """Keeps the detections of one batch."""
        self._parts.append(output[Keys.PRED])

    @property
    def detections(self) -> Detections:
        """Of all scans so far."""
        return concatenate(self._parts)


class DetectionCollector(ScanCollector):
    """After an epoch its evaluator's metrics hold ``cpm``.

    Args:
        truth: the lesions of the evaluator's scans.
    """

    def __init__(self, truth: DetectionTruth) -> None:
        super().__init__()
        self.truth = truth

    def complete(self, engine: Engine) -> None:
        """Scores the epoch."""
        engine.state.metrics["cpm"] = detection_froc(self.detections, self.truth, n_boot=0).cpm.value


class DetectionReport(ScanCollector):
    """At the end of an evaluation writes everything about it, see :mod:`monai_staging.detection.evaluation`.

    Args:
        truth: the lesions of the evaluator's scans.
        output_dir: folder for everything written.
        points_file: operating points of :func:`choose_operating_points`; those that are there by then are reported.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        figures: whether they are drawn.
        title: what the data is.
        tracker: a tracking handler that is given metrics and figures, if any.
        printer: where lines for the user go.
        scans: the evaluator's data list, with ``study``, ``image`` and ``lesions``; without, no lesion is drawn.
        phantom: whether the data is, with a truth that no reader found: pictures say so.
    """

    def __init__(
        self,
        truth: DetectionTruth,
        output_dir: str | os.PathLike[str],
        points_file: str | os.PathLike[str] | None = None,
        seed: int = 0,
        resamples: int = 1000,
        figures: bool = True,
        title: str = "",
        tracker: Any = None,
        printer: Callable[[str], None] = print,
        scans: Sequence[Mapping[str, Any]] = (),
        phantom: bool = False,
    ) -> None:
        super().__init__()
        self.truth = truth
        self.scans = {scan["study"]: scan for scan in scans}
        self.output_dir = Path(output_dir)
        self.points_file = None if points_file is None else Path(points_file)
        self.seed, self.resamples = seed, resamples
        self.figures = figures
        self.title = title
        self.phantom = phantom
        self.tracker = tracker
        self.printer = printer
        self.result: DetectionEvaluation | None = None

    def complete(self, engine: Engine) -> None:
        """Evaluates, writes and prints."""
        points = None
        if self.points_file is not None and self.points_file.is_file():
            points = OperatingPoints.load(self.points_file)
        self.result = write_detection_evaluation(
            self.output_dir,
            self.detections,
            self.truth,
            points=points,
            title=self.title,
            seed=self.seed,
            n_boot=self.resamples,
            figures=self.figures,
        )
        engine.state.metrics["cpm"] = self.result.metrics["cpm"].value
        if self.figures and self.scans:
            self.result = replace(self.result, figures=(*self.result.figures, *self._draw_lesions()))
        self._print(self.result)
        if self.tracker is not None:
            self.tracker.log_metrics_file(self.result.metrics_path)
            self.tracker.log_figures(self.result.figures)

    def _draw_lesions(self) -> list[Path]:
        lesions, paths = self.truth.lesions, []
        for number, example in enumerate(lesion_examples(self.detections, self.truth), start=1):
            scan, center = self.scans[lesions.scans[example.row]], lesions.centers_mm[example.row]
            lesion = next(one for one in scan["lesions"] if np.array_equal(one["center_mm"], center))
            paths.append(
                scan_lesion_figure(
                    self.output_dir / "figures" / f"lesion_{number}.png",
                    scan["image"],
                    Lesion(**lesion),
                    example.found_mm,
                    z_mm=_shared_z_mm(float(center[2]), example.found_mm, self.truth.boxes.corners[example.row]),
                    case_name=scan["study"],
                    subtitle=f"{self.title}; {example.text}",
                    phantom=self.phantom,
                )
            )
        return paths

    def _print(self, result: DetectionEvaluation) -> None:
        froc = result.froc
        self.printer(
            f"\n{self.title}: {froc.lesions} lesions in {froc.scans} scans of {froc.cpm.n} patients, "
            f"{froc.detected} hit by a mark"
        )
        self.printer(f"95 % intervals by resampling patients ({self.resamples} times, seed {self.seed})")
        self.printer(f"\n{result.table}\n\nWritten:")
        for path in (*result.files, *result.figures):
            self.printer(f"  {path}")


def _shared_z_mm(middle: float, found_mm: Sequence[float] | None, box_mm: Sequence[float]) -> float:
    """Height of the lesion's middle, or of what it has in common with a box that is not found there."""
    if found_mm is None or found_mm[2] <= middle <= found_mm[5]:
        return middle
    low, high = max(found_mm[2], box_mm[2]), min(found_mm[5], box_mm[5])
    return (low + high) / 2 if low <= high else middle


class DetectionWriter(ScanCollector):
    """Writes ``detections.csv`` of scans whose lesions nobody knows.

    Args:
        output_dir: folder of the file.
        points_file: operating points of :func:`choose_operating_points`.
        point: name of the one from which detections are kept; all of them without.
        printer: where lines for the user go.

    Raises:
        DataError: no file of operating points, where one is named.
        UsageError: no operating point of that name.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        points_file: str | os.PathLike[str] | None = None,
        point: str | None = None,
        printer: Callable[[str], None] = print,
    ) -> None:
        super().__init__()
        self.path = Path(output_dir) / "detections.csv"
        # Now, not after all scans have been looked at.
        self.threshold = None
        if point is not None and points_file is not None:
            self.threshold = OperatingPoints.load(points_file).threshold(point)
        self.printer = printer

    def complete(self, engine: Engine) -> None:
        """Writes and says what."""
        found = self.detections if self.threshold is None else self.detections.at_least(self.threshold)
        write_detections(self.path, found)
        self.printer(f"{len(found)} lesions in {len(set(found.cases))} scans with a lesion\nWritten:\n  {self.path}")


@main_process_only
def choose_operating_points(
    detector: Detector,
    scans: Sequence[Mapping[str, Any]],
    truth: DetectionTruth,
    path: str | os.PathLike[str],
    chosen_on: str,
) -> OperatingPoints:
    """Runs a detector on scans that it is not judged by, and writes the operating points that they give.

    Args:
        detector: finds lesions in a scan.
        scans: a data list with ``study`` and ``image``.
        truth: the lesions in these scans.
        path: the JSON file to write.
        chosen_on: what the scans are.

    Raises:
        DataError: there is no lesion in them.
    """
    found = detect_all(detector, [(scan["study"], scan["image"]) for scan in scans], f"operating points, {chosen_on}")
    points = OperatingPoints.choose(detection_froc(found, truth, n_boot=0), chosen_on)
    points.save(path)
    return points
