"""Everything an evaluation of a detector leaves behind: metrics, FROC, tables of marks and lesions, a figure."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_staging.detection.detections import Detections, write_detections
from monai_staging.detection.operating_points import OperatingPoint, OperatingPoints
from monai_staging.detection.truth import DetectionTruth
from monai_staging.files import write_json_atomic
from monai_staging.metrics.boxes import average_precision
from monai_staging.metrics.froc import POINTS, FrocResult, froc, match, size_strata
from monai_staging.metrics.intervals import Estimate, percentile_interval, resample
from monai_staging.outputs.figures_froc import froc_figure
from monai_staging.outputs.table import text_table, write_metrics

SIZES_MM = (6.0, 10.0, 20.0)
"""Edges of the size classes that FROC is also given for."""


@dataclass(frozen=True, eq=False)
class DetectionEvaluation:
    """What :func:`write_detection_evaluation` wrote.

    Attributes:
        metrics: see :func:`detection_metrics`.
        froc: the curve, also by size.
        table: the numbers as text.
        metrics_path: ``metrics.json``.
        files: everything written, without the figures.
        figures: the PNG files.
    """

    metrics: Mapping[str, Estimate]
    froc: FrocResult
    table: str
    metrics_path: Path
    files: tuple[Path, ...]
    figures: tuple[Path, ...]


def detection_froc(detections: Detections, truth: DetectionTruth, *, seed: int = 0, n_boot: int = 1000) -> FrocResult:
    """FROC of detections by the rules of LUNA16, with intervals over patients, also by size.

    Raises:
        DataError: there is no lesion, or a detection is in a scan that was not searched.
    """
    return froc(
        truth.lesions,
        detections.marks(),
        truth.scans,
        excluded=truth.excluded,
        patients=truth.patients,
        strata=size_strata(truth.lesions.diameters_mm, SIZES_MM),
        n_boot=n_boot,
        seed=seed,
    )


def detection_metrics(
    detections: Detections,
    truth: DetectionTruth,
    result: FrocResult,
    points: OperatingPoints | None = None,
    *,
    seed: int = 0,
    n_boot: int = 1000,
) -> dict[str, Estimate]:
    """The numbers of ``metrics.json``, with intervals over patients.

    Args:
        detections: of a detector.
        truth: what was to be found.
        result: of :func:`detection_froc`.
        points: chosen on other scans.
        seed: of the resampling.
        n_boot: how many resamples.

    Returns:
        ``cpm``; ``sensitivity_1_8_fp`` to ``sensitivity_8_fp``; ``ap_10`` to ``ap_50`` and ``map``, see
        :func:`monai_staging.metrics.boxes.average_precision`; with operating points also what they come to here, as
        ``frozen_1_fp_sensitivity`` and ``frozen_1_fp_false_positives`` (a scan).
    """
    found = {"cpm": result.cpm}
    names = [_key(rate) for rate in POINTS]
    found |= {f"sensitivity_{name}": value for name, value in zip(names, result.sensitivity, strict=True)}
    found |= average_precision(truth.boxes, detections.boxes(), truth.patients, n_boot=n_boot, seed=seed)
    for point in points.points if points is not None else ():
        found |= _frozen(detections, truth, point, seed, n_boot)
    return found


def write_detection_evaluation(
    output_dir: str | os.PathLike[str],
    detections: Detections,
    truth: DetectionTruth,
    *,
    points: OperatingPoints | None = None,
    title: str = "",
    seed: int = 0,
    n_boot: int = 1000,
    figures: bool = True,
) -> DetectionEvaluation:
    """Writes an evaluation to a folder; prints nothing.

    ``metrics.json``; ``froc.json``, the document of ``monai-staging froc --json``, also by size; ``detections.csv``,
    ``annotations.csv``, ``excluded.csv`` and ``scans.csv``, from which ``monai-staging froc`` gives the same again; and
    ``figures/froc.png``.

    Args:
        output_dir: the folder, made where it does not exist.
        detections: of a detector, also the unsure ones.
        truth: what was to be found.
        points: operating points that were chosen on other scans.
        title: what the data is; says so of phantoms.
        seed: of the resampling.
        n_boot: how many resamples.
        figures: whether one is drawn.

    Raises:
        DataError: there is no lesion, or a detection is in a scan that was not searched.
    """
    folder = Path(output_dir)
    result = detection_froc(detections, truth, seed=seed, n_boot=n_boot)
    metrics = detection_metrics(detections, truth, result, points, seed=seed, n_boot=n_boot)
    written = write_metrics(folder / "metrics.json", metrics)
    write_json_atomic(folder / "froc.json", result.to_json())
    files = (
        written,
        folder / "froc.json",
        write_detections(folder / "detections.csv", detections),
        *truth.write(folder),
    )
    pictures = (froc_figure(folder / "figures" / "froc.png", {"detector": result}, subtitle=title),) if figures else ()
    return DetectionEvaluation(metrics, result, detection_table(metrics, result, points), written, files, pictures)


def detection_table(metrics: Mapping[str, Estimate], result: FrocResult, points: OperatingPoints | None = None) -> str:
    """The numbers as Markdown that reads well as plain text: FROC, by size, boxes, operating points."""
    rates = [f"{_key(rate).replace('_fp', '').replace('_', '/')} fp" for rate in POINTS]
    strata = {"all": result, **result.strata}
    rows = [
        [name, str(own.lesions), own.cpm.text(3), *(value.text(2) for value in own.sensitivity)]
        for name, own in strata.items()
    ]
    tables = [text_table(["lesions", "n", "CPM", *(f"at {rate}" for rate in rates)], rows)]
    shown = {"ap_10": "AP, IoU .1", "ap_30": "AP, IoU .3", "ap_50": "AP, IoU .5", "map": "mean, .1 to .5"}
    tables.append(text_table(list(shown.values()), [[metrics[name].text(3) for name in shown]]))
    if points is not None:
        rows = []
        for point in points.points:
            name = f"frozen_{_key(point.false_positives_per_scan)}"
            cells = [metrics[f"{name}_{what}"].text(3) for what in ("sensitivity", "false_positives")]
            score = f"{point.threshold:.4g}" if math.isfinite(point.threshold) else "none is sure enough"
            rows.append([point.name, score, *cells])
        head = [f"operating point, chosen on {points.chosen_on}", "score from", "sensitivity", "false positives a scan"]
        tables.append(text_table(head, rows))
    return "\n\n".join(tables)


def _key(rate: float) -> str:
    """``1_8_fp`` for .125."""
    return f"{f'1_{round(1 / rate)}' if rate < 1 else f'{rate:g}'}_fp"


def _frozen(
    detections: Detections, truth: DetectionTruth, point: OperatingPoint, seed: int, n_boot: int
) -> dict[str, Estimate]:
    """Sensitivity and false positives a scan of a threshold that was chosen elsewhere."""
    marks = detections.at_least(point.threshold).marks()
    matches = match(truth.lesions, marks, truth.scans, excluded=truth.excluded)
    count = len(truth.scans)
    lesions, hits, false = (
        np.bincount(places, minlength=count).astype(np.float64)
        for places in (matches.lesion_scans, matches.lesion_scans[matches.detected], matches.false_scans)
    )
    draws = resample(list(truth.patients.values()), n_boot, seed)
    # The first weighting is the scans themselves, the rest are the resamples.
    weights = np.concatenate([np.ones((1, count)), draws.weights])
    name = f"frozen_{_key(point.false_positives_per_scan)}"
    result = {}
    for what, over, under in (("sensitivity", hits, lesions), ("false_positives", false, np.ones(count))):
        totals = weights @ under
        values = np.divide(weights @ over, totals, out=np.full(len(weights), np.nan), where=totals > 0)
        interval = percentile_interval(values[1:])
        result[f"{name}_{what}"] = Estimate(float(values[0]), *interval, n=draws.patients)
    return result
