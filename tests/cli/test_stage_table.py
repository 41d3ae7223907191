from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from openpyxl import Workbook

from monai_staging.cli.main import main

LUNG1 = """PatientID,age,clinical.T.Stage,Clinical.N.Stage,Clinical.M.Stage,Overall.Stage
L-1,78,2,3,0,IIIb
L-2,83,2,0,0,I
L-3,68,2,3,0,IIIa
L-4,70,4,0,0,IIIb
L-5,80,3,4,0,IIIb
L-6,73,5,0,3,IIIb
L-7,60,3,1,0,III
L-8,61,1,0,0,
"""
TCGA = """bcr_patient_uuid	bcr_patient_barcode	ajcc_staging_edition	ajcc_tumor_pathologic_pt	\
ajcc_nodes_pathologic_pn	ajcc_metastasis_pathologic_pm	ajcc_pathologic_tumor_stage
bcr_patient_uuid	bcr_patient_barcode	system_version	pathologic_T	pathologic_N	pathologic_M	pathologic_stage
CDE_ID:	CDE_ID:2003301	CDE_ID:2722309	CDE_ID:3045435	CDE_ID:3203106	CDE_ID:3045439	CDE_ID:3203222
u1	TCGA-1	7th	T2a	N0	M0	Stage IB
u2	TCGA-2	6th	T4	N0	MX	Stage IIIB
u3	TCGA-3	[Not Available]	T1	N0	M0	Stage IA
u4	TCGA-4	5th	T1	N0	M0	Stage IA
u5	TCGA-5	7th	T2	NX	[Not Available]	[Discrepancy]
u6	TCGA-6	6th	T2	N0	M0	Stage IIA
"""


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, object], str]:
    assert main(["stage-table", *arguments, "--json"]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out), captured.err


def test_lung1_against_its_recorded_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "lung1.csv", LUNG1)
    document, said = run(capsys, table, "--edition", "6", "--recorded", "overall.stage")
    assert list(document) == ["rows", "agree", "disagree", "undetermined", "disagreements"]
    assert {key: document[key] for key in ("rows", "agree", "disagree", "undetermined")} == {
        **{"rows": 8, "agree": 4, "disagree": 1},
        # L-5: N 4 could be anything; L-6: T 5 and M 3; L-8: nothing recorded.
        "undetermined": 3,
    }
    assert document["disagreements"] == [
        {
            **{"row": 3, "line": 4, "t": "2", "n": "3", "m": "0", "edition": "6", "prefix": "c"},
            **{"groups": ["IIIB"], "recorded": "IIIa", "recorded_groups": ["IIIA"]},
        }
    ]
    assert "T: unknown in 0 rows, stray in 1 ('5' 1x)" in said
    assert "N: unknown in 0 rows, stray in 1 ('4' 1x)" in said
    assert "M: unknown in 0 rows, stray in 1 ('3' 1x)" in said
    assert "recorded: unknown in 1 rows" in said
    assert "L-3" not in json.dumps(document) + said


def test_what_people_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "lung1.csv", LUNG1)
    assert main(["stage-table", table, "--edition", "6", "--recorded", "Overall.Stage"]) == 0
    out = capsys.readouterr().out
    for line in (
        "Table lung1.csv: comma separated, UTF-8",
        "  T  column 'clinical.T.Stage'",
        "  edition  6\n",
        "  prefix  c by the columns' names",
        "8 rows: one stage group in 6, several possible in 2, none in 0",
        "recorded stage: 4 agree, 1 disagree, 3 undetermined",
        "row 3 (line 4): T 2 N 3 M 0 is IIIB in the 6th edition, recorded 'IIIa'",
    ):
        assert line in out, out
    assert main(["stage-table", table]) == 0
    out = capsys.readouterr().out
    assert "edition  8 (assumed: neither --edition nor --edition-column was given)" in out
    assert "'Overall.Stage' looks like a recorded stage" in out
    assert "\nrecorded stage:" not in out


def test_many_disagreements_are_cut_on_paper_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "many.csv", "t,n,m,stage\n" + "1a,0,0,IV\n" * 30)
    assert main(["stage-table", table, "--recorded", "stage"]) == 0
    out = capsys.readouterr().out
    assert out.count("recorded 'IV'") == 20 and "and 10 more" in out
    assert len(run(capsys, table, "--recorded", "stage")[0]["disagreements"]) == 30  # type: ignore[arg-type]


def test_tcga_editions_by_row_and_extra_headers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "tcga.txt", TCGA)
    for named in (("--edition-column", "AJCC_staging_edition"), ()):
        document, said = run(capsys, table, "--recorded", "ajcc_pathologic_tumor_stage", *named)
        assert [document[key] for key in ("rows", "agree", "disagree", "undetermined")] == [6, 1, 1, 4]
        [disagreement] = document["disagreements"]  # type: ignore[misc]
        assert (disagreement["row"], disagreement["line"], disagreement["edition"]) == (6, 9, "6")
        assert "skipped line 2: it repeats the header" in said and "skipped line 3" in said
        assert "edition not given: 1 rows" in said and "edition '5th' is none of 6 to 9: 1 rows" in said
        assert ("(recognised; --edition sets one for all)" in said) is (not named)


def test_out_has_every_row_with_its_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "staged.csv"
    table = write(tmp_path / "tcga.txt", TCGA)
    _, said = run(capsys, table, "--recorded", "ajcc_pathologic_tumor_stage", "--out", str(out))
    assert f"written: {out}" in said
    with open(out, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["bcr_patient_barcode"] for row in rows] == [f"TCGA-{i}" for i in range(1, 7)]
    derived = [
        [row[f"derived_{name}"] for name in ("t", "n", "m", "edition", "prefix", "groups", "verdict", "notes")]
        for row in rows
    ]
    assert derived[0] == ["T2a", "N0", "M0", "7", "p", "IB", "agree", ""]
    assert derived[1] == ["T4", "N0", "M0|M1", "6", "p", "IIIB|IV", "undetermined", "M unknown"]
    assert derived[2] == ["", "", "", "", "", "", "undetermined", "edition not given"]
    assert derived[5][5:7] == ["IB", "disagree"]


def test_the_workbook_of_lung_pet_ct_dx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = Workbook()
    book.active.append(["NewPatientID", "Sex", "T-Stage", "N-Stage", "\uff2d-Stage", "Smoking History"])
    for row in (["A0001", "F", "2b", 3, "1c", 0], ["A0002", "M", "is", 0, 0, 1], ["A0003", "M", 1, 0, 2, 1]):
        book.active.append(row)
    path = tmp_path / "statistics.xlsx"
    book.save(path)
    out = tmp_path / "staged.csv"
    document, said = run(capsys, str(path), "--edition", "8", "--out", str(out))
    assert [document[key] for key in ("rows", "agree", "disagree", "undetermined")] == [3, 0, 0, 1]
    assert "M  column '\uff2d-Stage'" in said and "M: unknown in 0 rows, stray in 1 ('2' 1x)" in said
    with open(out, encoding="utf-8", newline="") as file:
        assert [row["derived_groups"] for row in csv.DictReader(file)] == ["IVB", "0", "IA1|IA2|IA3|IVA|IVB"]


def test_rows_are_padded_in_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "staged.csv"
    table = write(tmp_path / "table.csv", "t,n,m,note\n1a,0\n1a,0,0,x,\n1a,0,0,x,y\n")
    _, said = run(capsys, table, "--out", str(out))
    assert "more cells than columns: 1 rows" in said
    with open(out, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {12}
    assert [row[9] for row in rows[1:]] == ["IA1|IVA|IVB", "IA1", ""]


def test_a_missing_m_column_is_unknown_never_m0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document, said = run(capsys, write(tmp_path / "table.csv", "T;N\n1a;0\n"))
    assert document["undetermined"] == 1
    assert "M  no column found: unknown in every row" in said


def test_occult_and_prefix_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "table.csv", "cT,cN,cM,pT,pN,pM,stage\nT4,N3,M0,TX,N0,M0,occult\n")
    document, said = run(capsys, table, "--prefix", "p", "--tx-means", "occult", "--recorded", "stage")
    assert document["agree"] == 1
    assert "prefix  p\n" in said


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("t,n,m\n", ("--t", "T stage"), "No column 'T stage' in the table"),
        ("a,b\n", (), "No column of T, N or M recognised"),
        ("cT,cN,cM,pT,pN,pM\n", (), "Several columns could hold T"),
        ("t,n,m\n", ("--edition", "5"), "TNM edition must be one of"),
        ("t,n,m\n", ("--prefix", "q"), "TNM prefix must be one of"),
        ("t,n,m\n", ("--recorded", "stage"), "No column 'stage' in the table"),
        ("t,n,m,derived_t\n", ("--out", "OUT"), "already has the column 'derived_t'"),
        ("t,n,m\n", ("--out", "TABLE"), "--out must not be the table itself"),
    ],
)
def test_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, arguments: tuple[str, ...], message: str
) -> None:
    table = write(tmp_path / "table.csv", text)
    names = {"OUT": str(tmp_path / "out.csv"), "TABLE": table}
    assert main(["stage-table", table, *(names.get(argument, argument) for argument in arguments)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_unacceptable_data_leaves_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "table.csv", 't,n,m\n1a,0,0\n"1a,0,0\n')
    out = tmp_path / "out.csv"
    assert main(["stage-table", table, "--out", str(out)]) == 1
    assert "record at line 3: not a delimited table" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    assert main(["stage-table", str(tmp_path / "none.csv")]) == 2
    assert main(["stage-table", write(tmp_path / "empty.csv", "")]) == 1


def test_a_header_alone_is_a_table_of_no_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document, _ = run(capsys, write(tmp_path / "table.csv", "t,n,m\n"))
    assert document == {"rows": 0, "agree": 0, "disagree": 0, "undetermined": 0, "disagreements": []}


def test_a_long_table_reports_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "long.csv", "t,n,m\n" + "1a,0,0\n2,0,X\n" * 50_000)
    document, said = run(capsys, table)
    assert (document["rows"], document["undetermined"]) == (100_000, 50_000)
    assert "stage-table: 100000/100000 rows" in said


def test_nsclc_radiogenomics(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [table] = (shared_data / "nsclc_radiogenomics").glob("*.csv")
    out = tmp_path / "staged.csv"
    document, said = run(capsys, str(table), "--edition", "7", "--out", str(out))
    assert [document[key] for key in ("rows", "agree", "disagree", "undetermined")] == [211, 0, 0, 49]
    for letter, name in (("T", "Pathological T stage"), ("N", "Pathological N stage"), ("M", "Pathological M stage")):
        assert f"{letter}  column {name!r}" in said
        assert f"{letter}: unknown in 49 rows, stray in 0" in said
    assert "prefix  p by the columns' names" in said
    # Counted apart from the code: from the letters of the file, by the 7th edition's groups.
    with open(out, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    letters = Counter(
        (row["Pathological T stage"], row["Pathological N stage"], row["Pathological M stage"], row["derived_groups"])
        for row in rows
    )
    early = {"Tis": "0", "T1a": "IA", "T1b": "IA", "T2a": "IB", "T2b": "IIA", "T3": "IIB", "T4": "IIIA"}
    for (t, n, m, groups), count in letters.items():
        if t == "Not Collected":
            assert groups == "0|IA|IB|IIA|IIB|IIIA|IIIB|IV" and count == 49
        elif m != "M0":
            assert groups == "IV"
        elif n == "N0":
            assert groups == early[t]
        elif n == "N2":
            assert groups == ("IIIB" if t == "T4" else "IIIA")
        else:
            assert groups == {"T1a": "IIA", "T1b": "IIA", "T2a": "IIA", "T2b": "IIB", "T3": "IIIA", "T4": "IIIA"}[t]
    assert sum(letters.values()) == 211
