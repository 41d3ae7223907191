from __future__ import annotations

import pytest

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.froc import read_findings, read_marks, read_scans, size_strata
from monai_staging.metrics.froc.tables import check_strata

HEADER = "seriesuid,coordX,coordY,coordZ,diameter_mm"
ROWS = ["1.2.3,-100.5,67.25,-231.8,6.44", "1.2.4,46.19,48.4,-108.58,13.6"]


def write(path, *lines, end="\n", encoding="utf-8"):
    path.write_bytes((end.join(lines) + end).encode(encoding))
    return path


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_annotations_in_every_spelling(tmp_path, separator, end, encoding):
    lines = [line.replace(",", separator) for line in (HEADER, *ROWS)]
    found, strata = read_findings(write(tmp_path / "annotations.csv", *lines, end=end, encoding=encoding))
    assert found.scans == ("1.2.3", "1.2.4")
    # As they stand in the file: LPS.
    assert found.centers_mm.tolist() == [[-100.5, 67.25, -231.8], [46.19, 48.4, -108.58]]
    assert found.diameters_mm.tolist() == [6.44, 13.6]
    assert strata == ()


def test_columns_are_found_by_name(tmp_path):
    lines = [
        "diameter_mm, CoordZ ,texture,coordY,coordX,SeriesUID",
        "5,3,solid,2,1, 1.2.3 ",
        "6,3, ,2,1,1.2.3",
        "",
        " , ",
    ]
    found, strata = read_findings(write(tmp_path / "a.csv", *lines), by="Texture")
    assert found.scans == ("1.2.3", "1.2.3")
    assert found.centers_mm.tolist() == [[1, 2, 3], [1, 2, 3]]
    assert strata == ("solid", "unknown")
    with pytest.raises(UsageError, match="No column 'nonsense'"):
        read_findings(tmp_path / "a.csv", by="nonsense")


def test_marks(tmp_path):
    lines = ["seriesuid,coordX,coordY,coordZ,probability", "1.2.3,1,2,3,0.75", "1.2.3,1e1,-2,+3,-4.5"]
    found = read_marks(write(tmp_path / "marks.csv", *lines))
    assert found.scans == ("1.2.3", "1.2.3")
    assert found.centers_mm.tolist() == [[1, 2, 3], [10, -2, 3]]
    assert found.scores.tolist() == [0.75, -4.5]
    assert len(read_marks(write(tmp_path / "none.csv", lines[0]))) == 0


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["seriesuid,coordX,coordY,probability"], "marks.csv: No column 'coordZ' in the table; it has"),
        (["seriesuid,coordX,coordY,coordZ,diameter_mm", "1,2,3,4,5"], "No column 'probability'"),
        (
            ["seriesuid,coordX,coordY,coordZ,probability", "1,2,3,four,.5"],
            "line 2: coordZ is a finite number, found 'four'",
        ),
        (["seriesuid,coordX,coordY,coordZ,probability", "1,2,3,4,nan"], "line 2: probability is a finite number"),
        (["seriesuid,coordX,coordY,coordZ,probability", "1,2,3,4"], "line 2: probability is a finite number, found ''"),
        (["seriesuid,coordX,coordY,coordZ,probability", "1,2,5,3,5,4,1"], "found 7 cells for 5 columns"),
        (["seriesuid,coordX,coordY,coordZ,probability", ",2,5,3,5"], "line 2: seriesuid is empty"),
        ([""], "empty"),
    ],
)
def test_what_is_no_table_of_marks(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        read_marks(write(tmp_path / "marks.csv", *lines))


def test_no_such_file(tmp_path):
    for read in (read_marks, read_findings, read_scans):
        with pytest.raises(UsageError, match="no such file"):
            read(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("lines", "patients"),
    [
        (["1.2.3", "1.2.4"], None),
        (["seriesuid", "1.2.3", "1.2.4"], None),
        (["SeriesInstanceUID", "1.2.3", "1.2.4"], None),
        (["", " 1.2.3 ", "", "1.2.4,,", " "], None),
        (["seriesuid,subset", "1.2.3,0", "1.2.4,1"], None),
        (["patient_id,seriesuid", "A,1.2.3", "A,1.2.4"], {"1.2.3": "A", "1.2.4": "A"}),
        (["seriesuid\tPatient", "1.2.3\tA", "1.2.4\tB"], {"1.2.3": "A", "1.2.4": "B"}),
    ],
)
def test_lists_of_scans(tmp_path, lines, patients):
    listed = read_scans(write(tmp_path / "seriesuids.csv", *lines))
    assert listed.scans == ("1.2.3", "1.2.4")
    assert listed.patients == patients


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1.2.3", "1.2.4", "1.2.3"], "1.2.3 is in lines 1 and 3"),
        (["1.2.3,A", "1.2.4,B"], "line 1: a list of scans is one SeriesInstanceUID a line"),
        (["seriesuid"], "names at least 1, found 0"),
        (["seriesuid,patient", "1.2.3,A", "1.2.4,"], "line 3: every scan has a patient .*; 1.2.4 has none"),
        (["seriesuid,patient", "1.2.3,A", ",B"], "line 3: a scan has a SeriesInstanceUID, found none"),
    ],
)
def test_what_is_no_list_of_scans(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        read_scans(write(tmp_path / "seriesuids.csv", *lines))


def test_size_classes():
    assert size_strata([-1, 0.5, 5.99, 6, 9.99, 10, 30], [6, 10]) == (
        *("unknown", "0-6 mm", "0-6 mm", "6-10 mm", "6-10 mm", "10 mm and more", "10 mm and more"),
    )
    assert size_strata([3, 4.5], [4.5]) == ("0-4.5 mm", "4.5 mm and more")
    for edges in ([], [10, 6], [6, 6], [0, 6], [-1], [6, float("nan")], [float("inf")]):
        with pytest.raises(UsageError, match="Edges of size classes ascend"):
            size_strata([1], edges)


def test_a_column_of_numbers_is_no_column_of_classes():
    check_strata([str(number) for number in range(24)], "x")
    with pytest.raises(UsageError, match="Column 'coordX' divides the lesions into 25 strata"):
        check_strata([str(number) for number in range(25)], "coordX")
