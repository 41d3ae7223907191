"""What arms predicted, as arrays that can be compared: rows are cases, the same in every arm."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monai_staging.errors import DataError
from monai_staging.metrics.binary import brier_score
from monai_staging.metrics.calibration import calibration_error
from monai_staging.metrics.classification import class_auroc
from monai_staging.metrics.folds import WeightedStatistic
from monai_staging.metrics.intervals import FloatArray
from monai_staging.metrics.levels import level_classes, true_classes
from monai_staging.metrics.operating_points import sensitivity_at_specificity
from monai_staging.tnm.categories import LETTERS, categories

FloatRows = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """A figure of merit.

    Attributes:
        name: key in tables.
        title: as readers know it.
        statistic: of truth, scores and weights.
        scale: see :func:`monai_staging.metrics.paired.permutation_p_value`.
        higher_is_better: whether more is better.
        outcome: which truth and scores it is of.
        curve: the validation metric that follows it during the training, if any.
        headline: whether the best arm is found by it.
    """

    name: str
    title: str
    statistic: WeightedStatistic
    scale: Literal["rank", "score"] = "score"
    higher_is_better: bool = True
    outcome: str = "label"
    curve: str | None = None
    headline: bool = False


@dataclass(frozen=True, eq=False)
class Outcome:
    """Truth and scores of one question, for the cases where the truth is known.

    Attributes:
        names: (rows) of the cases.
        patients: (rows) whose they are.
        truth: (rows).
        scores: (rows).
    """

    names: tuple[str, ...]
    patients: tuple[str, ...]
    truth: FloatRows
    scores: FloatRows


def _accuracy(truth: NDArray[np.float64], scores: FloatArray, weights: FloatArray) -> FloatArray:
    right = ((scores >= 0.5) == (truth == 1)).astype(np.float64)
    return _mean(right, weights)


def _right(truth: NDArray[np.float64], scores: FloatArray, weights: FloatArray) -> FloatArray:
    return _mean((scores == truth).astype(np.float64), weights)


def _mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    total = weights.sum(axis=1)
    mean: FloatArray = np.divide(weights @ values, total, out=np.full(len(total), np.nan), where=total > 0)
    return mean


def _ninety(truth: NDArray[np.float64], scores: FloatArray, weights: FloatArray) -> FloatArray:
    return sensitivity_at_specificity(truth, scores, weights, specificity=0.9)


MEASURES: dict[str, tuple[Measure, ...]] = {
    "nodules": (
        Measure("auroc", "AUC", class_auroc, "rank", curve="auroc", headline=True),
        Measure("accuracy", "accuracy", _accuracy, curve="accuracy"),
        Measure("sensitivity_at_90_specificity", "sensitivity at 90 % specificity", _ninety, "rank"),
        Measure("brier", "Brier score", brier_score, higher_is_better=False),
        Measure("ece", "calibration error", calibration_error, higher_is_better=False),
    ),
    "staging": tuple(
        Measure(
            f"{name}_accuracy",
            f"accuracy of {title}",
            _right,
            outcome=name,
            curve=f"{name}_accuracy",
            headline=name == "group",
        )
        for name, title in (("t", "T"), ("n", "N"), ("m", "M"), ("group", "the stage group"))
    ),
}
"""Figures of merit by kind of predictions; conclusions are drawn on the first of each outcome."""


def kind_of(header: Sequence[str]) -> str:
    """Which kind of predictions a ``predictions.csv`` with these columns holds.

    Raises:
        DataError: neither.
    """
    if "nodule" in header:
        return "nodules"
    if "truth_t" in header:
        return "staging"
    raise DataError(f"Predictions of a bundle that comparisons do not know; columns: {', '.join(header)}")


def read_outcomes(folder: Path) -> tuple[str, dict[str, Outcome]]:
    """The kind of an arm's predictions, and its outcomes by name.

    Raises:
        DataError: no ``predictions.csv``, or one of another form.
    """
    path = folder / "predictions.csv"
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if not rows:
        raise DataError(f"{path}: holds no case")
    kind = kind_of(list(rows[0]))
    return kind, _READERS[kind](rows, path)


def read_curve(folder: Path, name: str) -> tuple[list[float], list[float]]:
    """Validation metric after each epoch, and seconds of training until then; two empty lists where there are none."""
    try:
        epochs = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [], []
    rows = [row for row in epochs if f"val_{name}" in row]
    return [float(row[f"val_{name}"]) for row in rows], [float(row.get("seconds", 0.0)) for row in rows]


def _nodules(rows: Sequence[Mapping[str, str]], path: Path) -> dict[str, Outcome]:
    columns = [name for name in rows[0] if name.startswith("p_")]
    if len(columns) != 1:
        raise DataError(f"{path}: comparisons need two classes; found probabilities {', '.join(columns)}")
    positive = columns[0].removeprefix("p_")
    known = [row for row in rows if row["label"]]
    return {
        "label": Outcome(
            tuple(row["nodule"] for row in known),
            tuple(row["patient"] for row in known),
            np.array([float(row["label"] == positive) for row in known]),
            np.array([float(row[columns[0]]) for row in known]),
        )
    }


def _staging(rows: Sequence[Mapping[str, str]], path: Path) -> dict[str, Outcome]:
    editions = {row["edition"] for row in rows}
    if len(editions) > 1:
        raise DataError(f"{path}: predictions of one TNM edition are needed; found {', '.join(sorted(editions))}")
    edition = editions.pop()
    sets = {letter: [_possible(row[f"truth_{letter}"], letter, edition) for row in rows] for letter in LETTERS}
    truth = true_classes(sets["t"], sets["n"], sets["m"], edition)
    found = {}
    for name in (*LETTERS, "group"):
        classes = level_classes(edition)[name]
        known = np.flatnonzero(truth[name] >= 0)
        found[name] = Outcome(
            tuple(rows[int(row)]["study"] for row in known),
            tuple(rows[int(row)]["patient"] for row in known),
            truth[name][known].astype(np.float64),
            np.array([float(classes.index(rows[int(row)][f"predicted_{name}"])) for row in known]),
        )
    return found


def _possible(text: str, letter: str, edition: str) -> tuple[str, ...]:
    return categories(letter, edition) if text == "X" else tuple(text.split("|"))


_READERS: dict[str, Callable[[Sequence[Mapping[str, str]], Path], dict[str, Outcome]]] = {
    "nodules": _nodules,
    "staging": _staging,
}
