"""LUNA16's files: annotations, marks and the list of scans; comma, tab or semicolon separated.

Coordinates are LPS millimetres on both sides and stay so, since only distances count.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.froc.findings import Findings, Marks
from monai_staging.metrics.intervals import FloatArray
from monai_staging.tnm.columns import find_column, plain_name
from monai_staging.tnm.reading import Row, open_table

SCAN, COORDINATES, DIAMETER, SCORE = "seriesuid", ("coordX", "coordY", "coordZ"), "diameter_mm", "probability"
SCAN_NAMES = (SCAN, "series uid", "seriesinstanceuid", "series instance uid", "series", "scan")
PATIENT_NAMES = ("patient", "patient id", "patientid", "subject", "subject id")
_MOST_STRATA = 24


@dataclass(frozen=True)
class ScanList:
    """The scans that were searched.

    Attributes:
        scans: their SeriesInstanceUIDs.
        patients: scan to patient; ``None`` where the list does not say.
    """

    scans: tuple[str, ...]
    patients: dict[str, str] | None


def read_scans(path: str | os.PathLike[str]) -> ScanList:
    """Reads a list of scans, as ``seriesuids.csv``: one SeriesInstanceUID a line.

    A header is optional; with one (``seriesuid``), a column called ``patient`` or ``patient_id`` says whose each is.

    Raises:
        UsageError: no such file.
        DataError: the list is empty, names a scan twice or leaves its patient out, or has several columns without a
            header.
    """
    path = Path(path)
    table = open_table(path)
    names = [plain_name(name) for name in table.header]
    rows = list(table.rows)
    patients: dict[str, str] | None = None
    scan_column, patient_column = 0, None
    if any(name in SCAN_NAMES for name in names):
        scan_column = next(place for place, name in enumerate(names) if name in SCAN_NAMES)
        patient_column = next((place for place, name in enumerate(names) if name in PATIENT_NAMES), None)
    else:
        rows.insert(0, Row(1, list(table.header)))
        wide = next((row for row in rows if any(cell.strip() for cell in row.cells[1:])), None)
        if wide is not None:
            raise DataError(
                f"{path.name}, line {wide.line}: a list of scans is one SeriesInstanceUID a line, or has a header with "
                f"{SCAN}; found {len(wide.cells)} columns without one."
            )
    if patient_column is not None:
        patients = {}
    scans: dict[str, int] = {}
    for row in rows:
        scan = row.cells[scan_column].strip() if scan_column < len(row.cells) else ""
        if not scan and not any(cell.strip() for cell in row.cells):
            continue
        if not scan:
            raise DataError(f"{path.name}, line {row.line}: a scan has a SeriesInstanceUID, found none.")
        if scan in scans:
            raise DataError(f"{path.name}: a scan is listed once; {scan} is in lines {scans[scan]} and {row.line}.")
        scans[scan] = row.line
        if patients is not None and patient_column is not None:
            patients[scan] = row.cells[patient_column].strip() if patient_column < len(row.cells) else ""
            if not patients[scan]:
                raise DataError(
                    f"{path.name}, line {row.line}: every scan has a patient where the list has patients; "
                    f"{scan} has none."
                )
    if not scans:
        raise DataError(f"{path.name}: a list of scans names at least 1, found 0.")
    return ScanList(tuple(scans), patients)


def read_findings(path: str | os.PathLike[str], *, by: str | None = None) -> tuple[Findings, tuple[str, ...]]:
    """Reads ``annotations.csv`` or ``annotations_excluded.csv``: seriesuid, coordX, coordY, coordZ, diameter_mm.

    Args:
        path: the table; a diameter below 0 stands for an unknown one.
        by: a further column, to divide the findings by.

    Returns:
        The findings (LPS mm), and the value of ``by`` for each ("unknown" where the cell is empty; nothing without).

    Raises:
        UsageError: no such file, or no column ``by``.
        DataError: a column is missing, or a cell is no finite number.
    """
    scans, values, strata = _read(Path(path), DIAMETER, by)
    return Findings(scans, values[:, :3], values[:, 3]), tuple(cell or "unknown" for cell in strata)


def read_marks(path: str | os.PathLike[str]) -> Marks:
    """Reads a detector's marks: seriesuid, coordX, coordY, coordZ, probability (any number that grows with certainty).

    Raises:
        UsageError: no such file.
        DataError: a column is missing, or a cell is no finite number.
    """
    scans, values, _ = _read(Path(path), SCORE, None)
    return Marks(scans, values[:, :3], values[:, 3])


def size_strata(
    diameters_mm: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]], edges_mm: Sequence[float]
) -> tuple[str, ...]:
    """The size class of each lesion: ``"0-6 mm"``, ``"6-10 mm"`` (6 and more, below 10), ``"10 mm and more"``.

    Args:
        diameters_mm: (N) below 0 where unknown.
        edges_mm: at least one, ascending, above 0.

    Raises:
        UsageError: the edges are not ascending numbers above 0.
    """
    edges = list(edges_mm)
    if not edges or edges != sorted(set(edges)) or not edges[0] > 0 or not math.isfinite(edges[-1]):
        raise UsageError(
            f"Edges of size classes ascend and are above 0 mm, got {', '.join(f'{edge:g}' for edge in edges)}."
        )
    names = [f"{low:g}-{high:g} mm" for low, high in zip([0.0, *edges], edges, strict=False)]
    names.append(f"{edges[-1]:g} mm and more")
    sizes = np.asarray(diameters_mm, dtype=np.float64)
    places = np.searchsorted(edges, sizes, side="right")
    return tuple("unknown" if size < 0 else names[place] for size, place in zip(sizes, places, strict=True))


def check_strata(strata: Sequence[str], column: str) -> None:
    """Refuses a column that names lesions rather than kinds of them.

    Raises:
        UsageError: it has more than 24 different values.
    """
    count = len(set(strata))
    if count > _MOST_STRATA:
        raise UsageError(
            f"Column {column!r} divides the lesions into {count} strata, at most {_MOST_STRATA} are shown; "
            "divide a number by --sizes or by a column of classes."
        )


def _read(path: Path, last: str, by: str | None) -> tuple[tuple[str, ...], FloatArray, list[str]]:
    """(N) scans, (N, 4) coordinates and the number of the column ``last``, and (N) cells of the column ``by``."""
    table = open_table(path)
    names = (*COORDINATES, last)
    try:
        columns = [find_column(table.header, name) for name in (SCAN, *names)]
    except UsageError as error:
        raise DataError(f"{path.name}: {error}") from None
    extra = None if by is None else find_column(table.header, by)
    pick, width = itemgetter(*columns), len(table.header)
    scans, numbers, strata = [], [], []
    for row in table.rows:
        cells = row.cells
        if len(cells) != width or not cells[columns[0]]:
            if not any(map(str.strip, cells)):
                continue
            if any(map(str.strip, cells[width:])):
                # A decimal comma, or a row that is shifted: no cell of it is trusted.
                raise DataError(
                    f"{path.name}, line {row.line}: a row has a cell a column, "
                    f"found {len(cells)} cells for {width} columns."
                )
            cells = [*cells, *[""] * width][:width]
        scan, x, y, z, value = pick(cells)
        scan = scan.strip()
        try:
            found = (float(x), float(y), float(z), float(value))
        except ValueError:
            found = (math.nan,) * 4
        # A sum is finite only if each of its terms is.
        if not scan or not math.isfinite(sum(found)):
            _refuse(path, row.line, scan, names, (x, y, z, value))
        scans.append(scan)
        numbers.append(found)
        if extra is not None:
            strata.append(cells[extra].strip())
    return tuple(scans), np.array(numbers, dtype=np.float64).reshape(-1, 4), strata


def _refuse(path: Path, line: int, scan: str, names: Sequence[str], cells: Sequence[str]) -> None:
    """Says what is wrong with a row, if anything is: the sum of finite numbers may be too large to be one."""
    if not scan:
        raise DataError(f"{path.name}, line {line}: {SCAN} is empty.")
    for name, cell in zip(names, cells, strict=True):
        try:
            good = math.isfinite(float(cell))
        except ValueError:
            good = False
        if not good:
            raise DataError(f"{path.name}, line {line}: {name} is a finite number, found {cell.strip()!r}.")
