"""Which slices are learned from and which are held out: by patient, or at random as published, which leaks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monai_staging.cohort.case import Case
from monai_staging.cohort.cohort import Cohort
from monai_staging.cohort.splits import SplitOptions, split_cases
from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import IntArray
from monai_staging.tnm.parse import plain

KINDS = ("cohort", "patient", "slice")


@dataclass(frozen=True)
class SliceSplit:
    """How to divide slices.

    Attributes:
        kind: ``cohort``, the cohort's own parts; ``patient``, patients drawn within each subtype; ``slice``, slices
            drawn at random within each subtype, so that slices of one patient are on both sides. It leaks, and is here
            to be set beside the others.
        held_out: fraction of the patients or slices in the test part, where they are drawn.
        seed: of the draw.
    """

    kind: str = "cohort"
    held_out: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"Slice split: one of {', '.join(KINDS)} is needed, found {self.kind!r}")
        if not 0 < self.held_out < 1:
            raise UsageError(f"Slice split: the fraction held out lies between 0 and 1, found {self.held_out}")


def split_slices(cohort: Cohort, cases: Sequence[Case], owner: IntArray, split: SliceSplit) -> dict[str, IntArray]:
    """Rows of the slices in ``training``, ``validation`` and ``test``; only the cohort's own parts have the second.

    Args:
        cohort: the cohort.
        cases: those that are used.
        owner: (slices) whose each slice is, as a place in ``cases``.
        split: how.

    Raises:
        DataError: a part to train on or to test by comes out empty.
    """
    if split.kind == "slice":
        parts = _by_slice(cases, owner, split)
    else:
        of_series = _by_cohort(cohort) if split.kind == "cohort" else _by_patient(cases, split)
        names = np.array([of_series[case.series] for case in cases])[owner]
        parts = {part: np.flatnonzero(names == part) for part in ("training", "validation", "test")}
    for part in ("training", "test"):
        if not len(parts[part]):
            raise DataError(
                f"Cohort {cohort.name}: the {part} part of split {split.kind!r} has no slice with a tumour's box, of "
                f"{len(cases)} cases; a split by patient needs 3 patients of a subtype"
            )
    return parts


def leaking_patients(cases: Sequence[Case], owner: IntArray, parts: Mapping[str, IntArray]) -> frozenset[str]:
    """The patients with slices in the test part and elsewhere, as :func:`monai_staging.tnm.parse.plain` spells them."""
    of_case = np.array([plain(case.patient) for case in cases])
    learned = {name for part in ("training", "validation") for name in of_case[owner[parts[part]]]}
    return frozenset(str(name) for name in learned & set(of_case[owner[parts["test"]]]))


def _by_cohort(cohort: Cohort) -> dict[str, str]:
    return {case.series: part for part, cases in cohort.parts.items() for case in cases}


def _by_patient(cases: Sequence[Case], split: SliceSplit) -> dict[str, str]:
    """Drawn within each subtype, so that the same patients are held out whichever subtypes are used."""
    found: dict[str, str] = {}
    for subtype in {case.subtype for case in cases}:
        own = [case for case in cases if case.subtype == subtype]
        drawn = split_cases(own, SplitOptions(test=split.held_out, folds=0, seed=split.seed))
        found |= {case.series: part for part in ("training", "test") for case in getattr(drawn, part)}
    return found


def _by_slice(cases: Sequence[Case], owner: IntArray, split: SliceSplit) -> dict[str, IntArray]:
    subtypes = np.array([case.subtype or "" for case in cases])[owner]
    test: list[int] = []
    for subtype in np.unique(subtypes):
        rows = np.flatnonzero(subtypes == subtype)
        order = np.random.default_rng(split.seed).permutation(len(rows))
        test += rows[order[: math.floor(split.held_out * len(rows) + 0.5)]].tolist()
    held_out = np.zeros(len(owner), dtype=bool)
    held_out[test] = True
    return {
        "training": np.flatnonzero(~held_out),
        "validation": np.zeros(0, dtype=np.int64),
        "test": np.flatnonzero(held_out),
    }
