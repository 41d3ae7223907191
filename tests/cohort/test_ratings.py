from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.cohort import Lesion
from monai_staging.cohort.ratings import HIGHEST, RATINGS
from monai_staging.errors import DataError

UNRATED = Lesion("nodule", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))


@given(
    st.lists(st.integers(1, 5), max_size=4).map(tuple),
    st.dictionaries(st.sampled_from(RATINGS), st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)),
)
def test_json_round_trip(malignancy: tuple[int, ...], ratings: dict[str, tuple[int, ...]]) -> None:
    lesion = replace(UNRATED, malignancy=malignancy, ratings=ratings)
    document = json.loads(json.dumps(lesion.to_json()))
    assert Lesion.from_json(document) == lesion
    assert ("malignancy" in document, "ratings" in document) == (bool(malignancy), bool(ratings))
    assert {UNRATED, lesion} == {lesion, UNRATED}


def test_a_lesion_without_ratings_is_written_as_before() -> None:
    expected = ["kind", "site", "center_mm", "size_mm", "diameter_mm", "solid_diameter_mm", "label"]
    assert list(UNRATED.to_json()) == expected
    assert Lesion.from_json(UNRATED.to_json()) == UNRATED


def test_the_highest_values() -> None:
    top = replace(UNRATED, malignancy=(5,), ratings={name: (value,) for name, value in HIGHEST.items()})
    assert top.ratings["calcification"] == (6,)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"malignancy": [0]}, "malignancy must be whole numbers from 1 to 5"),
        ({"malignancy": [6]}, "malignancy"),
        ({"malignancy": [2.5]}, "malignancy"),
        ({"malignancy": [True]}, "malignancy"),
        ({"malignancy": 3}, "malignancy must be a list"),
        ({"ratings": {"texture": [6]}}, "texture must be whole numbers from 1 to 5"),
        ({"ratings": {"calcification": [7]}}, "calcification must be whole numbers from 1 to 6"),
        ({"ratings": {"texture": []}}, "texture"),
        ({"ratings": {"texture": 3}}, "texture must be a list"),
        ({"ratings": {"colour": [3]}}, "found 'colour'"),
        ({"ratings": [1]}, "ratings must be an object"),
    ],
)
def test_refuses(change: dict[str, Any], rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        Lesion.from_json(UNRATED.to_json() | change)
