from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.cohort.case import Case, Lesion
from monai_staging.cohort.cohort import Cohort, load_cohort
from monai_staging.errors import DataError
from monai_staging.label.held_out import FEWEST, HeldOut
from monai_staging.tnm.categories import LETTERS, categories


def case(patient: str, number: int = 0, *, kind: str = "primary", mask: str | None = "masks/a.nii") -> Case:
    letters = {letter: categories(letter, "8") for letter in LETTERS}
    lesion = Lesion(kind, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), label=None if mask is None else 1)
    name = f"{patient}-{number}"
    return Case(patient, name, name, "volumes/a.nii", edition="8", mask=mask, lesions=(lesion,), **letters)


def divided(folder: Path, cases: list[Case], key: bytes = b"key") -> dict[str, set[str]]:
    cohort = HeldOut(folder / "held_out.json", key).divide(
        Cohort(folder, "labels", "monailabel", training=tuple(cases))
    )
    assert load_cohort(folder) == cohort and not cohort.test
    return {part: {own.patient for own in cases} for part, cases in cohort.parts.items()}


@given(st.integers(4, 60), st.integers(4, 60), st.binary(min_size=1, max_size=8))
def test_nobody_changes_sides_as_labels_grow(
    tmp_path_factory: pytest.TempPathFactory, first: int, more: int, key: bytes
) -> None:
    folder = tmp_path_factory.mktemp("cohort")
    before = divided(folder, [case(f"P{number}") for number in range(first)], key)
    after = divided(folder, [case(f"P{number}", study) for number in range(first + more) for study in range(2)], key)
    for part in ("training", "validation"):
        assert len(before[part]) >= FEWEST and before[part] <= after[part]
    assert not after["training"] & after["validation"]
    assert len(after["training"] | after["validation"]) == first + more


def test_who_is_held_out_depends_on_the_key_and_about_a_quarter_is(tmp_path: Path) -> None:
    cases = [case(f"P{number}") for number in range(400)]
    found = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        found.append(divided(tmp_path / name, cases, name.encode())["validation"])
    assert found[0] != found[1]
    assert all(70 < len(own) < 130 for own in found)


def test_what_cannot_be_trained_on_is_left_out(tmp_path: Path) -> None:
    good = [case(f"P{number}") for number in range(4)]
    parts = divided(tmp_path, [*good, case("without mask", mask=None), case("nodes", kind="node")])
    assert len(parts["training"] | parts["validation"]) == 4
    nothing = replace(case("no lesion"), lesions=())
    with pytest.raises(DataError, match="found 3 in all"):
        divided(tmp_path, [*good[:3], nothing])


def test_the_file_names_nobody_and_is_not_drawn_anew_when_damaged(tmp_path: Path) -> None:
    divided(tmp_path, [case(f"Anna-{number}") for number in range(4)])
    path = tmp_path / "held_out.json"
    assert "Anna" not in path.read_text() and len(json.loads(path.read_text())) == 4
    path.write_text("[]")
    with pytest.raises(DataError, match="damaged; it is not drawn anew"):
        divided(tmp_path, [case(f"Anna-{number}") for number in range(4)])
