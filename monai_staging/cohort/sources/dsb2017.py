"""Data Science Bowl 2017 (https://www.kaggle.com/c/data-science-bowl-2017): low-dose chest CTs, cancer or not.

``stage1`` and ``stage2`` with one folder of DICOM files a patient, named by PatientID; ``stage1_labels.csv`` for the
patients to train on, ``stage1_solution.csv`` and ``stage2_solution.csv`` for those to test on, each with ``id`` and
``cancer``: 1 if lung cancer was diagnosed within a year of the scan. Nobody drew or staged anything. ``sample_images``
holds copies of scans of ``stage1``; those and the sample submissions are left alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from monai_staging.cohort.dicom import Rejection, Rule, Scan, Series, with_progress
from monai_staging.cohort.dicom.scan import group
from monai_staging.cohort.sources.base import (
    CONFLICTING_ROWS,
    Defaults,
    Job,
    Plan,
    Report,
    SourceOptions,
    build_plan,
    find_table,
    reject,
)
from monai_staging.errors import DataError
from monai_staging.tnm.parse import is_missing
from monai_staging.tnm.reading import open_table

STAGES = ("stage1", "stage2")
TABLES = ("stage1_labels.csv", "stage1_solution.csv", "stage2_solution.csv")
_CANCER = {"0": False, "1": True}


@dataclass(frozen=True)
class CancerTable:
    """What the tables say: cancer or not by patient (``None`` where they do not say), contradictions, strange values.

    ``unknown`` counts the values that are neither 0 nor 1.
    """

    names: tuple[str, ...]
    cancer: Mapping[str, bool | None]
    conflicts: Mapping[str, str]
    unknown: Mapping[str, int]


def plan(raw: Path, options: SourceOptions) -> Plan:
    """What there is to ingest; the user's table goes before those in the tree.

    Raises:
        DataError: there is neither ``stage1`` nor ``stage2``, or a table lacks a column.
        UsageError: a table is there twice.
    """
    folders = [raw / name for name in STAGES if (raw / name).is_dir()]
    if not folders:
        raise DataError(f"{raw}: no folder {' or '.join(STAGES)}; the patients' folders are in them")
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    scanned, misplaced = _in_place(group(paths, watch=with_progress))
    found = (find_table(raw, options, (name,)) for name in TABLES)
    table = read_cancer(dict.fromkeys(path for path in found if path is not None))
    made = build_plan(
        raw,
        scanned,
        # The table has no T, N and M, and build_plan would look for them.
        replace(options, clinical=None),
        Defaults(table=()),
        lambda series: None,
        rejections=misplaced,
    )
    jobs, rejections = label_cancer(made.jobs, table)
    return Plan(jobs, (*made.rejections, *rejections), _report(table, {job.series.patient for job in made.jobs}))


def label_cancer(jobs: Iterable[Job], table: CancerTable) -> tuple[tuple[Job, ...], tuple[Rejection, ...]]:
    """The jobs with ``clinical["cancer"]`` as the table has it, and the series that its contradictions refuse."""
    labelled, rejections = [], []
    for job in jobs:
        patient = job.series.patient
        if patient in table.conflicts:
            rejections.append(reject(job.series, CONFLICTING_ROWS, table.conflicts[patient]))
        else:
            clinical = {**job.labels.clinical, "cancer": table.cancer.get(patient)}
            labelled.append(replace(job, labels=replace(job.labels, clinical=clinical)))
    return tuple(labelled), tuple(rejections)


def read_cancer(paths: Iterable[Path]) -> CancerTable:
    """What tables with the columns ``id`` and ``cancer`` say, taken together.

    Raises:
        DataError: one cannot be read, or lacks a column.
    """
    names, unknown = [], Counter[str]()
    said: dict[str, dict[bool, str]] = defaultdict(dict)
    for path in paths:
        names.append(path.name)
        table = open_table(path)
        header = [name.strip() for name in table.header]
        missing = [name for name in ("id", "cancer") if name not in header]
        if missing:
            raise DataError(f"{path.name} has no column {' and '.join(missing)}; it has {', '.join(header)}")
        for row in table.rows:
            values = dict(zip(header, map(str.strip, row.cells), strict=False))
            patient, value = values["id"], values.get("cancer", "")
            if is_missing(patient):
                continue
            of_patient = said[patient]
            if value in _CANCER:
                of_patient.setdefault(_CANCER[value], f"{path.name}, line {row.line}: cancer {value}")
            elif not is_missing(value):
                unknown[value] += 1
    return CancerTable(
        names=tuple(names),
        cancer={patient: next(iter(own), None) for patient, own in said.items()},
        conflicts={
            patient: f"rows contradict each other: {'; '.join(own.values())}."
            for patient, own in said.items()
            if len(own) > 1
        },
        unknown=dict(sorted(unknown.items())),
    )


def _in_place(scanned: Scan) -> tuple[Scan, tuple[Rejection, ...]]:
    """The series in their patient's folder; in another's, nothing tells whose label is theirs."""
    kept: list[Series] = []
    rejections = []
    for series in scanned:
        folders = sorted({path.parent.name for path in series.files})
        if folders == [series.patient]:
            kept.append(series)
        else:
            found = f"PatientID {series.patient} in the folder {' and '.join(folders)}; refuse to guess whose it is."
            rejections.append(reject(series, Rule.AMBIGUOUS_IDENTITY.value, found))
    return replace(scanned, series=tuple(kept)), tuple(rejections)


def _report(table: CancerTable, imaged: set[str]) -> Report:
    notes = ["T, N and M are unknown for every patient: the data set has none."]
    if table.names:
        known = [table.cancer[patient] for patient in imaged if table.cancer.get(patient) is not None]
        notes.append(f"Cancer was diagnosed in {sum(map(bool, known))} of {len(known)} patients with images and label.")
    else:
        notes.append(f"None of {', '.join(TABLES)} is there: nothing is known of any patient's cancer.")
    return Report(
        clinical=", ".join(table.names) or None,
        unknown_codes={"cancer": table.unknown} if table.unknown else {},
        patients_without_images=tuple(sorted(set(table.cancer) - imaged)),
        patients_without_row=tuple(sorted(imaged - set(table.cancer))) if table.names else (),
        notes=tuple(notes),
    )
