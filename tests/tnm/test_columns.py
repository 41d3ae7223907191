from __future__ import annotations

import pytest

from monai_staging.errors import UsageError
from monai_staging.tnm.columns import Columns, find_column, find_columns, plain_name, recorded_candidates

NOTHING: dict[str, str | None] = {}


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (["NewPatientID", "T-Stage", "N-Stage", "\uff2d-Stage"], None),
        (["PatientID", "clinical.T.Stage", "Clinical.N.Stage", "Clinical.M.Stage"], "c"),
        (["Patient ID", "Pathological T stage", "Pathological N stage", "Pathological M stage"], "p"),
        (["uuid", "ajcc_tumor_pathologic_pt", "ajcc_nodes_pathologic_pn", "ajcc_metastasis_pathologic_pm"], "p"),
        (["case", "ajcc_pathologic_t", "ajcc_pathologic_n", "ajcc_pathologic_m"], "p"),
        (["case", "diagnoses.ajcc_clinical_t", "diagnoses.ajcc_clinical_n", "diagnoses.ajcc_clinical_m"], "c"),
        (["patient", "t", "n", "m"], None),
        (["patient", "cT", "cN", "cM"], "c"),
        (["patient", "pathology_T_stage", "pathology_N_stage", "pathology_M_stage"], "p"),
        (["patient", "T category", "N category", "M category"], None),
        (["patient", "TNM T", "TNM N", "TNM M"], None),
        (["patient", "ypT", "ypN", "ypM"], "yp"),
        (
            [
                "Patient ID",
                "American Joint Committee on Cancer Tumor Stage Code",
                "Neoplasm Disease Lymph Node Stage American Joint Committee on Cancer Code",
                "American Joint Committee on Cancer Metastasis Stage Code",
            ],
            None,
        ),
    ],
)
def test_names_of_the_public_tables_are_recognised(header: list[str], kind: str | None) -> None:
    assert find_columns(header, NOTHING) == Columns(1, 2, 3, None, None, None, kind)
    assert find_columns([name.upper() for name in header], NOTHING).t == 1


@pytest.mark.parametrize(
    "name",
    [
        "ajcc_staging_edition",
        "ajcc_staging_system_edition",
        "American Joint Committee on Cancer Publication Version Type",
        "edition",
        "TNM edition",
        "AJCC version",
    ],
)
def test_the_edition_column_is_recognised_where_wanted(name: str) -> None:
    assert find_columns(["t", "n", "m", name], NOTHING).edition == 3
    assert find_columns(["t", "n", "m", name], NOTHING, with_edition=False).edition is None


@pytest.mark.parametrize("name", ["CT Date", "Tumor", "Gender", "M/F", "Stage", "N of nodes", "version", "T1", "Time"])
def test_other_names_are_not_taken(name: str) -> None:
    with pytest.raises(UsageError, match="No column of T, N or M recognised"):
        find_columns([name], NOTHING)


def test_named_columns_win_and_may_be_spelt_loosely() -> None:
    header = ["my T", "N-Stage", "\uff2d-Stage", "Overall.Stage"]
    named = {"t": "my T", "m": "m-stage", "recorded": "overall stage"}
    assert find_columns(header, named) == Columns(0, 1, 2, None, None, 3, None)


def test_a_column_that_is_not_there_lists_what_is() -> None:
    with pytest.raises(UsageError, match="No column 'T stage' in the table; it has: 'a', 'b'"):
        find_column(["a", "b"], "T stage")
    with pytest.raises(UsageError, match="and 10 more"):
        find_column([f"c{i}" for i in range(50)], "T stage")
    with pytest.raises(UsageError, match="must be there once; the table has it 2 times"):
        find_column(["T", "N", "T"], "T")
    assert find_column(["t", "T"], "T") == 1


def test_the_recorded_stage_is_proposed_never_taken() -> None:
    header = ["t", "n", "m", "Overall.Stage", "ajcc_pathologic_tumor_stage", "stage", "Stage group", "T stage"]
    assert find_columns(header[:7], NOTHING).recorded is None
    assert recorded_candidates(header) == header[3:7]


def test_clinical_beside_pathological_columns_need_a_choice() -> None:
    header = ["cT", "cN", "cM", "pT", "pN", "pM"]
    with pytest.raises(
        UsageError, match="Several columns could hold T: 'cT', 'pT'; name one with --t, or give --prefix"
    ):
        find_columns(header, NOTHING)
    assert find_columns(header, NOTHING, prefix="p") == Columns(3, 4, 5, None, None, None, "p")
    assert find_columns(header, NOTHING, prefix="yp").t == 3
    # Only one kind is complete: that one.
    assert find_columns(["cT", "pT", "pN", "pM"], NOTHING).t == 1
    # A patient identifier called PT does not disturb plain columns.
    assert find_columns(["PT", "T", "N", "M"], NOTHING).t == 1


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (["pathologic_T", "pathologic_N", "clinical_M"], "p"),
        (["clinical_T", "clinical_N", "pathologic_M"], "c"),
        (["pT", "N", "cM"], "p"),
        (["T", "N", "cM"], None),
        (["id", "cM"], "c"),
    ],
)
def test_t_and_n_decide_the_kind(header: list[str], kind: str | None) -> None:
    assert find_columns(header, NOTHING).kind == kind


def test_t_and_n_columns_of_different_kinds_need_a_choice() -> None:
    header = ["pathologic_T", "clinical_N", "clinical_M", "prefix"]
    with pytest.raises(UsageError, match="must be of one kind: 'pathologic_T' is p, 'clinical_N' is c; name others"):
        find_columns(header[:3], NOTHING)
    assert find_columns(header[:3], {"t": "pathologic_T", "n": "clinical_N"}, prefix="p").kind is None
    assert find_columns(header, NOTHING) == Columns(0, 1, 2, None, 3, None, None)


def test_columns_of_the_wrong_kind_are_not_taken_for_a_prefix() -> None:
    with pytest.raises(UsageError, match="No column of T, N or M recognised"):
        find_columns(["cT", "cN", "cM"], NOTHING, prefix="p")


def test_missing_letters_are_left_open() -> None:
    assert find_columns(["T", "N"], NOTHING) == Columns(0, 1, None, None, None, None, None)


def test_a_prefix_column_counts_unless_a_prefix_is_given() -> None:
    assert find_columns(["t", "n", "m", "prefix"], NOTHING).prefix == 3
    assert find_columns(["t", "n", "m", "prefix"], NOTHING, prefix="c").prefix is None
    assert find_columns(["t", "n", "m", "prefix"], NOTHING, prefix="c", with_prefix=True).prefix == 3
    assert find_columns(["t", "n", "m", "kind"], {"prefix": "kind"}).prefix == 3


def test_two_edition_columns_need_a_choice() -> None:
    with pytest.raises(UsageError, match="Several columns could hold the edition"):
        find_columns(["t", "edition", "TNM edition"], NOTHING)


def test_plain_name() -> None:
    assert plain_name(" Clinical.T_Stage\u3000(\uff2d) ") == "clinical t stage m"
