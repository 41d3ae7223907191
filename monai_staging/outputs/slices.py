"""What an evaluation of slices leaves behind: metrics, a row a slice with its rank, and tables of several of them."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from monai_staging.files import atomic_path
from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.slices import TOP, StudyScores
from monai_staging.outputs.table import read_rows, text_table

COLUMNS = (
    *(
        "case",
        "patient",
        "rank",
        "slice",
        "z_mm",
        "nodule",
        "no_nodule",
        "benign",
        "malignant",
        "x_mm",
        "y_mm",
        "truth",
    ),
)
_CHANCES = ("no_nodule", "benign", "malignant")
_SHOWN = ("balanced_accuracy", "auroc_nodule", "auroc_malignant", *(f"found_at_{k}" for k in TOP))


def write_ranked_slices(
    path: str | os.PathLike[str], studies: Sequence[StudyScores], classes: Sequence[str], known: bool = True
) -> Path:
    """Writes a row a slice as CSV, the slices to look at first first, study by study.

    ``slice`` is the index in the volume, ``nodule`` the probability by which slices are ranked, ``x_mm`` and ``y_mm``
    (RAS) where on the slice it is, ``truth`` what it shows.

    Args:
        path: the file.
        studies: scores.
        classes: names, for ``truth``.
        known: whether anything is known; otherwise there is no ``truth``.
    """
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS if known else COLUMNS[:-1])
        for study in studies:
            ranks = study.ranks
            for row in ranks.argsort():
                numbers = [study.suspicion[row], *study.probabilities[row]]
                place = ["" if value != value else f"{value:.1f}" for value in study.peaks_mm[row].tolist()]
                truth = int(study.truth[row])
                last = [classes[truth] if truth >= 0 else ""] if known else []
                told = (study.case, study.patient, int(ranks[row]), int(study.places[row]), f"{study.z_mm[row]:.2f}")
                writer.writerow([*told, *(f"{value:.4f}" for value in numbers), *place, *last])
    return Path(path)


def read_ranked_slices(path: str | os.PathLike[str], classes: Sequence[str]) -> list[StudyScores]:
    """The studies of a ``slices.csv``, slices from foot to head; the nodules themselves are not in it.

    Raises:
        DataError: the file is missing or of another kind.
    """
    rows = read_rows(path, COLUMNS[:-1], "ranked slices")
    numbers = {name: number for number, name in enumerate(classes)}
    studies = []
    for case in dict.fromkeys(row["case"] for row in rows):
        own = sorted((row for row in rows if row["case"] == case), key=lambda row: float(row["z_mm"]))
        studies.append(
            StudyScores(
                case,
                own[0]["patient"],
                np.array([int(row["slice"]) for row in own]),
                np.array([float(row["z_mm"]) for row in own]),
                np.array([numbers.get(row.get("truth", ""), -1) for row in own]),
                np.array([[float(row[name]) for name in _CHANCES] for row in own]),
                (),
                np.array([[float(row[name] or "nan") for name in ("x_mm", "y_mm")] for row in own]),
            )
        )
    return studies


def slice_table(rows: Mapping[str, Mapping[str, Estimate]], first: str = "") -> str:
    """Metrics of several evaluations, a row each, under the heading ``first``."""
    header = [first, "patients", "balanced accuracy", "AUROC nodule", "AUROC malignant"]
    header += [f"nodules found in {k} slices" for k in TOP] + ["ms a study"]
    body = []
    for name, metrics in rows.items():
        cells = [metrics[metric].text(3) if metric in metrics else "-" for metric in _SHOWN]
        seconds = metrics.get("seconds_per_study")
        cells.append("-" if seconds is None else f"{1000 * seconds.value:.0f}")
        body.append([name, str(metrics["balanced_accuracy"].n), *cells])
    return text_table(header, body)
