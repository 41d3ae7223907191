"""A cohort's document and a clinical table with anything anywhere in them: understood, or refused in words."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from monai_staging.cohort.case import Case
from monai_staging.cohort.clinical import read_clinical
from monai_staging.cohort.cohort import Cohort, load_cohort
from monai_staging.errors import LONGEST, DataError, StagingError

CASE: dict[str, Any] = {
    "patient": "P-001", "study": "1.2.3", "series": "1.2.4", "image": "volumes/a.nii", "mask": "masks/a.nii",
    "lesions": [
        {"kind": "primary", "site": "RUL", "center_mm": [1.0, 2.0, 3.0], "size_mm": [10.0, 9.0, 8.0],
         "diameter_mm": 10.5, "solid_diameter_mm": None, "label": 1, "boxes": [[3, 1.0, 2.0, 8.0, 9.0]],
         "malignancy": [3, 4], "ratings": {"subtlety": [4, 5]}},
    ],
    "t": ["T1b", "T1c"], "n": ["N0"], "m": ["M0"], "edition": "8", "prefix": "c", "subtype": "adenocarcinoma",
    "fold": 0, "clinical": {"age": 67.5, "sex": "F", "smoking": "former"},
}  # fmt: skip
COHORT: dict[str, Any] = {
    "name": "small", "version": 1, "spacing": [0.7, 0.7, 2.5], "source": "phantom",
    "training": [CASE], "validation": [], "test": [],
}  # fmt: skip
PLACES = ("name", "version", "spacing", "source", "training", *CASE, *CASE["lesions"][0], *CASE["clinical"])
VALUES = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=12)),
        st.sampled_from(("T1b", "T4", "N3", "M1c", "8", "9", "c", "F", "../a.nii", "/etc/passwd", "primary", "\ud800")),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(PLACES), inner, max_size=3)),
    max_leaves=6,
)
ANYWHERE = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from places(value[key])


COUNT = len(list(places(COHORT)))


def load(folder: Path, text: str) -> Cohort:
    (folder / "cohort.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    return load_cohort(folder)


@ANYWHERE
@given(st.integers(0, COUNT - 1), VALUES, st.sampled_from(("replace", "remove", "wrap")))
def test_a_cohort_with_any_value_anywhere(tmp_path: Path, place: int, value: Any, how: str) -> None:
    document = copy.deepcopy(COHORT)
    owner, key = list(places(document))[place]
    if how == "remove":
        del owner[key]
    else:
        owner[key] = value if how == "replace" else [owner[key], value]
    try:
        cohort = load(tmp_path, json.dumps(document))
    except DataError as error:
        message = str(error)
        assert message.startswith(f"Cohort {tmp_path}") and len(message) <= LONGEST and "P-001" not in message
        return
    # What is taken can be written, and is the same again.
    assert load(tmp_path, cohort.to_text()) == cohort
    assert all(isinstance(case, Case) for case in cohort.cases)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[" * 100_000, "is not JSON"),
        ('{"version": ' + "9" * 5000 + "}", "is not JSON"),
        ('{"version": NaN}', "is not JSON (NaN is no number)"),
        (json.dumps(COHORT).replace('"P-001"', r'"\ud800"'), "is not JSON"),
        (json.dumps(COHORT).replace("[0.7, 0.7, 2.5]", "[0.7, 0.7, 1e999]"), "spacing must be three positive numbers"),
        (json.dumps(COHORT).replace("[0.7, 0.7, 2.5]", "[true, 0.7, 2.5]"), "spacing must be three positive numbers"),
        (json.dumps(COHORT).replace("67.5", "1" + "0" * 400), "age must be 0 to 130 years"),
        (json.dumps(COHORT).replace('"masks/a.nii"', "[[1]]"), "mask must be a path"),
        (json.dumps({**COHORT, "training": [{**CASE, "lesions": None}]}), "training[0]: lesions must be a list"),
        (json.dumps(COHORT).replace('"F"', json.dumps(["x" * 9000])), "sex must be one of F, M"),
    ],
)
def test_what_no_cohort_has(text: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, text)
    assert found in str(caught.value) and len(str(caught.value)) <= LONGEST and "P-001" not in str(caught.value)


HEADER = ["Patient ID", "Age", "Sex", "Smoking", "T", "N", "M", "Stage", "Edition", "Histology"]
CELLS = st.one_of(
    st.sampled_from(
        ("T1b", "pT2a", "N3", "M1c", "TX", "8", "8th", "IIIA", "P-001", "67", "F", "former", "", "-", "nan")
    ),
    st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=8),
)
ROWS = st.lists(st.lists(CELLS, max_size=12), max_size=6)
COLUMNS = st.lists(st.one_of(st.sampled_from(HEADER), CELLS), min_size=1, max_size=12)


def understood(path: Path) -> None:
    try:
        table = read_clinical(path, edition="8")
    except StagingError as error:
        assert str(error).strip() and len(str(error)) <= LONGEST
        return
    assert not set(table.labels) & set(table.conflicts)
    for own in table.labels.values():
        assert own.t and own.n and own.m and own.edition and own.prefix


@ANYWHERE
@given(COLUMNS, ROWS, st.sampled_from((",", ";", "\t")), st.sampled_from(("utf-8", "utf-16", "latin-1")))
def test_a_table_of_anything(
    tmp_path: Path, header: list[str], rows: list[list[str]], delimiter: str, encoding: str
) -> None:
    text = "".join(delimiter.join(row) + "\n" for row in [header, *rows])
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding, "replace"))
    understood(path)


@settings(ANYWHERE, max_examples=30)
@given(st.one_of(st.just(HEADER), COLUMNS), ROWS)
def test_a_workbook_of_anything(tmp_path: Path, header: list[str], rows: list[list[str]]) -> None:
    book = Workbook()
    for row in [header, *rows]:
        book.active.append(["".join(own for own in cell if own.isprintable()) for cell in row])
    book.save(tmp_path / "table.xlsx")
    understood(tmp_path / "table.xlsx")


@ANYWHERE
@given(st.binary(max_size=300))
def test_bytes_that_are_no_table(tmp_path: Path, content: bytes) -> None:
    for name in ("table.csv", "table.xlsx"):
        (tmp_path / name).write_bytes(content)
        understood(tmp_path / name)
