"""What an evaluation of boxes on slices leaves behind: metrics, one row a slice, and tables of several of them."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_staging.errors import DataError
from monai_staging.files import atomic_path
from monai_staging.metrics.intervals import Estimate, FloatArray
from monai_staging.metrics.segmentation import mean_estimate
from monai_staging.outputs.table import read_rows, text_table, write_metrics

THRESHOLDS = (0.5, 0.7)
"""IoU from which a slice counts as found."""
_NAN = float("nan")
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = (
    *("case", "patient", "subtype", "slice", "leaks"),
    *_EDGES,
    *(f"found_{edge}" for edge in _EDGES),
    "iou",
)


@dataclass(frozen=True)
class SliceScore:
    """One slice's boxes.

    Attributes:
        case: name of the case, without identity.
        patient: likewise.
        subtype: histology, empty where unknown.
        slice: index in the volume.
        leaks: whether other slices of the patient were learned from.
        truth: the reader's box, edges in pixels of the slice.
        found: the network's, likewise.
        iou: of the two.
    """

    case: str
    patient: str
    subtype: str
    slice: int
    leaks: bool
    truth: tuple[float, ...]
    found: tuple[float, ...]
    iou: float


def box_metrics(
    slices: Sequence[SliceScore], *, epochs_to_70: float = _NAN, seed: int = 0, n_boot: int = 1000
) -> dict[str, Estimate]:
    """Means over slices, with intervals over patients.

    ``iou``; ``iou_50`` and ``iou_70``, the share of slices with an IoU of .5 and .7 or more; ``leaking_patients``, the
    share of patients of whom other slices were learned from, 0 in a split by patient; ``epochs_to_iou_70``, undefined
    where it was never reached. The last two have no interval.

    Args:
        slices: scores.
        epochs_to_70: see above.
        seed: of the resampling.
        n_boot: how many resamples.

    Raises:
        DataError: there is no slice.
    """
    if not slices:
        raise DataError("Scores need at least 1 slice, found 0.")
    patients = [one.patient for one in slices]
    iou = np.array([one.iou for one in slices])

    def mean(values: FloatArray) -> Estimate:
        return mean_estimate(values, patients, seed=seed, n_boot=n_boot)

    found = {"iou": mean(iou)}
    found |= {f"iou_{100 * least:g}": mean((iou >= least).astype(np.float64)) for least in THRESHOLDS}
    leaks = {one.patient: one.leaks for one in slices}
    found["leaking_patients"] = Estimate(float(np.mean(list(leaks.values()))), _NAN, _NAN, len(leaks))
    found["epochs_to_iou_70"] = Estimate(epochs_to_70, _NAN, _NAN, len(leaks))
    return found


def iou_difference(
    slices: Sequence[SliceScore], others: Sequence[SliceScore], *, seed: int = 0, n_boot: int = 1000
) -> Estimate:
    """Mean IoU of ``slices`` less that of ``others``, slice by slice, with its interval over patients.

    Raises:
        DataError: they are not of the same slices.
    """
    of_other = {(one.case, one.slice): one.iou for one in others}
    if {(one.case, one.slice) for one in slices} != set(of_other):
        raise DataError(
            f"A difference of IoU is of the same slices; found {len(slices)} and {len(others)}, not all of them in both"
        )
    values = np.array([one.iou - of_other[one.case, one.slice] for one in slices])
    return mean_estimate(values, [one.patient for one in slices], seed=seed, n_boot=n_boot)


def write_box_evaluation(
    output_dir: str | os.PathLike[str],
    slices: Sequence[SliceScore],
    *,
    epochs_to_70: float = _NAN,
    seed: int = 0,
    n_boot: int = 1000,
) -> tuple[dict[str, Estimate], list[Path]]:
    """Writes ``metrics.json`` and ``predictions.csv`` to a folder; gives the metrics and both files.

    Args as in :func:`box_metrics`.
    """
    folder = Path(output_dir)
    metrics = box_metrics(slices, epochs_to_70=epochs_to_70, seed=seed, n_boot=n_boot)
    files = [write_metrics(folder / "metrics.json", metrics), write_slices(folder / "predictions.csv", slices)]
    return metrics, files


def box_table(rows: Mapping[str, Mapping[str, Estimate]], first: str = "") -> str:
    """Metrics of several evaluations, a row each, under the heading ``first``; what leaks is called that."""
    header = [first, "patients", "IoU", "IoU >= .5", "IoU >= .7", "epochs to IoU .7", "split leaks"]
    return text_table(
        header,
        [
            [
                name,
                str(metrics["iou"].n),
                *(metrics[metric].text(3) for metric in ("iou", "iou_50", "iou_70")),
                metrics["epochs_to_iou_70"].text(0),
                "LEAKS" if metrics["leaking_patients"].value else "no",
            ]
            for name, metrics in rows.items()
        ],
    )


def write_slices(path: str | os.PathLike[str], slices: Sequence[SliceScore]) -> Path:
    """Writes one row a slice as CSV: who, where, both boxes in pixels of the slice, and their IoU."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for one in slices:
            numbers = [f"{value:.6g}" for value in (*one.truth, *one.found, one.iou)]
            writer.writerow([one.case, one.patient, one.subtype, one.slice, "yes" if one.leaks else "no", *numbers])
    return Path(path)


def read_slices(path: str | os.PathLike[str]) -> list[SliceScore]:
    """The rows of a ``predictions.csv``.

    Raises:
        DataError: the file is missing or of another kind.
    """
    rows = read_rows(path, _COLUMNS, "boxes on slices")
    return [
        SliceScore(
            row["case"],
            row["patient"],
            row["subtype"],
            int(row["slice"]),
            row["leaks"] == "yes",
            tuple(float(row[edge]) for edge in _EDGES),
            tuple(float(row[f"found_{edge}"]) for edge in _EDGES),
            float(row["iou"]),
        )
        for row in rows
    ]
