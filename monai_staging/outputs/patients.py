"""Everything an evaluation of patients leaves behind: metrics, a row a patient, a row a nodule, curves, the table."""

from __future__ import annotations

import csv
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_staging.errors import DataError
from monai_staging.files import atomic_path
from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.metrics.patients import Decision, patient_metrics
from monai_staging.outputs.figures_nodules import calibration_figure, nodule_roc_figure
from monai_staging.outputs.table import text_table, write_metrics

COLUMNS = {
    "auroc": "AUC",
    "log_loss": "log-loss",
    "accuracy": "accuracy",
    "brier": "Brier",
    "ece": "calibration error",
}
"""Of the printed table: metric to heading."""
# Characters over a curve.
_LINE = 60
HEADER = ("study", "patient", "label", "predicted", "p_cancer", "p_calibrated")
NODULES = ("study", "nodule", "x_mm", "y_mm", "z_mm", "size_mm", "score", "says", "rating")


@dataclass(frozen=True)
class PatientEvaluation:
    """What :func:`write_patient_evaluation` wrote.

    Attributes:
        metrics: of the predictions; empty where no patient has a label.
        table: they and those of other methods as text.
        files: those that are no figures, ``metrics.json`` first where there are metrics.
        figures: the PNG files.
    """

    metrics: Mapping[str, Estimate]
    table: str
    files: tuple[Path, ...]
    figures: tuple[Path, ...]


def write_patient_evaluation(
    output_dir: str | os.PathLike[str],
    predictions: NodulePredictions,
    decision: Decision,
    others: Mapping[str, NodulePredictions] | None = None,
    *,
    more: Mapping[str, Estimate] | None = None,
    what: str = "this network",
    title: str = "",
    seed: int = 0,
    n_boot: int = 1000,
    figures: bool = True,
) -> PatientEvaluation:
    """Writes ``metrics.json``, ``predictions.csv``, ``figures/roc.png`` and ``reliability.png``; prints nothing.

    Args:
        output_dir: the folder, made where it does not exist.
        predictions: of the patients.
        decision: threshold and temperature, chosen on others.
        others: other methods on the same patients, in ``metrics.json`` as ``<method>_<metric>``.
        more: further metrics.
        what: whose the predictions are, for the table.
        title: what the data is; says so of phantoms.
        seed: of the resampling.
        n_boot: how many resamples.
        figures: whether the curves are drawn.
    """
    folder = Path(output_dir)
    files = [write_patient_predictions(folder / "predictions.csv", predictions, decision)]
    if not len(predictions.known):
        return PatientEvaluation({}, "", tuple(files), ())
    metrics = patient_metrics(predictions, decision, seed=seed, n_boot=n_boot)
    calibrated = {name: metrics.get(f"calibrated_{name}", metrics[name]) for name in COLUMNS}
    rows = {what: metrics, f"{what}, temperature {decision.temperature:.2f}": calibrated}
    every = {what: predictions}
    flat: dict[str, Estimate] = {}
    for name, other in (others or {}).items():
        rows[name] = patient_metrics(other, Decision(), seed=seed, n_boot=n_boot)
        every[name] = other
        flat |= {f"{name}_{metric}": rows[name][metric] for metric in COLUMNS}
    files.insert(0, write_metrics(folder / "metrics.json", {**metrics, **(more or {}), **flat}))
    drawn = []
    if figures:
        areas = {name: rows[name]["auroc"] for name in every}
        lines = textwrap.fill(title, _LINE)
        drawn.append(nodule_roc_figure(folder / "figures" / "roc.png", every, areas, subtitle=lines))
        path = folder / "figures" / "reliability.png"
        drawn.append(calibration_figure(path, predictions, metrics, subtitle=lines, what="patients"))
    return PatientEvaluation(metrics, patient_table(rows), tuple(files), tuple(drawn))


def patient_table(rows: Mapping[str, Mapping[str, Estimate]], columns: Mapping[str, str] = COLUMNS) -> str:
    """A row a method, value [95 % interval] in each cell."""
    cells = [
        [name, str(scores["auroc"].n), *(scores[metric].text(3) for metric in columns)] for name, scores in rows.items()
    ]
    return text_table(["", "patients", *columns.values()], cells)


def write_patient_predictions(path: str | os.PathLike[str], predictions: NodulePredictions, decision: Decision) -> Path:
    """Writes one row a study as CSV, columns :data:`HEADER`; names are keyed hashes, an unknown label is empty."""
    calibrated = decision.calibrated(predictions.probabilities[:, 0])
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for row, name in enumerate(predictions.names):
            label, chance = predictions.labels[row, 0], predictions.probabilities[row, 0]
            known = "" if label != label else int(label)
            called = int(chance >= decision.threshold)
            # Numbers are written so that the same are read back.
            numbers = (repr(float(chance)), repr(float(calibrated[row])))
            writer.writerow([name, predictions.patients[row], known, called, *numbers])
    return Path(path)


def read_patient_predictions(path: str | os.PathLike[str]) -> tuple[NodulePredictions, list[int]]:
    """What :func:`write_patient_predictions` wrote, and each row's call, 0 or 1.

    Raises:
        DataError: there is no such file, or a column is missing or no number.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        labels = [float(row["label"] or "nan") for row in rows]
        chances = [float(row["p_cancer"]) for row in rows]
        called = [int(row["predicted"]) for row in rows]
        names, patients = (tuple(row[name] for row in rows) for name in ("study", "patient"))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: columns {', '.join(HEADER)} are needed ({type(error).__name__}: {error})") from None
    found = NodulePredictions(
        names,
        patients,
        "binary",
        ("no cancer", "cancer"),
        np.array(labels, dtype=np.float64).reshape(-1, 1),
        np.array(chances, dtype=np.float64).reshape(-1, 1),
    )
    return found, called


def write_nodules(path: str | os.PathLike[str], rows: Iterable[Sequence[str | float]]) -> Path:
    """Writes one row a nodule as CSV, columns :data:`NODULES`: middle in RAS mm, longest side of the box, and so on."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(NODULES)
        writer.writerows(rows)
    return Path(path)
