"""Everything an evaluation of nodule segmentations leaves behind: metrics, one row a nodule, a figure and the table."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_staging.errors import DataError
from monai_staging.metrics.intervals import Estimate, FloatArray
from monai_staging.metrics.segmentation import mean_estimate
from monai_staging.outputs.figures_segmentation import Picture, segmentation_figure
from monai_staging.outputs.segmentation_files import SegmentationEvaluation, write_scores
from monai_staging.outputs.table import text_table, write_metrics

_OWN = ("nodule", "patient", "readers")
# Of all nodules: metric to heading and digits.
_COLUMNS = {
    "dice": ("Dice", 3),
    "hd95_mm": ("HD95 mm", 2),
    "surface_dice": ("surface Dice, 2 mm", 3),
    "volume_error_mm3": ("volume error mm3", 0),
    "diameter_error_mm": ("diameter error mm", 2),
}
_BIASES = ("volume_bias_mm3", "diameter_bias_mm")
# Of nodules with two readers or more: the readers' metric, the network's, and what both are set beside.
_PAIRS = {
    "reader_dice": ("model_reader_dice", "with each reader"),
    "reader_others_dice": ("model_others_dice", "with the consensus of the other readers"),
}
_DIFFERENCE = "{}_difference"


@dataclass(frozen=True)
class NoduleSegmentation:
    """One nodule's scores.

    Attributes:
        name: of the nodule, without identity.
        patient: likewise.
        readers: who outlined it.
        values: scores by name, see :mod:`monai_staging.metrics.segmentation`; NaN where undefined.
    """

    name: str
    patient: str
    readers: int
    values: Mapping[str, float]


def segmentation_metrics(
    nodules: Sequence[NoduleSegmentation], *, seed: int = 0, n_boot: int = 1000
) -> dict[str, Estimate]:
    """Means over nodules, with intervals over patients.

    The scores of :func:`monai_staging.metrics.segmentation.nodule_scores`, of all nodules; those of
    :func:`monai_staging.metrics.segmentation.agreement`, of nodules with two readers or more, and the differences
    ``reader_dice_difference`` and ``reader_others_dice_difference``, network minus readers, nodule by nodule; ``dice``,
    ``reader_dice`` and ``model_reader_dice`` of nodules with so many readers, as ``dice_4_readers``.

    Args:
        nodules: scores.
        seed: of the resampling.
        n_boot: how many resamples.

    Raises:
        DataError: there is none.
    """
    if not nodules:
        raise DataError("Scores need at least 1 nodule, found 0.")
    patients = [nodule.patient for nodule in nodules]
    readers = np.array([nodule.readers for nodule in nodules])

    def column(name: str) -> FloatArray:
        return np.array([nodule.values[name] for nodule in nodules], dtype=np.float64)

    def mean(values: FloatArray) -> Estimate:
        return mean_estimate(values, patients, seed=seed, n_boot=n_boot)

    found = {name: mean(column(name)) for name in (*_COLUMNS, *_BIASES)}
    for reader, (model, _) in _PAIRS.items():
        found |= {name: mean(column(name)) for name in (reader, model)}
        found[_DIFFERENCE.format(reader)] = mean(column(model) - column(reader))
    for count in np.unique(readers).tolist():
        for name in ("dice", "reader_dice", "model_reader_dice"):
            if count > 1 or name == "dice":
                found[f"{name}_{count}_readers"] = mean(np.where(readers == count, column(name), np.nan))
    return found


def write_segmentation_evaluation(
    output_dir: str | os.PathLike[str],
    nodules: Sequence[NoduleSegmentation],
    *,
    title: str = "",
    seed: int = 0,
    n_boot: int = 1000,
    pictures: Callable[[int], Picture] | None = None,
) -> SegmentationEvaluation:
    """Writes ``metrics.json``, ``predictions.csv`` and ``figures/nodules.png`` to a folder; prints nothing.

    Args:
        output_dir: the folder, made where it does not exist.
        nodules: scores.
        title: what the data is; says so of phantoms.
        seed: of the resampling.
        n_boot: how many resamples.
        pictures: of the nodule in a row; no figure is drawn without.
    """
    folder = Path(output_dir)
    metrics = segmentation_metrics(nodules, seed=seed, n_boot=n_boot)
    figures: list[Path] = []
    if pictures is not None:
        scores = [nodule.values["dice"] for nodule in nodules]
        figures.append(segmentation_figure(folder / "figures" / "nodules.png", scores, pictures, subtitle=title))
    return SegmentationEvaluation(
        metrics,
        segmentation_table(metrics),
        write_metrics(folder / "metrics.json", metrics),
        write_segmentations(folder / "predictions.csv", nodules),
        tuple(figures),
    )


def segmentation_table(metrics: Mapping[str, Estimate]) -> str:
    """The metrics as tables: against the consensus, beside the readers, and by the number of readers."""
    first = [
        ["this network", str(metrics["dice"].n), *(metrics[n].text(digits) for n, (_, digits) in _COLUMNS.items())]
    ]
    tables = [text_table(["against the consensus", "patients", *(head for head, _ in _COLUMNS.values())], first)]
    if metrics["reader_dice"].n:
        rows = [
            ["a reader", *(metrics[reader].text(3) for reader in _PAIRS)],
            ["this network", *(metrics[model].text(3) for model, _ in _PAIRS.values())],
            ["network - reader", *(metrics[_DIFFERENCE.format(reader)].text(3) for reader in _PAIRS)],
        ]
        header = [f"Dice, two readers or more, {metrics['reader_dice'].n} patients"]
        tables.append(text_table([*header, *(words for _, words in _PAIRS.values())], rows))
    counts = [name.split("_")[1] for name in metrics if name.startswith("dice_") and name.endswith("_readers")]
    rows = []
    for count in counts:
        names = [f"{name}_{count}_readers" for name in ("dice", "model_reader_dice", "reader_dice")]
        cells = [metrics[name].text(3) if name in metrics else "-" for name in names]
        rows.append([count, str(metrics[names[0]].n), *cells])
    header = ["readers", "patients", "network, consensus", "network, each reader", "readers with each other"]
    return "\n\n".join([*tables, text_table(header, rows)])


def write_segmentations(path: str | os.PathLike[str], nodules: Sequence[NoduleSegmentation]) -> Path:
    """Writes one row a nodule as CSV: ``nodule``, ``patient``, ``readers`` and its scores; empty where undefined."""
    return write_scores(path, _OWN, [((one.name, one.patient, one.readers), one.values) for one in nodules])


def read_segmentations(paths: Iterable[str | os.PathLike[str]]) -> list[NoduleSegmentation]:
    """The rows of one or several ``predictions.csv``: of the folds of a cross-validation, all nodules.

    Raises:
        DataError: a file is missing or of another kind, or a nodule is in two of them.
    """
    found: dict[str, NoduleSegmentation] = {}
    for path in paths:
        try:
            with open(path, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        missing = {*_OWN, *_COLUMNS, *_PAIRS} - set(rows[0] if rows else ())
        if missing:
            raise DataError(f"{path}: not of segmentations, whose rows have scores; lacks {', '.join(sorted(missing))}")
        for row in rows:
            if row["nodule"] in found:
                raise DataError(f"{path}: nodule {row['nodule']} is in another file as well; it may be in one")
            values = {name: float(value or "nan") for name, value in row.items() if name not in _OWN}
            found[row["nodule"]] = NoduleSegmentation(row["nodule"], row["patient"], int(row["readers"]), values)
    return list(found.values())
