"""What sources give to the ingest engine, and what they share in making it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.case import Lesion
from monai_staging.cohort.clinical import ALIASES, ClinicalTable, Labels, read_clinical, unknown_labels
from monai_staging.cohort.clinical_values import parse_age_years, parse_sex
from monai_staging.cohort.dicom import Rejection, Rule, Scan, Series
from monai_staging.cohort.volume import Volume
from monai_staging.errors import UsageError
from monai_staging.tnm.categories import PREFIXES, check_edition

CONFLICTING_ROWS = "conflicting-clinical-rows"
ANNOTATION_WITHOUT_IMAGE = "annotation-without-image"
NO_TABLE = "No clinical table: T, N and M are unknown for every patient."


@dataclass(frozen=True)
class SourceOptions:
    """What the user says about the raw data.

    Attributes:
        clinical: the clinical table; ``None`` for the one the source finds in the raw data.
        edition: TNM edition of patients whose row states none; ``None`` for the source's where the table has no column
            for it, and for unknown letters where it has one.
        prefix: TNM prefix of patients whose row states none; ``None`` for what codes and headers say, or the source's.
        columns: role to header, where the table's headers need naming.
        annotations: the readers' annotations, a file or a folder; ``None`` for those the source finds in the raw data.
        unlabelled: whether studies that nobody has labelled yet become cases too.
    """

    clinical: Path | None = None
    edition: str | None = None
    prefix: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    annotations: Path | None = None
    unlabelled: bool = False

    def __post_init__(self) -> None:
        if self.edition is not None:
            object.__setattr__(self, "edition", check_edition(self.edition))
        if self.prefix is not None and self.prefix not in PREFIXES:
            raise UsageError(f"prefix must be one of {', '.join(PREFIXES)}; got {self.prefix!r}")


@dataclass(frozen=True)
class Annotation:
    """What is in one volume.

    Attributes:
        lesions: the lesions.
        mask: uint8 or uint16 on the volume's grid, lesions by their labels; ``None`` where the source has none.
        rejections: annotations that could not be placed.
    """

    lesions: tuple[Lesion, ...] = ()
    mask: npt.NDArray[np.unsignedinteger[Any]] | None = None
    rejections: tuple[Rejection, ...] = ()


class Annotator(Protocol):
    """Places a source's annotations in a volume, in a worker process: picklable, and light until it is asked."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files it reads."""
        ...

    def fingerprint(self) -> Any:
        """Everything else the outcome depends on, as a JSON value."""
        ...

    def annotate(self, series: Series, volume: Volume) -> Annotation:
        """The annotation of ``volume``, which was read from ``series``."""
        ...


@dataclass(frozen=True, eq=False)
class Job:
    """One case to make: a CT series, what the clinical table says, who places the annotations, and who reads it.

    ``reader`` reads a series that is not DICOM: a module's function, since workers are sent it. It raises
    :class:`SeriesRefused` as :func:`read_series` does.
    """

    series: Series
    labels: Labels
    annotator: Annotator | None = None
    reader: Callable[[Series], Volume] | None = None


@dataclass(frozen=True)
class Report:
    """What the user is told about the raw data beside the cases.

    Attributes:
        clinical: the table's name; ``None`` without one.
        unknown_codes: see :class:`monai_staging.cohort.clinical.ClinicalTable`.
        patients_without_images: patients of the table that no CT series belongs to.
        patients_without_row: patients with CT series whom the table does not have.
        notes: sentences, one a matter.
    """

    clinical: str | None = None
    unknown_codes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    patients_without_images: tuple[str, ...] = ()
    patients_without_row: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a source found: cases to make, what it refused, and what it has to say.

    ``folds`` are the folds that the data set publishes, by SeriesInstanceUID.
    """

    jobs: tuple[Job, ...]
    rejections: tuple[Rejection, ...]
    report: Report
    folds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Defaults:
    """What a source assumes of its clinical table.

    Attributes:
        edition: TNM edition.
        prefix: TNM prefix of patients of whom nothing else says one.
        aliases: headers by role, beside T, N, M and edition.
        table: patterns of the table's name, looked for in the raw folder and the folders in it.
        patient_id: from the table's patient to PatientID.
    """

    edition: str = "8"
    prefix: str = "c"
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: ALIASES)
    table: tuple[str, ...] = ("clinical.csv", "clinical.tsv", "clinical.xlsx")
    patient_id: Callable[[str], str] = str


def find_table(raw: Path, options: SourceOptions, patterns: tuple[str, ...]) -> Path | None:
    """The clinical table: the user's, or the only file under ``raw`` that a pattern names; ``None`` without one."""
    if options.clinical is not None:
        return options.clinical
    found = sorted({path for pattern in patterns for depth in ("", "*/") for path in raw.glob(depth + pattern)})
    if len(found) > 1:
        names = ", ".join(path.relative_to(raw).as_posix() for path in found)
        raise UsageError(f"{raw}: several clinical tables ({names}); name one")
    return found[0] if found else None


def build_plan(
    raw: Path,
    scanned: Scan,
    options: SourceOptions,
    defaults: Defaults,
    annotator_of: Callable[[Series], Annotator | None],
    *,
    annotations: tuple[str, ...] = (),
    rejections: tuple[Rejection, ...] = (),
    notes: tuple[str, ...] = (),
) -> Plan:
    """The plan of a tree: one case for every CT series, labelled by patient.

    Args:
        raw: the raw data's folder.
        scanned: its DICOM files.
        options: the user's.
        defaults: the source's.
        annotator_of: who places the annotations of a CT series.
        annotations: modalities the source takes care of itself; any other than CT is refused.
        rejections: what the source refused.
        notes: what the source has to say.
    """
    edition = options.edition or defaults.edition
    path = find_table(raw, options, defaults.table)
    table = None
    if path is not None:
        table = read_clinical(
            path,
            edition=edition,
            prefix=options.prefix,
            columns=options.columns,
            aliases=defaults.aliases,
            patient_id=defaults.patient_id,
            # A source's edition is that of its own table; only the user can say what another one leaves out.
            fill_edition=options.edition is not None,
            default_prefix=defaults.prefix,
        )
        notes += table.notes
        missing = [letter.upper() for letter in "tnm" if letter not in table.columns]
        if missing:
            notes += (f"{path.name} has no column for {', '.join(missing)}: unknown for every patient.",)
        if table.rows_without_patient:
            notes += (f"{path.name} has {table.rows_without_patient} rows without a patient.",)
        if table.patients_without_edition:
            count = table.patients_without_edition
            notes += (f"{path.name} states no edition for {count} patients: T, N and M left unknown; see --edition.",)
    else:
        notes += (NO_TABLE,)
    jobs = []
    refused = [*scanned.rejections, *rejections]
    for series in scanned:
        if series.modality == "CT":
            if table is not None and series.patient in table.conflicts:
                refused.append(reject(series, CONFLICTING_ROWS, table.conflicts[series.patient]))
            else:
                labels = labels_of(series, table, edition, options.prefix or defaults.prefix)
                jobs.append(Job(series, labels, annotator_of(series)))
        elif series.modality not in annotations:
            found = f"{len(series.files)} files of modality {series.modality or 'not given'}, no CT."
            refused.append(reject(series, Rule.NOT_CT.value, found))
    imaged = {series.patient for series in scanned if series.modality == "CT"}
    report = Report(
        clinical=None if path is None else path.name,
        unknown_codes={} if table is None else table.unknown_codes,
        patients_without_images=() if table is None else tuple(sorted(_patients(table) - imaged)),
        patients_without_row=() if table is None else tuple(sorted(imaged - _patients(table))),
        notes=notes,
    )
    return Plan(tuple(jobs), tuple(refused), report)


def labels_of(series: Series, table: ClinicalTable | None, edition: str, prefix: str) -> Labels:
    """The labels of a series' patient; age and sex from the images where the table does not say."""
    labels = table.labels.get(series.patient) if table is not None else None
    labels = labels or unknown_labels(edition, prefix)
    clinical = dict(labels.clinical)
    if clinical.get("age") is None:
        clinical["age"] = parse_age_years(series.attributes.get("PatientAge", ""))
    if clinical.get("sex") is None:
        clinical["sex"] = parse_sex(series.attributes.get("PatientSex", ""))
    return replace(labels, clinical=clinical)


def reject(series: Series, rule: str, found: str) -> Rejection:
    """A series' record for ``rejected.json``."""
    return Rejection(series.patient, series.study, series.series, rule, found, tuple(map(str, series.files)))


def _patients(table: ClinicalTable) -> set[str]:
    return set(table.labels) | set(table.conflicts)
