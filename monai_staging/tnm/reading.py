"""Clinical tables as rows of cells: text in any common delimiter and encoding, or a workbook."""

from __future__ import annotations

import codecs
import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from monai_staging.archives import check_zip
from monai_staging.errors import DataError, UsageError

_WORKBOOKS = (".xlsx", ".xlsm")
_DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon"}


@dataclass(frozen=True)
class Row:
    """One record as text: its line in the file (a spreadsheet's row number; a header is mostly line 1) and cells."""

    line: int
    cells: list[str]


@dataclass(frozen=True)
class Table:
    """A clinical table being read.

    Attributes:
        header: the column names.
        rows: the records under the header, blank ones left out; can be gone through once.
        about: about how many records there are, for a progress bar.
        notes: what was found out about the file (delimiter, encoding, sheet, lines skipped above the header).
    """

    header: list[str]
    rows: Iterator[Row]
    about: int
    notes: tuple[str, ...]


def open_table(path: str | Path, *, sheet: str | None = None) -> Table:
    """Opens a table; the rows are read as they are gone through.

    Text is comma, tab or semicolon separated (by the header) in UTF-8, with or without a byte order mark, or UTF-16
    with one; anything else is read as Latin-1, and a note says so. Workbooks are read through openpyxl, the values
    of formulas as last saved.

    Args:
        path: the file.
        sheet: the sheet of a workbook; its first by default.

    Raises:
        UsageError: no such file or sheet, or a kind of file that is not read.
        DataError: an empty or damaged file, or (while the rows are gone through) text that is not a delimited table.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"Table {path}: no such file.")
    if path.suffix.lower() in _WORKBOOKS:
        return _open_workbook(path, sheet)
    if path.suffix.lower() in (".xls", ".ods"):
        raise UsageError(f"Table {path}: {path.suffix} is not read; save it as xlsx or csv.")
    if sheet is not None:
        raise UsageError(f"Table {path}: only a workbook (xlsx) has sheets.")
    return _open_text(path)


def _open_text(path: Path) -> Table:
    encoding, lines = _encoding(path)
    try:
        with open(path, encoding=encoding, newline="") as file:
            head = list(itertools.islice(file, 200))
    except UnicodeError as error:
        raise DataError(f"Table {path}: not a text in {encoding} throughout ({error}).") from None
    delimiter = _delimiter(head)
    notes = [f"{_DELIMITERS[delimiter]} separated, {'UTF-8' if encoding == 'utf-8-sig' else encoding}"]
    if encoding == "latin-1":
        notes[0] += " (not valid UTF-8, so read as Latin-1; letters with accents may be wrong)"
    return _table(_text_rows(path, encoding, delimiter), lines, notes, path)


def _encoding(path: Path) -> tuple[str, int]:
    """The encoding of a text file and its number of line ends."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    encoding, lines = "utf-8-sig", 0
    with open(path, "rb") as file:
        start = file.read(2)
        if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            encoding = "utf-16"
        file.seek(0)
        while chunk := file.read(1 << 20):
            lines += chunk.count(b"\n")
            if encoding == "utf-8-sig":
                try:
                    decoder.decode(chunk)
                except UnicodeDecodeError:
                    encoding = "latin-1"
    try:
        if encoding == "utf-8-sig":
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        encoding = "latin-1"
    return encoding, lines


def _delimiter(head: list[str]) -> str:
    """The delimiter that gives the first line with content the most columns (comments do not count), else comma."""
    lines = [line for line in head if line.strip() and not line.startswith("#")] or head
    first = lines[0] if lines else ""
    counts = {delimiter: _columns(first, delimiter) for delimiter in _DELIMITERS}
    return max(counts, key=lambda delimiter: counts[delimiter])


def _columns(line: str, delimiter: str) -> int:
    """How many columns a line has; 0 where it is none, which is said when the rows are read."""
    try:
        return len(next(csv.reader([line], delimiter=delimiter), []))
    except csv.Error:
        return 0


def _text_rows(path: Path, encoding: str, delimiter: str) -> Iterator[Row]:
    with open(path, encoding=encoding, newline="") as file:
        # Strict: a quote that never closes would otherwise swallow the rows after it without a word.
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        line = 1
        while True:
            try:
                cells = next(reader, None)
            except (csv.Error, UnicodeError) as error:
                raise DataError(f"Table {path}, record at line {line}: not a delimited table ({error}).") from error
            if cells is None:
                return
            if any(cells):
                yield Row(line, cells)
            line = reader.line_num + 1


def _open_workbook(path: Path, sheet: str | None) -> Table:
    from openpyxl import load_workbook

    check_zip(path)
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except Exception as error:
        # openpyxl passes on whatever zipfile and the XML parser raise.
        raise DataError(f"Table {path}: not a readable workbook ({error}).") from error
    names = book.sheetnames
    if sheet is not None and sheet not in names:
        raise UsageError(f"Table {path}: no sheet {sheet!r}; it has {', '.join(map(repr, names))}.")
    chosen = book[sheet] if sheet is not None else book.worksheets[0]
    # The stored extent is wrong in files of some writers, which would cut rows off.
    chosen.reset_dimensions()
    others = f"; the workbook has {len(names)} sheets, --sheet takes another" if len(names) > 1 and not sheet else ""

    def rows() -> Iterator[Row]:
        try:
            for line, cells in enumerate(chosen.iter_rows(values_only=True), start=1):
                if any(cell not in (None, "") for cell in cells):
                    yield Row(line, ["" if cell is None else str(cell) for cell in cells])
        except Exception as error:
            raise DataError(f"Table {path}: sheet {chosen.title!r} cannot be read ({error}).") from error
        finally:
            book.close()

    return _table(rows(), 0, [f"sheet {chosen.title!r}{others}"], path)


def _table(records: Iterator[Row], lines: int, notes: list[str], path: Path) -> Table:
    """Takes the header off; two or more lines with a leading # above it are cBioPortal's and are skipped."""
    comments: list[Row] = []
    header = next(records, None)
    while header is not None and str(header.cells[0]).startswith("#"):
        comments.append(header)
        header = next(records, None)
    if len(comments) == 1:
        # A single one is a header whose first column is called "#...".
        records = itertools.chain([header] if header else [], records)
        header = comments.pop()
    if header is None:
        raise DataError(f"Table {path}: empty, not even a header.")
    if comments:
        notes.append(f"skipped {len(comments)} lines of comment (#) above the header")
    names = [str(cell).strip() for cell in header.cells]
    while names and not names[-1]:
        names.pop()
    return Table(names, records, max(0, lines - header.line), tuple(notes))
