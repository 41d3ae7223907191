"""Which patients of a data store are never trained on: drawn by a keyed hash, written down, and kept as labels grow."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from monai_staging.cohort.case import Case
from monai_staging.cohort.cohort import Cohort
from monai_staging.cohort.lesion_groups import lesion_group
from monai_staging.cohort.privacy import case_name
from monai_staging.errors import DataError
from monai_staging.files import write_json_atomic
from monai_staging.tnm.parse import plain
from monai_staging.workflows.chest_data import TARGET

FRACTION = 0.25
"""Chance of a patient to be held out for validation."""
FEWEST = 2
"""Patients of each part: an interval over patients needs two of them."""


class HeldOut:
    """The validation part of a data store.

    A patient is drawn when first seen with a label, and stays where they are: networks of one month and of the next are
    compared on patients that neither was trained on. Names in the file are keyed hashes.

    Args:
        path: where it is written.
        key: of the hash, see :func:`monai_staging.cohort.privacy.load_key`.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self.path = path
        self.key = key

    def divide(self, cohort: Cohort) -> Cohort:
        """What can be trained on, in two parts, saved; patients not seen before are drawn and written down first.

        That is every case with an outline of a lesion in the lung.

        Raises:
            DataError: there are too few patients for two parts, or the file is damaged.
        """
        usable = [case for case in cohort.cases if _usable(case)]
        cases = sorted(usable, key=lambda case: (case.patient, case.study, case.series))
        drawn = self._drawn([self._name(case) for case in cases])
        parts: dict[bool, list[Case]] = {True: [], False: []}
        for case in cases:
            parts[drawn[self._name(case)]].append(replace(case, fold=None))
        divided = replace(cohort, training=tuple(parts[False]), validation=tuple(parts[True]), test=(), digest="")
        divided.save()
        return divided

    def _name(self, case: Case) -> str:
        return case_name(plain(case.patient), self.key)

    def _drawn(self, names: Sequence[str]) -> dict[str, bool]:
        """Whether each patient is held out."""
        drawn = self._read()
        patients = set(names)
        if len(patients) < 2 * FEWEST:
            raise DataError(
                f"Train: {FEWEST} labelled patients to train on and {FEWEST} to validate on are needed; "
                f"found {len(patients)} in all."
            )
        new = sorted(patients - set(drawn), key=self._chance)
        held = sum(drawn.get(name, False) for name in patients)
        trained = len(patients) - len(new) - held
        for place, name in enumerate(new):
            left = len(new) - place
            # Who comes first has the smallest number: those are held out, as many as both parts' needs allow.
            out = (self._chance(name) < FRACTION or held < FEWEST) and trained + left - 1 >= FEWEST
            drawn[name] = out
            held, trained = held + out, trained + (not out)
        if held < FEWEST or trained < FEWEST:
            raise DataError(
                f"Train: {FEWEST} labelled patients to train on and {FEWEST} to validate on are needed, and nobody "
                f"changes sides; found {trained} and {held}."
            )
        if new:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json_atomic(self.path, {name: drawn[name] for name in sorted(drawn)})
        return drawn

    def _chance(self, name: str) -> float:
        """A number from 0 to 1 that belongs to the patient."""
        digest = hmac.new(self.key, b"held out " + name.encode(), hashlib.sha256).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    def _read(self) -> dict[str, bool]:
        if not self.path.is_file():
            return {}
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError:
            document = None
        if not isinstance(document, dict) or not all(isinstance(own, bool) for own in document.values()):
            raise DataError(f"{self.path.name}: the division of patients is damaged; it is not drawn anew.")
        return document


def _usable(case: Case) -> bool:
    groups = {lesion_group(lesion.kind, lesion.site) for lesion in case.lesions if lesion.label is not None}
    return case.mask is not None and bool(groups & set(TARGET))
