"""Files of an evaluation of segmentations, whether of nodules or of whole scans."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_staging.files import atomic_path
from monai_staging.metrics.intervals import Estimate


@dataclass(frozen=True)
class SegmentationEvaluation:
    """What was written.

    Attributes:
        metrics: means with intervals over patients.
        table: the same as text.
        metrics_path: ``metrics.json``.
        predictions_path: ``predictions.csv``.
        figures: the PNG files.
    """

    metrics: Mapping[str, Estimate]
    table: str
    metrics_path: Path
    predictions_path: Path
    figures: tuple[Path, ...]


def write_scores(
    path: str | os.PathLike[str],
    names: Sequence[str],
    rows: Sequence[tuple[Sequence[object], Mapping[str, float]]],
) -> Path:
    """Writes a row a case as CSV: what names it, then its scores; empty where undefined.

    Args:
        path: the file to write.
        names: headings of what names a case.
        rows: what names it, and its scores by name, the same in every row.
    """
    scores = list(rows[0][1])
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*names, *scores])
        for own, values in rows:
            writer.writerow([*own, *("" if np.isnan(values[name]) else f"{values[name]:.6g}" for name in scores)])
    return Path(path)
