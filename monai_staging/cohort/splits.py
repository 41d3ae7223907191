"""Training, validation and test parts, and folds: grouped by patient, stratified by stage.

A patient is in one part and in one fold, whatever number of cases they have and however their name is spelled; patients
who share a study count as one. The same cases, options and seed give the same parts, in whatever order the cases come.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from monai_staging.cohort.case import IDENTITIES, Case
from monai_staging.errors import UsageError
from monai_staging.tnm.categories import LETTERS, main_category

Stratum = TypeVar("Stratum", int, str)


@dataclass(frozen=True)
class SplitOptions:
    """How to divide a cohort.

    Attributes:
        test: fraction of the patients held out, 0 to below 1.
        folds: number of cross-validation folds over the others; fold 0 is the validation part. 0 for none.
        validation: instead of folds, fraction of all patients in the validation part; the two exclude each other.
        seed: of the shuffling.
    """

    test: float = 0.2
    folds: int = 5
    validation: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.test < 1:
            raise UsageError(f"the test fraction must be 0 to below 1; got {self.test}")
        if self.folds < 0 or self.folds == 1:
            raise UsageError(f"folds must be 0 or at least 2; got {self.folds}")
        if self.validation is not None:
            if not 0 <= self.validation < 1 or self.validation + self.test >= 1:
                raise UsageError(
                    "the validation fraction must be 0 to below 1 and leave something to train on;"
                    f" got {self.validation} beside a test fraction of {self.test}"
                )
            if self.folds:
                raise UsageError("a validation fraction and folds exclude each other: fold 0 is the validation part")
        if self.seed < 0:
            raise UsageError(f"the seed must not be negative; got {self.seed}")


@dataclass(frozen=True)
class Split:
    """The parts; cases sorted by patient, study and series, with their ``fold`` set."""

    training: tuple[Case, ...]
    validation: tuple[Case, ...]
    test: tuple[Case, ...]
    folds: int


def split_cases(cases: Iterable[Case], options: SplitOptions, published: Mapping[str, int] | None = None) -> Split:
    """Divides cases by patient; those that share one of :data:`monai_staging.cohort.case.IDENTITIES` stay together.

    With fewer patients than asked for there are fewer folds (``Split.folds`` says how many); a part whose fraction is
    above 0 has at least one patient as soon as there are three patients, and the training part always has one.

    Args:
        cases: what to divide.
        options: how.
        published: the data set's own folds by SeriesInstanceUID. Where folds are asked for, they take the place of
            drawn ones, if there are two or more and every case outside the test part has one. A patient with series in
            several is in the first of them; the lowest fold is the validation part.
    """
    ordered = sorted((replace(case, fold=None) for case in cases), key=lambda c: (c.patient, c.study, c.series))
    patient_of = _patients(ordered)
    named = [replace(case, patient=patient_of[case.patient]) for case in ordered]
    patients = sorted(set(patient_of.values()))
    test = _draw(named, patients, part_size(options.test, len(patients)), options.seed)
    rest = [patient for patient in patients if patient not in test]
    folds = min(options.folds, len(rest)) if len(rest) > 1 else 0
    fold_of: dict[str, int] = {}
    if folds:
        in_folds = [case for case in named if case.patient not in test]
        fold_of = _published(in_folds, published or {}) or _folds(in_folds, folds, options.seed)
        folds = len(set(fold_of.values()))
        lowest = min(fold_of.values())
        validation = {patient for patient, fold in fold_of.items() if fold == lowest}
    else:
        count = min(part_size(options.validation or 0, len(patients)), len(rest) - 1)
        validation = _draw(named, rest, count, options.seed)
    parts: dict[str, list[Case]] = {"training": [], "validation": [], "test": []}
    for case in ordered:
        patient = patient_of[case.patient]
        part = "test" if patient in test else "validation" if patient in validation else "training"
        parts[part].append(replace(case, fold=fold_of.get(patient)))
    return Split(**{part: tuple(own) for part, own in parts.items()}, folds=folds)


def label_fraction(cases: Sequence[Case], fraction: float, seed: int = 0) -> tuple[Case, ...]:
    """The cases of a fraction of the patients, spread evenly over the main categories of T.

    Of the same seed a smaller fraction is part of a larger one. Patients who share a study or series count as one; at
    least one patient is kept.

    Args:
        cases: of a training part.
        fraction: of the patients, above 0 and up to 1; all cases, in their order, at 1.
        seed: of the draw; the same for all that is compared, another for a repetition.

    Raises:
        UsageError: a fraction out of range.
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"the label fraction must be above 0 and at most 1; got {fraction}")
    if fraction == 1:
        return tuple(cases)
    patient_of = _patients(cases)
    strata: dict[str, str] = {}
    for case in sorted(cases, key=lambda c: (c.patient, c.study, c.series)):
        strata.setdefault(patient_of[case.patient], _main(case, "t"))
    order = patient_order(list(strata), list(strata.values()), seed)
    kept = set(order[: max(1, math.floor(fraction * len(order) + 0.5))])
    return tuple(case for case in cases if patient_of[case.patient] in kept)


def patient_order(patients: Sequence[str], strata: Sequence[Stratum], seed: int) -> list[str]:
    """The patients shuffled, with every stratum spread evenly: any beginning of the list is a stratified sample."""
    of_patient = dict(zip(patients, strata, strict=True))
    groups: dict[Stratum, list[str]] = {}
    for patient in sorted(of_patient):
        groups.setdefault(of_patient[patient], []).append(patient)
    random = np.random.default_rng(seed)
    placed = []
    for stratum in sorted(groups):
        members = [groups[stratum][place] for place in random.permutation(len(groups[stratum]))]
        placed += [((rank + 0.5) / len(members), stratum, name) for rank, name in enumerate(members)]
    return [name for _, _, name in sorted(placed)]


def _patients(cases: Iterable[Case]) -> dict[str, str]:
    """For each patient the first of those that belong together: by spelling, or by a study or series in common."""
    first: dict[str, str] = {}

    def root(patient: str) -> str:
        while first[patient] != patient:
            patient = first[patient]
        return patient

    owner: dict[tuple[str, str], str] = {}
    for case in cases:
        own = root(first.setdefault(case.patient, case.patient))
        for kind, key in IDENTITIES.items():
            other = root(owner.setdefault((kind, key(case)), own))
            # The earlier in the alphabet stands for both, so that the order of cases makes no difference.
            own, later = min(own, other), max(own, other)
            first[later] = own
    return {patient: root(patient) for patient in first}


def part_size(fraction: float, patients: int) -> int:
    """How many patients a fraction of them is; never all, and at least one where there are three."""
    if fraction == 0 or patients < 3:
        return 0
    return min(max(1, math.floor(fraction * patients + 0.5)), patients - 2)


def _draw(cases: Sequence[Case], patients: Sequence[str], count: int, seed: int) -> set[str]:
    """``count`` of ``patients``, in the strata's proportions as far as whole patients allow."""
    if count < 1:
        return set()
    from sklearn.model_selection import StratifiedShuffleSplit

    # scikit-learn wants a member of every stratum on both sides, so there can be no more strata than places.
    strata = strata_of(cases, patients, minimum=2, most=min(count, len(patients) - count))
    splitter = StratifiedShuffleSplit(1, test_size=count, random_state=seed)
    _, drawn = next(splitter.split(np.zeros(len(patients)), [strata[patient] for patient in patients]))
    return {patients[index] for index in drawn}


def _published(cases: Sequence[Case], published: Mapping[str, int]) -> dict[str, int]:
    """The published fold of each patient; empty where they do not make folds of all the cases."""
    if not all(case.series in published for case in cases):
        return {}
    fold_of: dict[str, int] = {}
    for case in cases:
        fold = published[case.series]
        fold_of[case.patient] = min(fold, fold_of.get(case.patient, fold))
    return fold_of if len(set(fold_of.values())) > 1 else {}


def _folds(cases: Sequence[Case], folds: int, seed: int) -> dict[str, int]:
    from sklearn.model_selection import StratifiedGroupKFold

    patients = sorted({case.patient for case in cases})
    strata = strata_of(cases, patients, minimum=folds, most=len(patients))
    groups = [case.patient for case in cases]
    # A patient goes where their stratum, and then any, is rarest: with a patient for every fold none stays empty.
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold_of: dict[str, int] = {}
    for fold, (_, members) in enumerate(splitter.split(np.zeros(len(cases)), [strata[p] for p in groups], groups)):
        fold_of.update((groups[index], fold) for index in members)
    return fold_of


def strata_of(cases: Iterable[Case], patients: Sequence[str], minimum: int, most: int) -> dict[str, str]:
    """A stratum for each patient: T, N and M together where enough patients share them, coarser where they do not.

    Args:
        cases: of the patients, and maybe of others.
        patients: whom to give a stratum.
        minimum: patients a stratum must have; rarer ones are merged (T and M, then T alone, then whatever is left).
        most: strata there may be.
    """
    wanted = set(patients)
    letters: dict[str, tuple[str, str, str]] = {}
    for case in sorted(cases, key=lambda c: (c.patient, c.study, c.series)):
        if case.patient in wanted:
            letters.setdefault(case.patient, (_main(case, "t"), _main(case, "n"), _main(case, "m")))
    strata: dict[str, str] = {}
    for kept in ("tnm", "tm", "t"):
        names = {
            patient: "/".join(main if letter in kept else "*" for letter, main in zip(LETTERS, mains, strict=True))
            for patient, mains in letters.items()
            if patient not in strata
        }
        counts = Counter(names.values())
        strata.update((patient, name) for patient, name in names.items() if counts[name] >= minimum)
    strata.update((patient, "*") for patient in patients if patient not in strata)
    # The smallest strata join until every one is large enough and there are few enough.
    while len(counts := Counter(strata.values())) > 1:
        ranked = sorted(counts, key=lambda stratum: (counts[stratum], stratum))
        if counts[ranked[0]] >= minimum and len(counts) <= most:
            break
        joined = f"{ranked[0]} or {ranked[1]}"
        strata = {patient: joined if s in ranked[:2] else s for patient, s in strata.items()}
    return strata


def _main(case: Case, letter: str) -> str:
    """The main category of a letter, ``?`` where it is unknown or may be one of several."""
    found = {main_category(category) for category in getattr(case, letter)}
    return found.pop() if len(found) == 1 else "?"
