"""Who may be seen by a pretraining, and who validates it: decided by patient."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from monai_staging.cohort.case import IDENTITIES, Case
from monai_staging.errors import DataError, UsageError
from monai_staging.tnm.parse import plain

Excluded = str | os.PathLike[str] | Sequence[str] | None
"""Patients to leave out: a list, or a file with one."""


def read_patients(given: Excluded) -> tuple[str, ...]:
    """The patients of a list, or of a file: a JSON list, or one a line.

    Raises:
        DataError: a file that cannot be read, or is JSON but no list of texts.
    """
    if given is None:
        return ()
    if not isinstance(given, str | os.PathLike):
        return tuple(str(patient) for patient in given)
    path = Path(given)
    try:
        text = path.read_text(encoding="utf-8")
        listed = json.loads(text) if path.suffix == ".json" else [line.strip() for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: patients to leave out cannot be read ({type(error).__name__})") from error
    if not isinstance(listed, list) or not all(isinstance(patient, str) for patient in listed):
        raise DataError(f"{path}: patients to leave out must be a JSON list of texts, or a text with one a line")
    return tuple(patient for patient in listed if patient)


def scrubber(given: Excluded) -> Callable[[str], str] | None:
    """What takes listed patients out of a text: a list of them stands in the config, which is logged."""
    if given is None or isinstance(given, str | os.PathLike):
        return None
    names = sorted((re.escape(patient) for patient in read_patients(given)), key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(names)})(?!\w)") if names else None
    return (lambda text: pattern.sub("<patient>", text)) if pattern is not None else None


def digest(patients: Iterable[str]) -> str:
    """SHA-256 of a set of patients, however they are spelled and ordered, to compare two sets by."""
    return hashlib.sha256("\n".join(sorted({plain(patient) for patient in patients})).encode()).hexdigest()


def without_patients(cases: Sequence[Case], excluded: Sequence[str]) -> list[Case]:
    """The cases that share no patient, study or series with an excluded patient, directly or through others.

    Args:
        cases: of the whole cohort, test part included.
        excluded: patients, however they are spelled.

    Raises:
        DataError: patients to leave out, and the cohort has none of them: they are of another cohort, or misspelled.
    """
    names = {plain(patient) for patient in excluded}
    gone = {place for place, case in enumerate(cases) if plain(case.patient) in names}
    check_found(len(gone), names)
    while True:
        seen = {(kind, key(cases[place])) for place in gone for kind, key in IDENTITIES.items()}
        more = {
            place
            for place, case in enumerate(cases)
            if place not in gone and any((kind, key(case)) in seen for kind, key in IDENTITIES.items())
        }
        if not more:
            return [case for place, case in enumerate(cases) if place not in gone]
        gone |= more


def check_found(found: int, names: set[str]) -> None:
    """Refuses patients to leave out of which the data has none."""
    if names and not found:
        raise DataError(
            f"exclude_patients: none of the {len(names)} patients to leave out is in the data; they must be spelled as "
            "there, or a patient of a test set would be trained on"
        )


def validation_patients(patients: Iterable[str], share: float) -> set[str]:
    """A fixed share of the patients, at least one: whoever else is there, a patient's place in the draw is the same.

    Args:
        patients: of the data, however they are spelled.
        share: of them, above 0 and below 1.

    Returns:
        Patients in plain spelling.

    Raises:
        UsageError: a share out of range.
        DataError: fewer than two patients.
    """
    if not 0 < share < 1:
        raise UsageError(f"validation_share must be above 0 and below 1, found {share}")
    names = sorted({plain(name) for name in patients}, key=lambda name: hashlib.sha256(name.encode()).digest())
    if len(names) < 2:
        raise DataError(f"Pretraining: at least 2 patients are needed, one of them to validate; found {len(names)}")
    return set(names[: min(max(1, math.floor(share * len(names) + 0.5)), len(names) - 1)])
