from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest
from openpyxl import Workbook

from monai_staging.errors import DataError, UsageError
from monai_staging.tnm.reading import open_table


def cells(path: Path, **options: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    table = open_table(path, **options)
    return table.header, [(row.line, row.cells) for row in table.rows]


@pytest.mark.parametrize(("delimiter", "name"), [(",", "comma"), ("\t", "tab"), (";", "semicolon")])
def test_delimiters(tmp_path: Path, delimiter: str, name: str) -> None:
    path = tmp_path / "table.txt"
    path.write_text(f"id{delimiter}T{delimiter}N\na{delimiter}1{delimiter}0\n", encoding="utf-8")
    assert open_table(path).notes == (f"{name} separated, UTF-8",)
    assert cells(path) == (["id", "T", "N"], [(2, ["a", "1", "0"])])


def test_a_quoted_delimiter_is_no_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('"a;b;c;d",T,"N, or so"\n"x, y",1,"0\n1"\nz,2,0\n', encoding="utf-8")
    assert cells(path) == (["a;b;c;d", "T", "N, or so"], [(2, ["x, y", "1", "0\n1"]), (4, ["z", "2", "0"])])


@pytest.mark.parametrize(
    ("encoding", "note"),
    [("utf-8", "UTF-8"), ("utf-8-sig", "UTF-8"), ("utf-16", "utf-16"), ("latin-1", "latin-1 (not valid UTF-8")],
)
def test_encodings(tmp_path: Path, encoding: str, note: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text("Größe,T\n1,2a\n", encoding=encoding)
    assert cells(path) == (["Größe", "T"], [(2, ["1", "2a"])])
    assert note in open_table(path).notes[0]


def test_a_file_cut_within_a_character_is_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("T,N\n1,é".encode()[:-1])
    assert "latin-1" in open_table(path).notes[0]


@pytest.mark.parametrize("rows", [1, 500])
def test_a_utf_16_file_cut_within_a_character_is_refused(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(("T,N\n" + "1,0\n" * rows).encode("utf-16")[:-1])
    with pytest.raises(DataError, match=r"table\.csv.*truncated data"):
        list(open_table(path).rows)


def test_blank_lines_are_no_rows_and_lines_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("\nT,N,\r\n\r\n,,\r\n1,0,\r\n", encoding="utf-8")
    assert cells(path) == (["T", "N"], [(5, ["1", "0", ""])])
    assert open_table(path).about == 3


def test_comment_lines_above_the_header_are_skipped_and_said(tmp_path: Path) -> None:
    path = tmp_path / "cbioportal.txt"
    path.write_text("#Patient\tT stage\n#STRING\tSTRING\nPATIENT_ID\tPATH_T_STAGE\na\tT2\n", encoding="utf-8")
    assert cells(path) == (["PATIENT_ID", "PATH_T_STAGE"], [(4, ["a", "T2"])])
    assert open_table(path).notes[1] == "skipped 2 lines of comment (#) above the header"


def test_a_single_line_with_a_hash_is_the_header(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("#,T\n1,2a\n", encoding="utf-8")
    assert cells(path) == (["#", "T"], [(2, ["1", "2a"])])
    path.write_text("#,T\n", encoding="utf-8")
    assert cells(path) == (["#", "T"], [])


@pytest.mark.parametrize("content", ["", "\n\n", "#a\n#b\n"])
def test_an_empty_table_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="empty, not even a header"):
        open_table(path)


def test_a_name_of_a_column_without_end_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"T,{'N' * 200_000}\n1,0\n", encoding="utf-8")
    with pytest.raises(DataError, match="record at line 1: not a delimited table .field larger than field limit"):
        cells(path)


def test_a_quote_that_never_closes_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('T,N\n1,0\n"2,0\n3,0\n', encoding="utf-8")
    with pytest.raises(DataError, match="record at line 3: not a delimited table"):
        list(open_table(path).rows)


def test_files_that_are_not_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        open_table(tmp_path / "none.csv")
    (tmp_path / "old.xls").write_bytes(b"")
    with pytest.raises(UsageError, match=r"\.xls is not read; save it as xlsx or csv"):
        open_table(tmp_path / "old.xls")
    (tmp_path / "broken.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match="not a readable workbook"):
        open_table(tmp_path / "broken.xlsx")
    (tmp_path / "table.csv").write_text("T\n", encoding="utf-8")
    with pytest.raises(UsageError, match="only a workbook"):
        open_table(tmp_path / "table.csv", sheet="a")


def test_workbooks(tmp_path: Path) -> None:
    book = Workbook()
    book.active.title = "clinical"
    for row in (
        ["id", "T-Stage", "\uff2d-Stage"],
        ["a", 1, 0],
        [None, None, None],
        ["b", "2a", None],
        ["c", 2.5, "1b"],
    ):
        book.active.append(row)
    other = book.create_sheet("other")
    other.append(["T"])
    other.append([4])
    path = tmp_path / "table.xlsx"
    book.save(path)
    header = ["id", "T-Stage", "\uff2d-Stage"]
    assert cells(path) == (header, [(2, ["a", "1", "0"]), (4, ["b", "2a"]), (5, ["c", "2.5", "1b"])])
    assert open_table(path).notes == ("sheet 'clinical'; the workbook has 2 sheets, --sheet takes another",)
    assert cells(path, sheet="other") == (["T"], [(2, ["4"])])
    with pytest.raises(UsageError, match="no sheet 'third'; it has 'clinical', 'other'"):
        open_table(path, sheet="third")


def damage(source: Path, target: Path, cut: float) -> None:
    """Copies a workbook with its first sheet cut off at a fraction of its length."""
    with ZipFile(source) as before, ZipFile(target, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            after.writestr(name, content[: int(len(content) * cut)] if name.endswith("sheet1.xml") else content)


@pytest.mark.parametrize("cut", [0.1, 0.9])
def test_a_damaged_sheet_is_refused(tmp_path: Path, cut: float) -> None:
    book = Workbook()
    book.active.title = "clinical"
    for row in range(300):
        book.active.append(["T", "N", row])
    book.save(tmp_path / "whole.xlsx")
    damage(tmp_path / "whole.xlsx", tmp_path / "table.xlsx", cut)
    with pytest.raises(DataError, match=r"table\.xlsx: sheet 'clinical' cannot be read"):
        list(open_table(tmp_path / "table.xlsx").rows)
