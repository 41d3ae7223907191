"""Folds, parts and nested label fractions of a nodule set, by patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monai_staging.cohort.nodules.nodule import PARTS, NoduleSet
from monai_staging.cohort.splits import patient_order
from monai_staging.errors import DataError, UsageError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class NoduleSplit:
    """How to divide a nodule set.

    Attributes:
        folds: of the cross-validation; a source with an official split keeps that and has no folds. 0 trains on all
            that is not for validation and tests on none.
        fold: which of them is the test part, from 0.
        validation: share of the other patients that validate; 0 for none.
        label_fraction: share of the training patients whose labels may be used. Of the same seed, a smaller fraction
            is always a subset of a larger one.
        split_seed: of folds and validation: one division for all arms and repetitions of an experiment.
        seed: of the label fraction: another repetition draws other patients.
    """

    folds: int = 5
    fold: int = 0
    validation: float = 0.0
    label_fraction: float = 1.0
    split_seed: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds and (self.folds < 2 or not 0 <= self.fold < self.folds):
            raise UsageError(
                f"Nodule split: no folds or at least 2, and one of them from 0 on; found {self.fold} of {self.folds}"
            )
        if not 0 <= self.validation < 1:
            raise UsageError(f"Nodule split: the validation share is 0 to below 1; found {self.validation}")
        if not 0 < self.label_fraction <= 1:
            raise UsageError(f"Nodule split: the label fraction is above 0 and at most 1; found {self.label_fraction}")


def split_nodules(nodules: NoduleSet, split: NoduleSplit, unlabelled: bool = False) -> dict[str, Indices]:
    """Indices of the nodules in each part; those without a label are in none.

    Args:
        nodules: to be divided.
        split: how.
        unlabelled: whether all are divided where none has a label, for what is learnt from outlines alone.

    The folds are scikit-learn's ``StratifiedGroupKFold``: a patient is in one fold, classes are balanced over folds.

    Raises:
        DataError: fewer patients than folds, or a part that is needed comes out empty.
    """
    labelled = np.array(nodules.labelled, dtype=np.int64)
    if unlabelled and not len(labelled):
        labelled = np.arange(len(nodules), dtype=np.int64)
    if not len(labelled):
        raise DataError(f"{nodules.name}: no nodule has a label; at least one is needed.")
    official = {nodules.records[index].part for index in labelled}
    if official != {None}:
        parts = {part: _of_part(nodules, labelled, part) for part in PARTS}
    else:
        parts = _folds(nodules, labelled, split)
    parts["training"] = _fraction(nodules, parts["training"], split)
    for part in ("training", "test") if split.folds else ("training",):
        if not len(parts[part]):
            raise DataError(f"{nodules.name}: the {part} part is empty.")
    return parts


def _of_part(nodules: NoduleSet, labelled: Indices, part: str) -> Indices:
    return np.array([index for index in labelled if nodules.records[index].part == part], dtype=np.int64)


def _classes(nodules: NoduleSet, indices: Indices) -> Indices:
    """One class an item to stratify by: the label, or whether there is any finding."""
    labels = [nodules.records[index].label or (0,) for index in indices]
    return np.array([label[0] if len(label) == 1 else int(any(label)) for label in labels], dtype=np.int64)


def _folds(nodules: NoduleSet, labelled: Indices, split: NoduleSplit) -> dict[str, Indices]:
    from sklearn.model_selection import StratifiedGroupKFold

    patients = np.array([_drawn_as(nodules)[nodules.records[index].patient] for index in labelled])
    count = len(set(patients))
    if count < split.folds:
        raise DataError(f"{nodules.name}: {split.folds} folds need as many patients; found {count}.")
    training, validation, test = labelled, labelled[:0], labelled[:0]
    if split.folds:
        folds = StratifiedGroupKFold(split.folds, shuffle=True, random_state=split.split_seed)
        classes = _classes(nodules, labelled)
        rest, held_out = list(folds.split(classes, classes, patients))[split.fold]
        training, test = labelled[rest], labelled[held_out]
    if split.validation:
        order = _order(nodules, training, split.split_seed)
        kept = set(order[max(1, round(split.validation * len(order))) :])
        inside = np.array([nodules.records[index].patient in kept for index in training])
        training, validation = training[inside], training[~inside]
    return {"training": training, "validation": validation, "test": test}


def _fraction(nodules: NoduleSet, training: Indices, split: NoduleSplit) -> Indices:
    if split.label_fraction >= 1:
        return training
    order = _order(nodules, training, split.seed)
    kept = set(order[: max(2, round(split.label_fraction * len(order)))])
    return np.array([index for index in training if nodules.records[index].patient in kept], dtype=np.int64)


def _order(nodules: NoduleSet, indices: Indices, seed: int) -> list[str]:
    """The patients of these nodules, stratified by their highest class."""
    highest: dict[str, int] = {}
    for index, label in zip(indices, _classes(nodules, indices), strict=True):
        patient = nodules.records[index].patient
        highest[patient] = max(highest.get(patient, 0), int(label))
    drawn_as = _drawn_as(nodules)
    patient_of = {drawn_as[patient]: patient for patient in highest}
    order = patient_order([drawn_as[patient] for patient in highest], list(highest.values()), seed)
    return [patient_of[name] for name in order]


def _drawn_as(nodules: NoduleSet) -> dict[str, str]:
    """By which name each patient is drawn: of a cohort by place, as its names come from a key that is another in every
    folder, and the same seed is to give the same parts."""
    patients = dict.fromkeys(record.patient for record in nodules.records)
    keyed = nodules.source == "cohort"
    return {patient: f"{place:08}" if keyed else patient for place, patient in enumerate(patients)}
