"""Scalings of T, N and M fitted on patients, and each patient's probabilities as the *others* would scale them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.metrics.isotonic import IsotonicScaling
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.metrics.temperature import BoolArray, TemperatureScaling, possible_classes, says_something
from monai_staging.tnm.categories import LETTERS

METHODS: dict[str, type[TemperatureScaling] | type[IsotonicScaling]] = {
    "temperature": TemperatureScaling,
    "isotonic": IsotonicScaling,
}
FOLDS = 50
"""Most folds of a cross-fitting: a validation part of up to so many patients has one patient in each."""
Scaling: TypeAlias = TemperatureScaling | IsotonicScaling


def fit_scalings(predictions: StagingPredictions, method: str, rows: BoolArray | None = None) -> dict[str, Scaling]:
    """The scaling of each letter, by the truth of some rows.

    Rows of one patient share a weight of 1, so that every patient counts once.

    Args:
        predictions: probabilities and truth.
        method: one of ``METHODS``.
        rows: (rows) which of them; all by default.

    Raises:
        UsageError: another method.
    """
    if method not in METHODS:
        raise UsageError(f"Probabilities are calibrated by {' or '.join(METHODS)}, got {method!r}.")
    chosen = np.ones(len(predictions), dtype=bool) if rows is None else rows
    result: dict[str, Scaling] = {}
    for letter in LETTERS:
        possible = letter_sets(predictions, letter)
        used = says_something(possible) & chosen
        weights = _one_a_patient(predictions, used)
        result[letter] = METHODS[method].fit(getattr(predictions, letter), possible, weights)
    return result


def scaled(predictions: StagingPredictions, scalings: Mapping[str, Scaling]) -> StagingPredictions:
    """The same predictions with scaled letters, from which those of the stage group follow."""
    t, n, m = (scalings[letter].apply(getattr(predictions, letter)) for letter in LETTERS)
    return replace(predictions, t=t, n=n, m=m)


def cross_fitted(predictions: StagingPredictions, method: str) -> StagingPredictions:
    """Every patient's probabilities, scaled as the *other* patients say: what a new patient's would look like.

    Patients are dealt to folds as they come, one each up to ``FOLDS`` of them; nothing is random.

    Args:
        predictions: probabilities and truth.
        method: one of ``METHODS``.

    Raises:
        UsageError: another method.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(predictions.patients))}
    folds = np.array([numbers[name] % FOLDS for name in predictions.patients], dtype=np.int64)
    values = {letter: np.array(getattr(predictions, letter)) for letter in LETTERS}
    for fold in range(min(len(numbers), FOLDS)):
        inside = folds == fold
        for letter, scaling in fit_scalings(predictions, method, ~inside).items():
            values[letter][inside] = scaling.apply(values[letter][inside])
    return replace(predictions, t=values["t"], n=values["n"], m=values["m"])


def letter_sets(predictions: StagingPredictions, letter: str) -> BoolArray:
    """(rows, classes of the model) whether the truth of a letter may be the class."""
    return possible_classes(getattr(predictions, f"truth_{letter}"), predictions.classes[letter])


def _one_a_patient(predictions: StagingPredictions, used: BoolArray) -> FloatArray:
    """(rows) 1 over how many used rows the patient has; 0 where a row is not used."""
    _, index = np.unique(np.asarray(predictions.patients), return_inverse=True)
    counts = np.bincount(index, weights=used.astype(np.float64), minlength=1)[index]
    return np.asarray(np.divide(used, counts, out=np.zeros(len(used)), where=used))
