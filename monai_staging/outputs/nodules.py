"""Everything an evaluation of a nodule classifier leaves behind: metrics, one row a nodule, figures and the table."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_staging.files import atomic_path
from monai_staging.metrics.intervals import Estimate
from monai_staging.metrics.nodules import NodulePredictions, nodule_metrics
from monai_staging.outputs.figures_nodules import calibration_figure, nodule_roc_figure, nodules_figure
from monai_staging.outputs.table import text_table, write_metrics

# Columns of the printed table: metric to heading.
_COLUMNS = {
    "auroc": "AUC",
    "accuracy": "accuracy",
    "sensitivity_at_90_specificity": "sens. at 90 % spec.",
    "brier": "Brier",
    "ece": "calibration error",
}
_THIS = "this network"


@dataclass(frozen=True)
class NoduleEvaluation:
    """What :func:`write_nodule_evaluation` wrote.

    Attributes:
        metrics: of the predictions; empty where no nodule has a label.
        others: of the other methods, by name.
        table: all of them as text.
        metrics_path: ``metrics.json``, not written without metrics.
        predictions_path: ``predictions.csv``.
        figures: the PNG files.
    """

    metrics: Mapping[str, Estimate]
    others: Mapping[str, Mapping[str, Estimate]]
    table: str
    metrics_path: Path
    predictions_path: Path
    figures: tuple[Path, ...]

    @property
    def files(self) -> list[Path]:
        """The files that are no figures."""
        return [path for path in (self.metrics_path, self.predictions_path) if path.is_file()]


def write_nodule_evaluation(
    output_dir: str | os.PathLike[str],
    predictions: NodulePredictions,
    others: Mapping[str, NodulePredictions],
    *,
    title: str = "",
    seed: int = 0,
    n_boot: int = 1000,
    pictures: Callable[[Sequence[str]], list[Any]] | None = None,
) -> NoduleEvaluation:
    """Writes ``metrics.json``, ``predictions.csv`` and ``figures/*.png`` to a folder; prints nothing.

    ``metrics.json`` names another method's scores ``<method>_<metric>``.

    Args:
        output_dir: the folder, made where it does not exist.
        predictions: probabilities and labels.
        others: of other methods on the same nodules.
        title: what the data is; says so of phantoms.
        seed: of the resampling.
        n_boot: how many resamples.
        pictures: gives (C, H, W) uint8 of nodules by name, for the figures; none are drawn without.
    """
    folder = Path(output_dir)
    labelled = bool(len(predictions.known))
    metrics = nodule_metrics(predictions, seed=seed, n_boot=n_boot) if labelled else {}
    rest = {name: nodule_metrics(other, seed=seed, n_boot=n_boot) for name, other in others.items() if labelled}
    path = folder / "metrics.json"
    if metrics:
        flat = {f"{name}_{metric}": value for name, scores in rest.items() for metric, value in scores.items()}
        write_metrics(path, {**metrics, **flat})
    figures: list[Path] = []
    if pictures is not None and predictions.task == "binary" and metrics:
        every = {_THIS: predictions, **others}
        areas = {_THIS: metrics["auroc"], **{name: scores["auroc"] for name, scores in rest.items()}}
        figures.append(nodule_roc_figure(folder / "figures" / "roc.png", every, areas, subtitle=title))
        figures.append(calibration_figure(folder / "figures" / "reliability.png", predictions, metrics, subtitle=title))
        figures.append(nodules_figure(folder / "figures" / "nodules.png", predictions, pictures, subtitle=title))
    return NoduleEvaluation(
        metrics,
        rest,
        _table({_THIS: metrics, **rest}) if metrics else "",
        path,
        write_nodule_predictions(folder / "predictions.csv", predictions, others),
        tuple(figures),
    )


def write_nodule_predictions(
    path: str | os.PathLike[str], predictions: NodulePredictions, others: Mapping[str, NodulePredictions] | None = None
) -> Path:
    """Writes one row a nodule as CSV.

    Columns: ``nodule``, ``patient``, ``label`` (the class's name, findings joined by ``|``, empty where unknown),
    ``predicted``, then ``p_<class>`` (of ``binary`` the second class alone) and ``p_<class>_<method>`` of others.
    """
    classes = predictions.classes[1:] if predictions.task == "binary" else predictions.classes
    header = ["nodule", "patient", "label", "predicted", *(f"p_{name}" for name in classes)]
    header += [f"p_{name}_{method}" for method in others or {} for name in classes]
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row, name in enumerate(predictions.names):
            values = [*predictions.probabilities[row]]
            values += [value for other in (others or {}).values() for value in other.probabilities[row]]
            cells = [name, predictions.patients[row], _label(predictions, row), _predicted(predictions, row)]
            writer.writerow([*cells, *(f"{value:.6g}" for value in values)])
    return Path(path)


def _label(predictions: NodulePredictions, row: int) -> str:
    label = predictions.labels[row]
    if np.isnan(label).any():
        return ""
    if predictions.task == "multi-label":
        return "|".join(name for name, there in zip(predictions.classes, label, strict=True) if there)
    return predictions.classes[int(label[0])]


def _predicted(predictions: NodulePredictions, row: int) -> str:
    chance = predictions.probabilities[row]
    if predictions.task == "binary":
        return predictions.classes[int(chance[0] >= 0.5)]
    if predictions.task == "multi-class":
        return predictions.classes[int(chance.argmax())]
    return "|".join(name for name, value in zip(predictions.classes, chance, strict=True) if value > 0.5)


def _table(methods: Mapping[str, Mapping[str, Estimate]]) -> str:
    columns = {metric: heading for metric, heading in _COLUMNS.items() if metric in methods[_THIS]}
    rows = [
        [name, str(scores["auroc"].n), *(scores[metric].text(3) for metric in columns)]
        for name, scores in methods.items()
    ]
    return text_table(["", "patients", *columns.values()], rows)
