"""What must not leave the machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_staging.cohort.privacy import case_name, load_key
from monai_staging.tracking.scrub import Scrubber


def write_cohort(folder: Path) -> Path:
    cases = [
        {"patient": "DOE^JANE", "study": "1.2.840.1", "series": "1.2.840.1.7"},
        {"patient": "12", "study": "1.2.840.2", "series": ""},
    ]
    (folder / "cohort.json").write_text(json.dumps({"training": cases[:1], "validation": [], "test": cases[1:]}))
    return folder


def test_patients_become_case_names_in_messages(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path)
    key = load_key(cohort)
    jane, twelve = case_name("DOE^JANE", key), case_name("12", key)
    scrub = Scrubber(cohort)
    assert scrub.message("Case DOE^JANE: series 1.2.840.1.7 of study 1.2.840.1.") == (
        f"Case {jane}: series {jane} of study {jane}."
    )
    assert scrub.message("patient 12, not 123 or x12") == f"patient {twelve}, not 123 or x12"
    assert Scrubber(cohort / "cohort.json").message("DOE^JANE") == jane


def test_settings_keep_their_numbers(tmp_path: Path) -> None:
    scrub = Scrubber(write_cohort(tmp_path))
    assert scrub.setting("batch_size 12") == "batch_size 12"
    assert "JANE" not in scrub.setting("only DOE^JANE")


def test_home_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/jane")
    assert Scrubber().setting("/home/jane/data") == "~/data"
    monkeypatch.setenv("HOME", "/")
    assert Scrubber().setting("/data") == "/data"


def test_own_replacement_comes_last(tmp_path: Path) -> None:
    assert Scrubber(None, lambda text: text.replace("ward", "...")).message("ward 5") == "... 5"


def test_folder_that_is_no_cohort_hides_nothing(tmp_path: Path) -> None:
    assert Scrubber(tmp_path).message("DOE^JANE") == "DOE^JANE"


def test_cohort_without_a_key_hides_the_name_all_the_same(tmp_path: Path) -> None:
    cohort = write_cohort(tmp_path)
    (cohort / ".case_key").write_text("")
    assert Scrubber(cohort).message("DOE^JANE") == "case-unnamed"


@pytest.mark.parametrize(
    "content",
    [
        '{"training": [{"patient": "DOE^JANE", "study": "1.2.840.1"}, {"patient": "ROE',
        '{"training": [{"study": "1.2.840.1"}, {"patient": "DOE^JANE"}, 3], "validation": 7, "test": null}',
        '{"training": [{"patient": "DOE^JANE", "study": "1.2.840.1"}, {"patient": "\\ud800"}]}',
    ],
)
def test_damaged_cohort_hides_what_can_be_read_of_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "cohort.json").write_text(content)
    said = Scrubber(tmp_path).message("DOE^JANE of 1.2.840.1")
    assert said.count("case-") == 2 and "JANE" not in said


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff\xfe", b'{"training": {"patient": 1}}', b"[" * 100_000])
def test_file_that_is_no_cohort_hides_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cohort.json").write_bytes(content)
    assert Scrubber(tmp_path).message("DOE^JANE") == "DOE^JANE"
