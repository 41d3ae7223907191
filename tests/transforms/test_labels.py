from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.errors import DataError, UsageError
from monai_staging.tnm import categories, main_category
from monai_staging.transforms.labels import CLINICAL_FEATURES, ClinicalVector, ClinicalVectord, TNMTargets, TNMTargetsd

MAIN = {"t": ("T1", "T2", "T3", "T4"), "n": ("N0", "N1", "N2", "N3"), "m": ("M0", "M1")}
FINE = {"t": ("T1a", "T1b", "T1c", "T2a", "T2b", "T3", "T4")}


def target(letter: str, members: list[str], edition: str = "8", classes: Any = None, **settings: Any) -> list[float]:
    chosen = {letter: (classes or MAIN)[letter]}
    return TNMTargets(chosen, **settings)({letter: members}, edition).tolist()


def test_one_vector_through_all_letters() -> None:
    found = TNMTargets(MAIN)({"t": ["T1b"], "n": ["N1", "N2"], "m": list(categories("m", "8"))}, "8")
    assert found.dtype == torch.float32
    assert found.tolist() == [1, 0, 0, 0] + [0, 1, 1, 0] + [1, 1]


def test_sub_categories_count_as_their_main_category() -> None:
    assert target("t", ["T1mi"]) == [1, 0, 0, 0]
    assert target("t", ["T2b", "T3"]) == [0, 1, 1, 0]
    assert target("m", ["M1a", "M1b", "M1c"]) == [0, 1]
    assert target("n", ["N2a"], edition="9") == [0, 0, 1, 0]


def test_a_main_category_counts_as_any_of_its_classes() -> None:
    assert target("t", ["T1"], edition="6", classes=FINE) == [1, 1, 1, 0, 0, 0, 0]
    assert target("t", ["T2"], edition="6", classes=FINE) == [0, 0, 0, 1, 1, 0, 0]
    assert target("t", ["T1b"], classes=FINE) == [0, 1, 0, 0, 0, 0, 0]
    # M1c of the 8th against the classes of the 9th edition.
    assert target("m", ["M1"], edition="6", classes={"m": ("M0", "M1a", "M1b")}) == [0, 1, 1]


@given(
    st.sampled_from(["6", "7", "8", "9"]).flatmap(
        lambda e: st.tuples(st.just(e), st.lists(st.sampled_from(categories("n", e)), min_size=1, unique=True))
    )
)
def test_exactly_the_classes_of_the_members_are_possible(case: tuple[str, list[str]]) -> None:
    edition, members = case
    possible = {main_category(member) for member in members}
    assert target("n", members, edition) == [float(name in possible) for name in MAIN["n"]]


@pytest.mark.parametrize("edition", ["6", "7", "8", "9"])
@pytest.mark.parametrize("letter", ["t", "n", "m"])
def test_unknown_gives_every_class_even_where_tis_has_none(letter: str, edition: str) -> None:
    assert target(letter, list(categories(letter, edition)), edition) == [1] * len(MAIN[letter])


def test_a_category_without_a_class_needs_a_mapping() -> None:
    with pytest.raises(DataError, match=r"case: t must be among the classes T1, .* be mapped, found Tis \(edition 8\)"):
        target("t", ["Tis", "T1a"])
    assert target("t", ["Tis"], mapping={"Tis": "T1"}) == [1, 0, 0, 0]
    assert target("t", ["Tis", "T2a"], mapping={"Tis": None}) == [0, 1, 0, 0]
    # Nothing to learn from, as if it were unknown; whoever must know is told.
    assert target("t", ["Tis"], mapping={"Tis": None}) == [1, 1, 1, 1]
    transform = TNMTargets({"t": MAIN["t"]}, {"Tis": None})
    assert transform.has_no_class("t", ["Tis"], "8")
    assert not transform.has_no_class("t", ["Tis", "T2a"], "8")
    assert not transform.has_no_class("t", list(categories("t", "8")), "8")
    with pytest.raises(DataError, match="found T1mi"):
        target("t", ["T1mi"], classes=FINE)
    with pytest.raises(DataError, match="still possible"):
        target("n", [])


def test_dictionary_twin_reads_the_items_edition_and_names_it_by_its_hash() -> None:
    item = {"t": ["T1a"], "n": ["N0"], "m": ["M0"], "edition": "8", "case": "case-0123456789", "patient": "secret"}
    found = TNMTargetsd(MAIN)(item)
    assert found["target"].tolist() == [1, 0, 0, 0] + [1, 0, 0, 0] + [1, 0]
    assert "target" not in item and found["t"] == ["T1a"]
    with pytest.raises(DataError) as caught:
        TNMTargetsd(MAIN)({**item, "t": ["Tis"]})
    assert "case-0123456789" in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("classes", "mapping"), [({}, None), ({"t": []}, None), ({"t": ["T1", "T1"]}, None), ({"t": ["T1"]}, {"Tis": "T2"})]
)
def test_wrong_classes_are_refused(classes: Any, mapping: Any) -> None:
    with pytest.raises(UsageError):
        TNMTargets(classes, mapping)


def clinical(**known: Any) -> dict[str, float]:
    return dict(zip(CLINICAL_FEATURES, ClinicalVector()(known).tolist(), strict=True))


def test_clinical_vector() -> None:
    assert not any(clinical().values()) and not any(clinical(age=None, sex=None, smoking=None).values())
    assert clinical(age=65, sex="F", smoking="former", stage="IV") == {
        "age": 0, "age_known": 1, "female": 1, "male": 0, "never": 0, "former": 1, "current": 0
    }  # fmt: skip
    assert clinical(age=45.0)["age"] == -2 and clinical(sex="M")["male"] == 1
    assert clinical(smoking="never")["never"] == clinical(smoking="current")["current"] == 1


@pytest.mark.parametrize(
    "wrong", [{"age": 131}, {"age": -1}, {"age": "65"}, {"age": True}, {"sex": "f"}, {"smoking": "yes"}]
)
def test_wrong_clinical_values_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"case: {next(iter(wrong))} must be"):
        ClinicalVector()(wrong)


def test_clinical_dictionary_twin() -> None:
    item = {"clinical": {"age": 75, "sex": None, "smoking": None}}
    assert ClinicalVectord()(item)["clinical"].tolist() == [1, 1, 0, 0, 0, 0, 0]
    assert ClinicalVectord(output_key="vector")(item)["clinical"] == item["clinical"]
    assert not ClinicalVectord()({})["clinical"].any()
