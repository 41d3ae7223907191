from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from monai_staging.cohort.clinical import read_clinical, unknown_labels
from monai_staging.errors import DataError, UsageError
from monai_staging.tnm import categories


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_a_table(tmp_path: Path) -> None:
    path = write(
        tmp_path / "clinical.csv",
        "Patient ID,T Stage,N,M,Stage,Age,Gender,Smoking Status,Histology\n"
        "P1,T2a,N0,M0,IB,61,Female,Nonsmoker,Adenocarcinoma\n"
        "P2,2,1,X,,058Y,m,ex-smoker,\n",
    )
    table = read_clinical(path, edition="8")
    first, second = table.labels["P1"], table.labels["P2"]
    assert (first.t, first.n, first.m, first.edition, first.prefix) == (("T2a",), ("N0",), ("M0",), "8", "c")
    assert first.subtype == "Adenocarcinoma"
    assert first.clinical == {"age": 61.0, "sex": "F", "smoking": "never", "stage": "IB"}
    assert (second.t, second.n, second.m) == (("T2a", "T2b"), ("N1",), categories("m", "8"))
    assert second.subtype is None
    assert second.clinical == {"age": 58.0, "sex": "M", "smoking": "former"}
    assert not table.unknown_codes
    assert not table.conflicts


def test_unknown_codes_are_counted_and_never_guessed(tmp_path: Path) -> None:
    # NSCLC-Radiomics has T 5, N 4 and M 3, whose meaning is not documented.
    path = write(
        tmp_path / "clinical.csv",
        "PatientID,age,clinical.T.Stage,Clinical.N.Stage,Clinical.M.Stage,gender,smoking\n"
        "A,70,5,4,3,female,1\nB,7O,5,0,0,?,\nC,NA,4,0,0,unknown,never\n",
    )
    table = read_clinical(path, edition="6")
    assert table.unknown_codes == {"t": {"5": 2}, "n": {"4": 1}, "m": {"3": 1}, "age": {"7O": 1}, "smoking": {"1": 1}}
    assert table.labels["A"].t == categories("t", "6")
    assert table.labels["A"].clinical["smoking"] is None
    assert table.labels["B"].n == ("N0",)
    assert table.labels["C"].clinical == {"age": None, "sex": None, "smoking": "never"}


def test_xlsx_with_a_full_width_header(tmp_path: Path) -> None:
    frame = pd.DataFrame({"NewPatientID": ["A0001"], "T-Stage": ["1c"], "N-Stage": [0], "\uff2d-Stage": ["1b"]})
    frame.to_excel(tmp_path / "clinical.xlsx", index=False)
    table = read_clinical(
        tmp_path / "clinical.xlsx",
        edition="8",
        columns={"patient": "newpatientid"},
        patient_id=lambda p: "Lung_Dx-" + p,
    )
    labels = table.labels["Lung_Dx-A0001"]
    assert (labels.t, labels.n, labels.m) == (("T1c",), ("N0",), ("M1b",))


def test_edition_and_prefix_of_a_row(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.csv",
        "case,t,n,m,edition,prefix\nA,T1a,N0,M0,7th,p\nB,pT1c,N0,M0,8,\nC,T1a,N0,M0,5th,\nD,T1a,N0,M0,,\n",
    )
    labels = read_clinical(path, edition="8").labels
    assert (labels["A"].edition, labels["A"].prefix, labels["A"].t) == ("7", "p", ("T1a",))
    assert (labels["B"].edition, labels["B"].prefix) == ("8", "p")
    # Codes of an edition that is not known could mean anything.
    for patient in "CD":
        assert labels[patient] == unknown_labels("8", "c")
    assert read_clinical(path, edition="8").unknown_codes == {"edition": {"5th": 1}}
    assert read_clinical(path, edition="8").patients_without_edition == 1


def test_what_a_row_states_goes_before_what_the_caller_says(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.csv",
        "patient,t,n,m,edition,prefix\nA,T2a,N1,M1b,7,p\nB,T3,N0,M0,,\nC,T1a,N0,M0,5th,\nD,pT1c,N0,M0,8,\nE,T1a,N0,M0,,yp\n",
    )
    table = read_clinical(path, edition="8", prefix="c", fill_edition=True)
    assert (table.labels["A"].edition, table.labels["A"].prefix, table.labels["A"].m) == ("7", "p", ("M1b",))
    assert (table.labels["B"].edition, table.labels["B"].prefix, table.labels["B"].t) == ("8", "c", ("T3",))
    # An edition that is none of ours is stated all the same, and a code's prefix contradicts the one given.
    assert table.labels["C"] == unknown_labels("8", "c")
    assert "'pT1c' has 'p'" in table.conflicts["D"]
    assert (table.labels["E"].edition, table.labels["E"].prefix) == ("8", "yp")
    assert table.patients_without_edition == 0
    alone = read_clinical(path, edition="8")
    assert (alone.labels["A"].edition, alone.labels["A"].prefix) == ("7", "p")
    assert alone.labels["B"] == unknown_labels("8", "c")
    assert alone.labels["E"] == unknown_labels("8", "yp")
    assert alone.patients_without_edition == 2


def test_the_prefix_column_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", "patient,t,n,m,prefix,TNM prefix\nA,T2a,N1,M0,p,c\n")
    with pytest.raises(UsageError, match="Several columns could hold the prefix.*--prefix-column"):
        read_clinical(path, edition="8", prefix="r")
    assert read_clinical(path, edition="8", prefix="r", columns={"prefix": "prefix"}).labels["A"].prefix == "p"


def test_how_a_patient_is_addressed_is_no_prefix(tmp_path: Path) -> None:
    text = "patient,prefix,t,n,m\nA,Mr.,T1a,N0,M0\nB,{},T1a,N0,M0\n"
    labels = read_clinical(write(tmp_path / "a.csv", text.format("Ms.")), edition="8", prefix="p").labels
    assert [labels[patient].prefix for patient in "AB"] == ["p", "p"]
    # A column that holds any prefix is one, and what it holds beside is refused.
    table = read_clinical(write(tmp_path / "b.csv", text.format("yc")), edition="8", prefix="p")
    assert table.labels["B"].prefix == "yc" and "Mr." in table.conflicts["A"]


def test_columns_of_two_kinds_are_kept_where_they_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", "patient,Clinical T Stage,Pathologic N Stage,M Stage\nA,T2a,N1,M0\n")
    with pytest.raises(UsageError, match=r"of one kind.*naming them with --t, --n and --m beside --prefix"):
        read_clinical(path, edition="8")
    columns = {"t": "Clinical T Stage", "n": "Pathologic N Stage", "m": "M Stage"}
    found = read_clinical(path, edition="8", prefix="p", columns=columns).labels["A"]
    assert (found.t, found.n, found.m, found.prefix) == (("T2a",), ("N1",), ("M0",), "p")


def test_pathological_columns_give_the_prefix(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.csv", "Case ID,Pathological T stage,Pathological N stage,Pathological M stage\nA,T2a,N0,M0\n"
    )
    assert read_clinical(path, edition="7").labels["A"].prefix == "p"


def test_m_may_be_clinical_beside_pathological_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", "case,pathologic_T,pathologic_N,clinical_M\nA,T2a,N0,M0\nB,pT1a,,cM0\n")
    table = read_clinical(path, edition="8")
    assert {patient: labels.prefix for patient, labels in table.labels.items()} == {"A": "p", "B": "p"}


def test_the_source_s_prefix_is_the_last_resort(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.csv", "case,t,n,m,edition,prefix\nA,T1a,N0,M0,7,\nB,cT1a,N0,M0,7,\nC,T1a,,,,\nD,T1a,,,,yp\n"
    )
    labels = read_clinical(path, edition="7", default_prefix="p").labels
    assert {patient: own.prefix for patient, own in labels.items()} == {"A": "p", "B": "c", "C": "p", "D": "yp"}


def test_rows_that_contradict_each_other_refuse_the_patient(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.csv",
        "patient,t,n,m\nA,T1a,N0,M0\nA,T2a,N0,M0\nB,T1a,N0,M0\nB,T1a,N0,M0,,\nC,pT1a,cN0,M0\n"
        "D,T1a,N0,M0,shifted\n ,T1a,N0,M0\n",
    )
    table = read_clinical(path, edition="8")
    assert set(table.labels) == {"B"}
    assert "t 'T1a' and 'T2a'" in table.conflicts["A"]
    assert "prefix" in table.conflicts["C"].lower()
    assert "line 7" in table.conflicts["D"]
    assert table.rows_without_patient == 1


def test_rows_that_say_the_same_are_one(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.csv",
        "patient,t,n,m,edition,prefix,stage,age,sex,smoking,histology\n"
        "A,T1a,N0,,7th,,IA,67,M,,Adeno\nA,t1a,0,MX,7,P,stage Ia,,Male,never,adeno\n A ,,,M0,,p,X,67.0,,nonsmoker,\n"
        "B,T1a,N0,M0,,,,,,,\nB,pT1a,N0,M0,,,,,,,\nB,T1a,N0,M0,8,,,,,,\n"
        "C,T9,N0,M0,8,,,x,O,1,\nC,t9,N0,M0,8,,,X,o,1,\n",
    )
    table = read_clinical(path, edition="8")
    assert not table.conflicts
    first = table.labels["A"]
    assert (first.t, first.n, first.m, first.edition, first.prefix) == (("T1a",), ("N0",), ("M0",), "7", "p")
    assert first.clinical == {"age": 67.0, "sex": "M", "smoking": "never", "stage": "IA"}
    assert first.subtype == "Adeno"
    second = table.labels["B"]
    assert (second.t, second.edition, second.prefix) == (("T1a",), "8", "p")
    # Counted once a patient.
    assert table.unknown_codes == {"t": {"T9": 1}, "age": {"x": 1}, "sex": {"O": 1}, "smoking": {"1": 1}}
    assert table.patients_without_edition == 0


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (("T1a,,,,67", "T1a,,,,68"), "age '67' and '68'"),
        (("T1a,,,,", "T1b,,,,"), "t 'T1a' and 'T1b'"),
        (("T1a,,,,", ",7,,,", "T2a,,,,"), "t 'T1a' and 'T2a'"),
        # The main category is another statement than one of its sub-stages, and a stray code than any other.
        (("T1,,,,", "T1a,,,,"), "t 'T1' and 'T1a'"),
        (("T9,,,,", "T1a,,,,"), "t 'T9' and 'T1a'"),
        (("pT1a,,,,", "cT1a,,,,"), "t 'pT1a' and 'cT1a'"),
        (("T1a,7,,,", "T1a,8,,,"), "edition '7' and '8'"),
        (("T1a,,c,,", "T1a,,p,,"), "prefix 'c' and 'p'"),
        (("T1a,,,IA,", "T1a,,,IB,"), "stage 'IA' and 'IB'"),
        (("pT1a,,,,", "T1a,,c,,"), "lines 2, 3: prefix: "),
    ],
)
def test_rows_that_mean_different_things_refuse_the_patient(tmp_path: Path, rows: tuple[str, ...], told: str) -> None:
    text = "patient,t,edition,prefix,stage,age\n" + "".join(f"A,{row}\n" for row in rows)
    table = read_clinical(write(tmp_path / "c.csv", text), edition="8", fill_edition=True)
    assert not table.labels
    assert told in table.conflicts["A"]


@pytest.mark.parametrize(
    ("text", "columns", "rule"),
    [
        ("patient,case,t\nA,A,T1a\n", {}, "several columns may hold patient"),
        ("id,t\nA,T1a\n", {}, "no patient column"),
        ("patient,t\nA,T1a\n", {"sex": "gender"}, "gender"),
        ("patient,age\nA,60\n", {}, "T, N or M"),
    ],
)
def test_refuses_columns_it_would_have_to_guess(tmp_path: Path, text: str, columns: dict[str, str], rule: str) -> None:
    with pytest.raises((UsageError, DataError), match=rule):
        read_clinical(write(tmp_path / "c.csv", text), edition="8", columns=columns)


def test_real_table_of_nsclc_radiogenomics(shared_data: Path) -> None:
    path = next((shared_data / "nsclc_radiogenomics").glob("*.csv"))
    table = read_clinical(path, edition="7")
    known = [labels for labels in table.labels.values() if len(labels.t) == 1]
    assert len(table.labels) == 211
    assert len(known) == 211 - 49  # "Not Collected"
    assert sum(labels.t == ("T2a",) for labels in known) == 47
    assert {labels.prefix for labels in table.labels.values()} == {"p"}
    assert not table.unknown_codes
