"""Predictions of a nodule classifier and their scores, for one class, several classes or several findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from monai_staging.errors import DataError
from monai_staging.metrics import classification
from monai_staging.metrics.binary import binary_metrics
from monai_staging.metrics.intervals import Estimate, FloatArray, patient_bootstrap


@dataclass(frozen=True, eq=False)
class NodulePredictions:
    """What a classifier says of some nodules.

    Attributes:
        names: (rows) each nodule's name.
        patients: (rows) whose it is.
        task: ``binary``, ``multi-class`` or ``multi-label``.
        classes: names of the classes or findings; two for ``binary``.
        labels: (rows, 1) class indices, or (rows, K) of 0 and 1 for ``multi-label``; NaN where unknown.
        probabilities: (rows, 1) of the second class for ``binary``, else (rows, K).
    """

    names: tuple[str, ...]
    patients: tuple[str, ...]
    task: str
    classes: tuple[str, ...]
    labels: FloatArray
    probabilities: FloatArray

    def __len__(self) -> int:
        return len(self.names)

    @property
    def known(self) -> NodulePredictions:
        """Those with a label."""
        rows = np.flatnonzero(~np.isnan(self.labels).any(axis=1))
        return NodulePredictions(
            tuple(self.names[row] for row in rows),
            tuple(self.patients[row] for row in rows),
            self.task,
            self.classes,
            self.labels[rows],
            self.probabilities[rows],
        )


def nodule_metrics(predictions: NodulePredictions, *, seed: int = 0, n_boot: int = 1000) -> dict[str, Estimate]:
    """Scores of the labelled nodules with intervals over patients.

    ``binary``: those of :func:`monai_staging.metrics.binary.binary_metrics`. Else ``auroc`` (mean over the classes or
    findings, one against the rest) and ``accuracy``, both as MedMNIST's evaluator defines them: several findings are
    called at a probability of .5 each, and their accuracies averaged.

    Raises:
        DataError: no nodule has a label.
    """
    known = predictions.known
    if not len(known):
        raise DataError("Scores need at least 1 nodule with a label, found 0.")
    patients = np.asarray(known.patients)
    labels = known.labels.astype(np.int64)
    if known.task == "binary":
        return binary_metrics(labels[:, 0], known.probabilities[:, 0], patients, seed=seed, n_boot=n_boot)
    several = known.task == "multi-label"
    scores = {"auroc": _findings_auroc, "accuracy": _findings_accuracy} if several else _CLASS_SCORES
    return {
        name: patient_bootstrap(score, patients, labels, known.probabilities, n=n_boot, seed=seed, weighted=True)
        for name, score in scores.items()
    }


def _class_auroc(labels: FloatArray, probabilities: FloatArray, weights: FloatArray) -> FloatArray:
    return classification.auroc(labels[:, 0], probabilities, weights)


def _class_accuracy(labels: FloatArray, probabilities: FloatArray, weights: FloatArray) -> FloatArray:
    right = probabilities.argmax(axis=1) == labels[:, 0]
    shares: FloatArray = weights @ right / weights.sum(axis=1)
    return shares


def _findings_auroc(labels: FloatArray, probabilities: FloatArray, weights: FloatArray) -> FloatArray:
    areas = [
        classification.class_auroc(labels[:, place] == 1, probabilities[:, place], weights)
        for place in range(labels.shape[1])
    ]
    mean: FloatArray = np.mean(areas, axis=0)
    return mean


def _findings_accuracy(labels: FloatArray, probabilities: FloatArray, weights: FloatArray) -> FloatArray:
    right = ((probabilities > 0.5) == (labels == 1)).mean(axis=1)
    shares: FloatArray = weights @ right / weights.sum(axis=1)
    return shares


_CLASS_SCORES: dict[str, Callable[..., FloatArray]] = {"auroc": _class_auroc, "accuracy": _class_accuracy}
