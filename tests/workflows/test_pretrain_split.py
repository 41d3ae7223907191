"""Patients that a pretraining never sees, and those that validate it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.cohort.case import Case
from monai_staging.errors import DataError, UsageError
from monai_staging.tnm.categories import LETTERS, categories
from monai_staging.workflows.pretrain_split import (
    digest,
    read_patients,
    scrubber,
    validation_patients,
    without_patients,
)

NAMES = st.lists(st.text("ABCDEF0123456789", min_size=3, max_size=8), min_size=2, max_size=40, unique=True)


def case(patient: str, study: str, series: str) -> Case:
    t, n, m = (categories(letter, "8") for letter in LETTERS)
    return Case(patient, study, series, f"volumes/{series}.nii", t, n, m, "8")


def test_patients_come_from_a_list_a_text_or_json(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("P1\n\n P2 \n")
    (tmp_path / "a.json").write_text(json.dumps(["P1", "P2"]))
    for given_ in (["P1", "P2"], tmp_path / "a.txt", str(tmp_path / "a.json")):
        assert read_patients(given_) == ("P1", "P2")
    assert read_patients(None) == ()


@pytest.mark.parametrize("content", ["{", '{"a": 1}', "[1, 2]"])
def test_a_file_that_is_no_list_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match="patients to leave out"):
        read_patients(tmp_path / "a.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_patients(tmp_path / "missing.txt")


def test_listed_patients_are_taken_out_of_what_is_logged() -> None:
    scrub = scrubber(["P-1", "P-12"])
    assert scrub is not None
    assert scrub("['P-12', 'P-1'], P-123") == "['<patient>', '<patient>'], P-123"
    assert scrubber(None) is None and scrubber("file.json") is None and scrubber([]) is None


def test_a_patient_goes_with_every_case_that_shares_a_study_or_series() -> None:
    cases = [case("A", "1", "1"), case("B", "1", "2"), case("C", "3", "2"), case("D", "4", "4")]
    assert [c.patient for c in without_patients(cases, ["a"])] == ["D"]
    assert without_patients(cases, []) == cases
    assert [c.patient for c in without_patients(cases, ["D", "not there"])] == ["A", "B", "C"]


def test_patients_of_which_none_is_there_are_refused() -> None:
    with pytest.raises(DataError, match="none of the 2 patients to leave out is in the data"):
        without_patients([case("A", "1", "1")], ["X", "Y"])


@given(names=NAMES, share=st.floats(0.05, 0.95))
def test_a_share_of_the_patients_validates_and_somebody_trains(names: list[str], share: float) -> None:
    chosen = validation_patients(names, share)
    assert chosen < set(map(str.upper, names)) | set(names) | {name.lower() for name in names}
    assert 1 <= len(chosen) <= len(names) - 1
    assert abs(len(chosen) - share * len(names)) <= 1
    assert validation_patients(reversed(names), share) == chosen


@given(names=NAMES.filter(lambda names: len(names) > 10), data=st.data())
def test_leaving_patients_out_moves_hardly_anyone(names: list[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(names))
    before = validation_patients(names, 0.3)
    after = validation_patients([name for name in names if name != gone], 0.3)
    assert len(before ^ after) <= 2


def test_shares_and_patients_out_of_range_are_refused() -> None:
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(UsageError, match="validation_share"):
            validation_patients(["A", "B"], share)
    with pytest.raises(DataError, match="at least 2 patients are needed, one of them to validate; found 1"):
        validation_patients(["A", "a"], 0.5)


def test_a_digest_is_of_the_set() -> None:
    assert digest(["B", "A"]) == digest(["a", "B", "A"]) != digest(["A"])
