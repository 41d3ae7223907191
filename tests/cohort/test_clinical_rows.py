from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monai_staging.cohort.clinical_rows import merge_rows

CELLS = {
    "t": ["", "TX", "T1", "T1a", "t1a", "1a", "pT1a", "cT1a", "T9"],
    "edition": ["", "7", "7th", "8", "5"],
    "age": ["", "67", "067Y", "68", "old"],
    "stage": ["", "X", "IA", "Stage Ia", "IIIA"],
    "subtype": ["", "NA", "Adeno", "adeno ", "squamous"],
}
rows = st.lists(st.fixed_dictionaries({role: st.sampled_from(cells) for role, cells in CELLS.items()}), min_size=1)


@given(rows)
def test_the_order_of_rows_makes_no_difference_to_what_contradicts(own: list[dict[str, str]]) -> None:
    assert set(merge_rows(own, "8")[1]) == set(merge_rows(own[::-1], "8")[1])


@given(rows)
def test_what_is_merged_comes_from_a_row_and_contradicts_none(own: list[dict[str, str]]) -> None:
    merged, contradictions = merge_rows(own, "8")
    for role, cell in merged.items():
        assert cell in [row[role] for row in own]
    assert set(merge_rows([merged, *own], "8")[1]) == set(contradictions)
    for role, cells in contradictions.items():
        assert cells[0] != cells[1]
        assert set(cells) <= {row[role] for row in own}


def test_spelling_and_gaps_are_no_contradiction() -> None:
    merged, contradictions = merge_rows(
        [
            {"t": "1a", "age": "", "sex": "M"},
            {"t": "pT1a", "age": "67", "sex": "male"},
            {"t": "TX", "age": "", "sex": ""},
        ],
        None,
    )
    assert merged == {"t": "pT1a", "age": "67", "sex": "M"}
    assert not contradictions
    assert merge_rows([{"age": "67"}, {"age": ""}, {"age": "68"}], None)[1] == {"age": ("67", "68")}
