"""Points found on slides as a table for programs, and their metrics as one for people."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_staging.files import atomic_path
from monai_staging.histology.slides import Slide
from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.points import RADIUS_UM, Points, match_points
from monai_staging.outputs.table import text_table

COLUMNS = ("slide", "x_px", "y_px", "x_um", "y_um", "score", "counts", "right")
_NAMES = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "average_precision": "average precision",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
}


def right_points(slides: Sequence[Slide], found: Points, radius_um: float = RADIUS_UM) -> NDArray[np.bool_]:
    """(N) which points are mitoses of their slides, see :func:`monai_staging.metrics.points.match_points`."""
    right = np.zeros(len(found.slides), dtype=bool)
    of_found = np.array(found.slides)
    assert found.scores is not None
    for slide in slides:
        rows = np.flatnonzero(of_found == slide.name)
        places = np.array(slide.mitoses).reshape(-1, 2) * slide.microns_per_pixel
        right[rows] = match_points(places, found.xy_um[rows], found.scores[rows], radius_um)
    return right


def write_points(
    path: str | os.PathLike[str],
    slides: Sequence[Slide],
    found: Points,
    threshold: float,
    right: NDArray[np.bool_] | None = None,
) -> Path:
    """Writes a row a point, surest first on each slide: where it is, its score, and whether it counts.

    Args:
        path: the csv file.
        slides: that were searched.
        found: with scores.
        threshold: from here on a point counts.
        right: of :func:`right_points`; empty where nobody knows.
    """
    um = {slide.name: slide.microns_per_pixel for slide in slides}
    assert found.scores is not None
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in np.lexsort((-found.scores, np.array(found.slides, dtype=str))).tolist():
            name, (x, y), score = found.slides[row], found.xy_um[row], float(found.scores[row])
            known: Any = "" if right is None else int(right[row])
            pixels = (f"{x / um[name]:.1f}", f"{y / um[name]:.1f}")
            writer.writerow([name, *pixels, f"{x:.2f}", f"{y:.2f}", f"{score:.4f}", int(score >= threshold), known])
    return Path(path)


def estimates_table(metrics: Mapping[str, Estimate]) -> str:
    """Metrics of points or tiles as Markdown that reads well as plain text."""
    rows = [[_NAMES.get(name, name), estimate.text(3)] for name, estimate in metrics.items()]
    return text_table(["", "value [95 % interval]"], rows)
