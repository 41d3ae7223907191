"""Every cell of every edition's table, typed apart from the code in the order in which the editions are published."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.errors import DataError, UsageError
from monai_staging.tnm import (
    EDITIONS,
    categories,
    group_table,
    groups,
    main_group,
    main_groups,
    stage_group,
    stage_groups,
)

# Group -> "T.. N.." combinations at M0, written by group (the code holds them by T category).
SIXTH = {
    "0": ["Tis N0"],
    "IA": ["T1 N0"],
    "IB": ["T2 N0"],
    "IIA": ["T1 N1"],
    "IIB": ["T2 N1", "T3 N0"],
    "IIIA": ["T1 N2", "T2 N2", "T3 N1", "T3 N2"],
    "IIIB": ["T4 N0", "T4 N1", "T4 N2", "T4 N3", "T1 N3", "T2 N3", "T3 N3"],
}
SEVENTH = {
    "0": ["Tis N0"],
    "IA": ["T1a N0", "T1b N0"],
    "IB": ["T2a N0"],
    "IIA": ["T2b N0", "T1a N1", "T1b N1", "T2a N1"],
    "IIB": ["T2b N1", "T3 N0"],
    "IIIA": ["T1a N2", "T1b N2", "T2a N2", "T2b N2", "T3 N1", "T3 N2", "T4 N0", "T4 N1"],
    "IIIB": ["T4 N2", "T1a N3", "T1b N3", "T2a N3", "T2b N3", "T3 N3", "T4 N3"],
}
EIGHTH = {
    "0": ["Tis N0"],
    "IA1": ["T1mi N0", "T1a N0"],
    "IA2": ["T1b N0"],
    "IA3": ["T1c N0"],
    "IB": ["T2a N0"],
    "IIA": ["T2b N0"],
    "IIB": ["T1mi N1", "T1a N1", "T1b N1", "T1c N1", "T2a N1", "T2b N1", "T3 N0"],
    "IIIA": ["T1mi N2", "T1a N2", "T1b N2", "T1c N2", "T2a N2", "T2b N2", "T3 N1", "T4 N0", "T4 N1"],
    "IIIB": ["T1mi N3", "T1a N3", "T1b N3", "T1c N3", "T2a N3", "T2b N3", "T3 N2", "T4 N2"],
    "IIIC": ["T3 N3", "T4 N3"],
}
NINTH = {
    "0": ["Tis N0"],
    "IA1": ["T1mi N0", "T1a N0"],
    "IA2": ["T1b N0"],
    "IA3": ["T1c N0"],
    "IB": ["T2a N0"],
    "IIA": ["T2b N0", "T1mi N1", "T1a N1", "T1b N1", "T1c N1"],
    "IIB": ["T1mi N2a", "T1a N2a", "T1b N2a", "T1c N2a", "T2a N1", "T2b N1", "T3 N0"],
    "IIIA": ["T1mi N2b", "T1a N2b", "T1b N2b", "T1c N2b", "T2a N2a", "T2b N2a", "T3 N1", "T3 N2a", "T4 N0", "T4 N1"],
    "IIIB": [
        *("T1mi N3", "T1a N3", "T1b N3", "T1c N3", "T2a N2b", "T2b N2b", "T2a N3", "T2b N3"),
        *("T3 N2b", "T4 N2a", "T4 N2b"),
    ],
    "IIIC": ["T3 N3", "T4 N3"],
}
M0_TABLES = {"6": SIXTH, "7": SEVENTH, "8": EIGHTH, "9": NINTH}
M1_GROUPS = {
    "6": {"M1": "IV"},
    "7": {"M1a": "IV", "M1b": "IV"},
    "8": {"M1a": "IVA", "M1b": "IVA", "M1c": "IVB"},
    "9": {"M1a": "IVA", "M1b": "IVA", "M1c1": "IVB", "M1c2": "IVB"},
}


def reference(t: str, n: str, m: str, edition: str) -> str | None:
    """The group by the tables above."""
    if m != "M0":
        return M1_GROUPS[edition][m]
    return next((group for group, cells in M0_TABLES[edition].items() if f"{t} {n}" in cells), None)


def every(edition: str) -> list[tuple[str, str, str]]:
    return list(itertools.product(*(categories(letter, edition) for letter in "tnm")))


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_combination_has_the_group_of_the_published_table(edition: str) -> None:
    for t, n, m in every(edition):
        expected = reference(t, n, m, edition)
        if expected is None:
            assert (t, m) == ("Tis", "M0") and n != "N0"
            with pytest.raises(DataError, match=f"no stage group for {t} {n} {m}"):
                stage_group(t, n, m, edition)
        else:
            assert stage_group(t, n, m, edition) == expected, (t, n, m)
        assert group_table(edition)[t][n][m] == expected


@pytest.mark.parametrize(("edition", "cells"), [("6", 16), ("7", 24), ("8", 32), ("9", 40)])
def test_the_reference_covers_the_whole_table(edition: str, cells: int) -> None:
    listed = [cell for group in M0_TABLES[edition].values() for cell in group]
    assert len(listed) == len(set(listed)) == cells + 1


@pytest.mark.parametrize("edition", EDITIONS)
def test_groups_are_those_the_table_uses_in_order(edition: str) -> None:
    used = {reference(t, n, m, edition) for t, n, m in every(edition)} - {None}
    assert set(groups(edition)) == used
    assert groups(edition, occult=True) == ("occult", *groups(edition))
    assert main_groups(edition) == ("0", "I", "II", "III", "IV")


def test_only_the_8th_and_9th_divide_stage_iv() -> None:
    assert "IV" in groups("7") and "IVA" not in groups("7")
    assert {"IVA", "IVB"} < set(groups("8")) and "IV" not in groups("8")


@pytest.mark.parametrize(
    ("group", "main"),
    [
        ("occult", "occult"),
        ("0", "0"),
        ("IA3", "I"),
        ("IB", "I"),
        ("IIB", "II"),
        ("IIIC", "III"),
        ("IV", "IV"),
        ("IVB", "IV"),
    ],
)
def test_main_group(group: str, main: str) -> None:
    assert main_group(group) == main


@pytest.mark.parametrize("edition", EDITIONS)
def test_occult_tx_and_t0(edition: str) -> None:
    m1 = categories("m", edition)[-1]
    assert stage_group("TX", "N0", "M0", edition) == "occult"
    assert stage_group("TX", "N3", m1, edition) == stage_group("T0", "N0", m1, edition) == M1_GROUPS[edition][m1]
    with pytest.raises(DataError):
        stage_group("T0", "N0", "M0", edition)
    assert stage_groups({"T0"}, {"N0"}, {"M0"}, edition) == ()
    # No row of its own with nodes: any T may be behind it.
    assert stage_groups({"TX"}, {"N3"}, {"M0"}, edition) == stage_groups(
        categories("t", edition), {"N3"}, {"M0"}, edition
    )


@pytest.mark.parametrize(
    "t, n, m", [("T1", "N0", "M0"), ("T2a", "N2a", "M0"), ("T2a", "N0", "M1"), ("t2a", "N0", "M0")]
)
def test_a_category_of_another_edition_is_refused(t: str, n: str, m: str) -> None:
    with pytest.raises(UsageError, match="of the 8th edition is one of"):
        stage_group(t, n, m, "8")
    with pytest.raises(UsageError):
        stage_groups({t}, {n}, {m}, "8")


@pytest.mark.parametrize("edition", ["5", "10", "", None, 8.5])
def test_an_unknown_edition_is_refused(edition: object) -> None:
    with pytest.raises(UsageError, match="TNM edition must be one of 6, 7, 8, 9"):
        groups(edition)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_groups_of_sets_are_the_union_over_their_members(data: st.DataObject) -> None:
    edition = data.draw(st.sampled_from(EDITIONS))
    t, n, m = (
        data.draw(st.sets(st.sampled_from(categories(letter, edition)), min_size=1), label=letter) for letter in "tnm"
    )
    expected = {reference(*cell, edition) for cell in itertools.product(t, n, m)} - {None}
    derived = stage_groups(t, n, m, edition)
    assert set(derived) == expected
    assert list(derived) == [group for group in groups(edition) if group in expected]


def test_a_missing_m_is_never_m0() -> None:
    assert stage_groups({"T1a"}, {"N0"}, categories("m", "8"), "8") == ("IA1", "IVA", "IVB")
