"""Clinical tables (csv, xlsx): what they say of each patient, whatever the columns are called.

Tables are read, and T, N and M understood, by :mod:`monai_staging.tnm`; here they become the labels of patients.
Nothing is guessed: a code that the edition does not have leaves its letter unknown and is counted, and a patient whose
rows contradict each other is refused.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from monai_staging.cohort.clinical_rows import PARSERS, merge_rows
from monai_staging.errors import DataError, UsageError
from monai_staging.tnm.categories import LETTERS, PREFIXES, categories
from monai_staging.tnm.columns import find_column, find_columns, plain_name
from monai_staging.tnm.parse import CodeStatus, is_missing, plain
from monai_staging.tnm.reading import Row, open_table
from monai_staging.tnm.table import Rules, Staged, skip_extra_headers, stage_row

# Columns beside T, N, M and edition, by their names in the form of `plain_name`.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "patient": ("patient", "patient id", "patientid", "subject", "subject id", "case", "case id"),
    "stage": ("stage", "overall stage", "stage group", "clinical stage", "tnm stage"),
    "age": ("age", "age years", "age at diagnosis", "patient age"),
    "sex": ("sex", "gender", "patient sex"),
    "smoking": ("smoking", "smoking status", "smoking history"),
    "subtype": ("subtype", "histology", "histological subtype", "histologic subtype"),
}
_TNM_ROLES = ("t", "n", "m", "edition", "prefix")
ROLES = (*_TNM_ROLES, *ALIASES)


@dataclass(frozen=True)
class Labels:
    """What a table says about one patient, in the form of :class:`monai_staging.cohort.case.Case`."""

    t: tuple[str, ...]
    n: tuple[str, ...]
    m: tuple[str, ...]
    edition: str
    prefix: str
    subtype: str | None = None
    clinical: Mapping[str, Any] = field(default_factory=lambda: {"age": None, "sex": None, "smoking": None})


def unknown_labels(edition: str, prefix: str) -> Labels:
    """The labels of a patient nothing is known about: every letter the full set."""
    t, n, m = (categories(letter, edition) for letter in LETTERS)
    return Labels(t, n, m, edition, prefix)


@dataclass(frozen=True)
class ClinicalTable:
    """A table, read.

    Attributes:
        labels: by patient.
        conflicts: patients whose rows cannot be trusted or contradict each other, and how.
        columns: the header that was taken for each role.
        unknown_codes: per role, for how many of the patients in ``labels`` a value was not understood (missing ones
            do not count).
        rows_without_patient: rows left out since they name no patient.
        patients_without_edition: how many have unknown letters since neither table nor caller states their edition.
        notes: what there is to say about how the file was read.
    """

    labels: Mapping[str, Labels]
    conflicts: Mapping[str, str]
    columns: Mapping[str, str]
    unknown_codes: Mapping[str, Mapping[str, int]]
    rows_without_patient: int = 0
    patients_without_edition: int = 0
    notes: tuple[str, ...] = ()


def read_clinical(
    path: str | os.PathLike[str],
    *,
    edition: str,
    prefix: str | None = None,
    columns: Mapping[str, str] | None = None,
    aliases: Mapping[str, tuple[str, ...]] = ALIASES,
    patient_id: Callable[[str], str] = str,
    fill_edition: bool = False,
    default_prefix: str = "c",
) -> ClinicalTable:
    """Reads a clinical table. What a row states goes before ``edition`` and ``prefix``.

    Several rows of a patient are read as one: what one leaves out is taken from another, spelling makes no difference,
    and a patient whose rows mean different things is refused.

    Args:
        path: ``.csv``, ``.tsv`` or ``.xlsx`` (its first sheet).
        edition: the edition of the codes where the table has no column for it.
        prefix: the prefix of rows that state none in a column of their own, and the kind of columns to take where the
            table has clinical and pathological ones; None for that of the codes ("pT2") or of the columns' names.
        columns: role (one of :data:`ROLES`) to header, where the user names one.
        aliases: role to the headers it goes by; T, N, M and edition are recognised as by ``stage-table``.
        patient_id: from what the patient column holds to the PatientID of the images.
        fill_edition: whether ``edition`` also holds for rows that leave the table's edition column empty; their letters
            are unknown otherwise.
        default_prefix: the prefix where none of those says one.

    Raises:
        UsageError: there is no such file, a column that ``columns`` names is not there, several could be meant, or none
            holds T, N or M.
        DataError: the file cannot be read, or has no patient column.
    """
    path = Path(path)
    table = open_table(path)
    named = dict(columns or {})
    letters = {role: named.get(role) for role in _TNM_ROLES}
    rows = list(table.rows)
    tnm = find_columns(table.header, letters, prefix=prefix, with_prefix=True)
    if "prefix" not in named and tnm.prefix is not None and not _any_prefix(rows, tnm.prefix):
        # How the patients are addressed.
        tnm = find_columns(table.header, letters, prefix=prefix, with_prefix=False)
    found = {role: getattr(tnm, role) for role in letters if getattr(tnm, role) is not None}
    found |= _find(path, table.header, named, aliases)
    given = edition if tnm.edition is None or fill_edition else None
    rules = Rules(tnm, given, prefix, width=len(table.header), last_prefix=default_prefix, fill=True)
    unstated = unknown_labels(edition, prefix or tnm.kind or default_prefix)
    records, _ = skip_extra_headers(iter(rows), table.header, tnm)
    of_patient, without = _by_patient(records, found, patient_id)
    unknown: dict[str, Counter[str]] = defaultdict(Counter)
    labels: dict[str, Labels] = {}
    conflicts: dict[str, str] = {}
    without_edition = 0
    for patient, own in of_patient.items():
        values, contradictions = merge_rows([row for _, row in own], given)
        cells = (*(values.get(role, "") for role in _TNM_ROLES), "")
        staged = stage_row(cells, rules)
        long = [row.line for row, _ in own if any(row.cells[len(table.header) :])]
        if long:
            conflicts[patient] = f"{path.name}, {_lines(long)}: more cells than columns."
        elif contradictions:
            told = (f"{table.header[found[role]]} {a!r} and {b!r}" for role, (a, b) in contradictions.items())
            conflicts[patient] = f"{path.name}: rows contradict each other: {'; '.join(told)}."
        elif staged.edition is not None and staged.prefix is None:
            lines = _lines(row.line for row, _ in own)
            conflicts[patient] = f"{path.name}, {lines}: {', '.join(staged.notes)}."
        else:
            labels[patient] = _labels(values, staged, unstated, unknown)
            without_edition += staged.edition is None and is_missing(values.get("edition", ""))
    counts = {role: dict(sorted(counter.items())) for role, counter in sorted(unknown.items())}
    return ClinicalTable(
        labels=labels,
        conflicts=conflicts,
        columns={role: table.header[index] for role, index in found.items()},
        unknown_codes=counts,
        rows_without_patient=without,
        patients_without_edition=without_edition,
        notes=tuple(f"{path.name}: {note}." for note in table.notes if "Latin-1" in note or "sheets" in note),
    )


def _any_prefix(rows: Iterable[Row], column: int) -> bool:
    cells = (row.cells[column] for row in rows if column < len(row.cells))
    return any(plain(cell).lower() in PREFIXES for cell in cells)


def _by_patient(
    rows: Iterable[Row], found: Mapping[str, int], patient_id: Callable[[str], str]
) -> tuple[dict[str, list[tuple[Row, dict[str, str]]]], int]:
    """Rows and their cells by role, by patient; and the number of rows without one."""
    of_patient: dict[str, list[tuple[Row, dict[str, str]]]] = defaultdict(list)
    without = 0
    for row in rows:
        values = {role: row.cells[i].strip() if i < len(row.cells) else "" for role, i in found.items()}
        patient = values.pop("patient")
        if is_missing(patient):
            without += 1
        else:
            of_patient[patient_id(patient)].append((row, values))
    return of_patient, without


def _lines(lines: Iterable[int]) -> str:
    found = [str(line) for line in lines]
    return f"line{'s' if len(found) > 1 else ''} {', '.join(found)}"


def _labels(values: Mapping[str, str], staged: Staged, unstated: Labels, unknown: Mapping[str, Counter[str]]) -> Labels:
    if staged.edition is None:
        # Codes of an edition that is not stated, or is none of ours, could mean anything.
        if not is_missing(values.get("edition", "")):
            unknown["edition"][values["edition"]] += 1
        own = plain(values.get("prefix", ""))
        letters = replace(unstated, prefix=own) if own in PREFIXES else unstated
    else:
        for code in staged.codes:
            if code.status is CodeStatus.STRAY:
                unknown[code.letter][code.code] += 1
        t, n, m = (code.categories for code in staged.codes)
        letters = Labels(t, n, m, staged.edition, staged.prefix or unstated.prefix)
    clinical: dict[str, Any] = {}
    for role, parse in PARSERS.items():
        value = values.get(role, "")
        clinical[role] = parse(value)
        if clinical[role] is None and not is_missing(value):
            unknown[role][value] += 1
    if not is_missing(values.get("stage", "")):
        clinical["stage"] = values["stage"]
    subtype = values.get("subtype", "")
    return Labels(
        letters.t,
        letters.n,
        letters.m,
        letters.edition,
        letters.prefix,
        subtype=None if is_missing(subtype) else subtype,
        clinical=clinical,
    )


def _find(
    path: Path, header: Sequence[str], named: Mapping[str, str], aliases: Mapping[str, tuple[str, ...]]
) -> dict[str, int]:
    """The index of each role's column among ``aliases``."""
    found: dict[str, int] = {}
    for role, names in aliases.items():
        if role in named:
            found[role] = find_column(header, named[role])
            continue
        matches = [index for index, name in enumerate(header) if plain_name(name) in names]
        if len(matches) > 1:
            told = ", ".join(header[index] for index in matches)
            raise UsageError(f"{path.name}: several columns may hold {role}: {told}; name one with --{role}-column")
        if matches:
            found[role] = matches[0]
    if "patient" not in found:
        raise DataError(f"{path.name}: no patient column; it has {', '.join(header)}; name one with --patient-column")
    return found
