"""Scores of slices that are classified and ranked, study by study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monai_staging.errors import DataError
from monai_staging.metrics.classification import accuracy, balanced_accuracy, class_auroc, confusion
from monai_staging.metrics.intervals import Estimate, FloatArray, IntArray, weightings

TOP = (5, 10, 20)
"""How many slices of a study are looked at."""


@dataclass(frozen=True, eq=False)
class StudyScores:
    """What was said of a study's S slices.

    Attributes:
        case: its name, without identity.
        patient: likewise.
        places: (S) index of each in the volume.
        z_mm: (S) RAS height of each.
        truth: (S) 0 for no nodule, 1 benign, 2 malignant, -1 where nobody knows.
        probabilities: (S, 3).
        nodules: rows of the slices that show each nodule.
        peaks_mm: (S, 2) RAS x and y of what looks most like a nodule; NaN where the network does not say.
    """

    case: str
    patient: str
    places: IntArray
    z_mm: FloatArray
    truth: IntArray
    probabilities: FloatArray
    nodules: tuple[IntArray, ...]
    peaks_mm: FloatArray

    @property
    def suspicion(self) -> FloatArray:
        """(S) probability of a nodule, by which slices are ranked."""
        return 1 - self.probabilities[:, 0]

    @property
    def ranks(self) -> IntArray:
        """(S) rank of each slice, from 1; of equal ones the lower slice comes first."""
        ranks = np.empty(len(self.places), dtype=np.int64)
        ranks[np.argsort(-self.suspicion, kind="stable")] = np.arange(1, len(ranks) + 1)
        return ranks


def slice_metrics(studies: Sequence[StudyScores], *, seed: int = 0, n_boot: int = 1000) -> dict[str, Estimate]:
    """Scores with intervals over patients.

    ``balanced_accuracy``: the mean over the classes of the share that is recognised, as accuracy would be where classes
    are thinned to equal numbers; ``accuracy``: over all slices, most of which show nothing. ``auroc_nodule`` and
    ``auroc_malignant``, slice by slice. ``recall_at_k``: of the slices with a nodule in a study, the share among its k
    highest ranked, mean over studies; ``found_at_k``: share of nodules of which a slice is among these.

    Args:
        studies: scores; slices of which nobody knows are left out.
        seed: of the resampling.
        n_boot: how many resamples.

    Raises:
        DataError: no slice of known class.
    """
    known = [study.truth >= 0 for study in studies]
    if not sum(int(own.sum()) for own in known):
        raise DataError("Scores of slices need at least 1 slice of known class, found 0.")
    truth = np.concatenate([study.truth[own] for study, own in zip(studies, known, strict=True)])
    chances = np.concatenate([study.probabilities[own] for study, own in zip(studies, known, strict=True)])
    patients = [study.patient for study, own in zip(studies, known, strict=True) for _ in range(int(own.sum()))]
    draws = weightings(patients, n_boot, seed)
    matrix = confusion(truth, chances.argmax(axis=1), chances.shape[1], draws.weights)
    found = {
        "balanced_accuracy": draws.estimate(balanced_accuracy(matrix)),
        "accuracy": draws.estimate(accuracy(matrix)),
        "auroc_nodule": draws.estimate(class_auroc(truth > 0, 1 - chances[:, 0], draws.weights)),
        "auroc_malignant": draws.estimate(class_auroc(truth == 2, chances[:, 2], draws.weights)),
    }
    for k in TOP:
        recalls, whose, hits, of_nodules = [], [], [], []
        for study in studies:
            chosen = study.ranks <= k
            if (study.truth > 0).any():
                recalls.append(float(chosen[study.truth > 0].mean()))
                whose.append(study.patient)
            hits += [float(chosen[rows].any()) for rows in study.nodules]
            of_nodules += [study.patient] * len(study.nodules)
        for name, values, owners in ((f"recall_at_{k}", recalls, whose), (f"found_at_{k}", hits, of_nodules)):
            if values:
                found[name] = _mean(np.array(values), owners, n_boot, seed)
    return found


def accuracy_difference(
    studies: Sequence[StudyScores], others: Sequence[StudyScores], *, seed: int = 0, n_boot: int = 1000
) -> Estimate:
    """Balanced accuracy of ``studies`` less that of ``others`` on the same slices, with its interval over patients.

    Raises:
        DataError: they are not of the same slices.
    """
    first, second = (
        {(study.case, int(place)): row for study in group for row, place in enumerate(study.places)}
        for group in (studies, others)
    )
    if set(first) != set(second):
        raise DataError(
            f"A difference of accuracy is of the same slices; found {len(first)} and {len(second)}, not all in both"
        )
    by_case = {study.case: study for study in others}
    rows = [
        (
            study.patient,
            truth,
            chances.argmax(),
            by_case[study.case].probabilities[second[study.case, int(place)]].argmax(),
        )
        for study in studies
        for place, truth, chances in zip(study.places, study.truth, study.probabilities, strict=True)
        if truth >= 0
    ]
    patients, truth, one, other = zip(*rows, strict=True)
    draws = weightings(patients, n_boot, seed)
    one_score, other_score = (
        balanced_accuracy(confusion(truth, guess, studies[0].probabilities.shape[1], draws.weights))
        for guess in (one, other)
    )
    return draws.estimate(one_score - other_score)


def _mean(values: FloatArray, patients: Sequence[str], n_boot: int, seed: int) -> Estimate:
    draws = weightings(patients, n_boot, seed)
    return draws.estimate(draws.weights @ values / draws.weights.sum(axis=1))
