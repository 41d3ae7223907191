from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.cohort import Case, Lesion
from monai_staging.cohort.case import LESION_KINDS
from monai_staging.errors import DataError
from monai_staging.tnm import EDITIONS, PREFIXES, categories

CASE = Case(
    patient="LUNG1-001",
    study="1.2",
    series="1.2.3",
    image="volumes/00.nii",
    mask="masks/00.nii",
    lesions=(
        Lesion("primary", (1.0, -2.5, 3.0), (10.0, 12.0, 8.0), "RUL", 13.5, 4.0, 1, ((7, 1.0, 2.0, 30.0, 40.0),)),
    ),
    t=("T1a", "T1b"),
    n=("N0",),
    m=("M0", "M1a", "M1b", "M1c"),
    edition="8",
    subtype="adenocarcinoma",
    fold=2,
    clinical={"age": 61.5, "sex": "F", "smoking": "never", "stage": "IA"},
)

_mm = st.floats(-1e4, 1e4)
_size = st.floats(0, 1e3)
_lesions = st.builds(
    Lesion,
    kind=st.sampled_from(LESION_KINDS),
    center_mm=st.tuples(_mm, _mm, _mm),
    size_mm=st.tuples(_size, _size, _size),
    site=st.none() | st.text(),
    diameter_mm=st.none() | _size,
    solid_diameter_mm=st.none() | _size,
    label=st.none() | st.integers(1, 65535),
    boxes=st.lists(st.tuples(st.integers(0, 900), _size, _size, _size, _size), max_size=3).map(tuple),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    edition = draw(st.sampled_from(EDITIONS))
    letters = {}
    for letter in "tnm":
        full = categories(letter, edition)
        chosen = draw(st.sets(st.sampled_from(full), min_size=1))
        letters[letter] = tuple(category for category in full if category in chosen)
    return Case(
        patient=draw(st.text(min_size=1)),
        study="1.2",
        series="1.2.3",
        image="volumes/00.nii",
        mask=draw(st.none() | st.just("masks/00.nii")),
        lesions=tuple(draw(st.lists(_lesions, max_size=2))),
        edition=edition,
        prefix=draw(st.sampled_from(sorted(PREFIXES))),
        subtype=draw(st.none() | st.text()),
        fold=draw(st.none() | st.integers(0, 9)),
        clinical={"age": draw(st.none() | st.floats(0, 120)), "sex": draw(st.sampled_from([None, "F", "M"]))},
        **letters,
    )


@settings(max_examples=50)
@given(cases())
def test_json_round_trip(case: Case) -> None:
    assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case


def test_json_has_the_contract_s_keys() -> None:
    expected = "patient study series image mask lesions t n m edition prefix subtype fold clinical"
    assert " ".join(CASE.to_json()) == expected
    assert "mask" not in replace(CASE, mask=None).to_json()
    assert not any(key.startswith(("image_", "label_")) for key in CASE.to_json())


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"t": []}, "t must be"),
        ({"t": ["T1b", "T1a"]}, "order"),
        ({"t": ["T1"]}, "T1"),
        ({"n": ["N2a"]}, "N2a"),
        ({"m": "M0"}, "m must be a list"),
        ({"edition": "5"}, "edition must be one of 6, 7, 8, 9; found '5'"),
        ({"edition": 8}, "edition"),
        ({"prefix": "x"}, "prefix"),
        ({"patient": ""}, "patient"),
        ({"image": "/etc/passwd"}, "inside the cohort's folder"),
        ({"mask": "../other/mask.nii"}, "inside the cohort's folder"),
        ({"fold": -1}, "fold"),
        ({"fold": True}, "fold"),
        ({"clinical": {"age": 200}}, "age must be 0 to 130"),
        ({"clinical": {"sex": "male"}}, "sex must be one of F, M or null; found 'male'"),
        ({"clinical": {"smoking": "yes"}}, "smoking"),
        ({"clinical": []}, "clinical"),
        ({"subtype": 3}, "subtype"),
        ({"image_path": "x"}, "unknown key image_path"),
        ({"lesions": [{"kind": "tumour", "center_mm": [0, 0, 0], "size_mm": [1, 1, 1]}]}, "kind must be one of"),
        ({"lesions": [{"kind": "node", "center_mm": [0, 0], "size_mm": [1, 1, 1]}]}, "center_mm"),
        ({"lesions": [{"kind": "node", "center_mm": [0, 0, float("nan")], "size_mm": [1, 1, 1]}]}, "finite"),
        ({"lesions": [{"kind": "node", "center_mm": [0, 0, 0], "size_mm": [1, -1, 1]}]}, "negative"),
        ({"lesions": [{"kind": "node", "center_mm": [0, 0, 0], "size_mm": [1, 1, 1], "label": 0}]}, "label"),
        ({"lesions": [{"kind": "node", "center_mm": [0, 0, 0], "size_mm": [1, 1, 1], "boxes": [[1, 2]]}]}, "box"),
        ({"lesions": [{"kind": "node", "center_mm": [0, 0, 0], "size_mm": [1, 1, 1], "diameter_mm": "9"}]}, "diameter"),
        ({"lesions": {}}, "lesions must be a list"),
    ],
)
def test_refuses_with_the_rule_and_the_case(change: dict[str, Any], rule: str) -> None:
    with pytest.raises(DataError, match="Case .*") as caught:
        Case.from_json(CASE.to_json() | change)
    assert rule in str(caught.value)
    assert "LUNG1-001" in str(caught.value) or "patient" in change


def test_refuses_what_is_no_object_or_lacks_keys() -> None:
    with pytest.raises(DataError, match="must be a JSON object"):
        Case.from_json([])
    document = CASE.to_json()
    del document["t"], document["series"]
    with pytest.raises(DataError, match="Case LUNG1-001: series, t missing"):
        Case.from_json(document)
