"""Everything an evaluation of whole-scan segmentation leaves behind: metrics, a row a scan, a figure and the table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_staging.errors import DataError
from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.segmentation import mean_estimate
from monai_staging.outputs.figures_chest import Picture, chest_figure
from monai_staging.outputs.segmentation_files import SegmentationEvaluation, write_scores
from monai_staging.outputs.table import text_table, write_metrics

# Metric to heading and digits, a table each.
_TABLES = (
    {
        "dice": ("Dice", 3),
        "surface_dice": ("surface Dice, 2 mm", 3),
        "hd95_mm": ("HD95 mm", 1),
        "volume_error_mm3": ("volume error mm3", 0),
    },
    {
        "found": ("lesions touched", 3),
        "false_parts": ("false parts a scan", 2),
        "diameter_error_mm": ("diameter error mm", 1),
        "t_exact": ("T by size exact", 3),
    },
)
_BIASES = ("volume_bias_mm3", "diameter_bias_mm")


@dataclass(frozen=True)
class ScanSegmentation:
    """One scan's scores.

    Attributes:
        name: of the study, without identity.
        patient: likewise.
        values: scores by name, see :func:`monai_staging.metrics.chest.scan_scores`; NaN where undefined.
    """

    name: str
    patient: str
    values: Mapping[str, float]


def chest_metrics(scans: Sequence[ScanSegmentation], *, seed: int = 0, n_boot: int = 1000) -> dict[str, Estimate]:
    """Means over scans, with intervals over patients; what is undefined in a scan is left out, see ``n``.

    Args:
        scans: scores.
        seed: of the resampling.
        n_boot: how many resamples.

    Raises:
        DataError: there is none.
    """
    if not scans:
        raise DataError("Scores need at least 1 scan, found 0.")
    patients = [scan.patient for scan in scans]
    names = [*(name for table in _TABLES for name in table), *_BIASES]
    return {
        name: mean_estimate(np.array([scan.values[name] for scan in scans]), patients, seed=seed, n_boot=n_boot)
        for name in names
    }


def write_chest_evaluation(
    output_dir: str | os.PathLike[str],
    scans: Sequence[ScanSegmentation],
    *,
    heading: str = "Lesions in whole scans",
    title: str = "",
    seed: int = 0,
    n_boot: int = 1000,
    pictures: Callable[[int], Picture] | None = None,
) -> SegmentationEvaluation:
    """Writes ``metrics.json``, ``predictions.csv`` and ``figures/scans.png`` to a folder; prints nothing.

    Args:
        output_dir: the folder, made where it does not exist.
        scans: scores.
        heading: of the figure.
        title: what the data is; says so of phantoms.
        seed: of the resampling.
        n_boot: how many resamples.
        pictures: of the scan in a row; no figure is drawn without.
    """
    folder = Path(output_dir)
    metrics = chest_metrics(scans, seed=seed, n_boot=n_boot)
    figures: list[Path] = []
    if pictures is not None:
        scores = [scan.values["dice"] for scan in scans]
        figures.append(
            chest_figure(folder / "figures" / "scans.png", scores, pictures, heading=heading, subtitle=title)
        )
    return SegmentationEvaluation(
        metrics,
        chest_table(metrics),
        write_metrics(folder / "metrics.json", metrics),
        write_scores(
            folder / "predictions.csv",
            ("scan", "patient"),
            [((scan.name, scan.patient), scan.values) for scan in scans],
        ),
        tuple(figures),
    )


def chest_table(metrics: Mapping[str, Estimate]) -> str:
    """The metrics as two tables, with the patients behind each where they are not all."""
    everyone = max(metrics[name].n for table in _TABLES for name in table)
    tables = []
    for columns in _TABLES:
        cells = [
            metrics[name].text(digits) + ("" if metrics[name].n == everyone else f" (n = {metrics[name].n})")
            for name, (_, digits) in columns.items()
        ]
        tables.append(text_table(["patients", *(head for head, _ in columns.values())], [[str(everyone), *cells]]))
    return "\n\n".join(tables)
