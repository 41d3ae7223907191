from __future__ import annotations

import pytest

from monai_staging.errors import UsageError
from monai_staging.tnm import EDITIONS, categories, expand, is_unknown, main_categories, main_category, ordered
from monai_staging.tnm.categories import check_letter, check_prefix, parse_edition

LISTS = {
    ("t", "6"): "Tis T1 T2 T3 T4",
    ("t", "7"): "Tis T1a T1b T2a T2b T3 T4",
    ("t", "8"): "Tis T1mi T1a T1b T1c T2a T2b T3 T4",
    ("t", "9"): "Tis T1mi T1a T1b T1c T2a T2b T3 T4",
    ("n", "6"): "N0 N1 N2 N3",
    ("n", "7"): "N0 N1 N2 N3",
    ("n", "8"): "N0 N1 N2 N3",
    ("n", "9"): "N0 N1 N2a N2b N3",
    ("m", "6"): "M0 M1",
    ("m", "7"): "M0 M1a M1b",
    ("m", "8"): "M0 M1a M1b M1c",
    ("m", "9"): "M0 M1a M1b M1c1 M1c2",
}


@pytest.mark.parametrize(("letter", "edition"), LISTS)
def test_categories_by_edition(letter: str, edition: str) -> None:
    assert " ".join(categories(letter, edition)) == LISTS[letter, edition]
    assert categories(letter.upper(), edition) == categories(letter, edition)


@pytest.mark.parametrize(
    ("category", "main"),
    [
        ("Tis", "Tis"),
        ("T1mi", "T1"),
        ("T1b", "T1"),
        ("T4", "T4"),
        ("N2a", "N2"),
        ("M1c2", "M1"),
        ("TX", "TX"),
        ("T0", "T0"),
    ],
)
def test_main_category(category: str, main: str) -> None:
    assert main_category(category) == main


def test_main_categories_in_order() -> None:
    assert main_categories("t", "8") == ("Tis", "T1", "T2", "T3", "T4")
    assert main_categories("n", "9") == ("N0", "N1", "N2", "N3")
    assert main_categories("m", "9") == ("M0", "M1")


@pytest.mark.parametrize(
    ("category", "edition", "members"),
    [
        ("T1", "6", "T1"),
        ("T1", "7", "T1a T1b"),
        ("T1", "8", "T1mi T1a T1b T1c"),
        ("N2", "8", "N2"),
        ("N2", "9", "N2a N2b"),
        ("M1", "6", "M1"),
        ("M1", "9", "M1a M1b M1c1 M1c2"),
        ("M1c", "8", "M1c"),
        ("M1c", "9", "M1c1 M1c2"),
        ("M1c1", "8", ""),
        ("T1c", "7", ""),
        ("T1mi", "7", ""),
        ("N2a", "8", ""),
        ("M1a", "6", ""),
        ("T5", "8", ""),
        ("T", "8", ""),
        ("T0", "8", "T0"),
    ],
)
def test_expand(category: str, edition: str, members: str) -> None:
    assert expand(category, edition) == frozenset(members.split())


def test_ordered_follows_the_edition_and_refuses_strangers() -> None:
    assert ordered("t", {"T4", "Tis", "T1mi"}, "8") == ("Tis", "T1mi", "T4")
    with pytest.raises(UsageError, match="T of the 7th edition is one of .*; got T1c"):
        ordered("t", {"T1c"}, "7")


@pytest.mark.parametrize("edition", EDITIONS)
def test_unknown_is_the_full_set(edition: str) -> None:
    full = frozenset(categories("m", edition))
    assert is_unknown("m", full, edition)
    assert not is_unknown("m", full - {"M0"}, edition)


@pytest.mark.parametrize(
    ("text", "edition"),
    [
        ("7th", "7"),
        ("AJCC 7", "7"),
        ("7.0", "7"),
        (7.0, "7"),
        (8, "8"),
        ("8th edition", "8"),
        ("AJCC 8th ed.", "8"),
        ("UICC/AJCC 8", "8"),
        ("TNM9", "9"),
        ("6TH", "6"),
        (" 6th ", "6"),
        ("5th", None),
        ("17", None),
        ("2017", None),
        ("", None),
        (None, None),
        (float("nan"), None),
        ("[Not Available]", None),
        ("7 or 8", None),
        (7.5, None),
    ],
)
def test_parse_edition(text: object, edition: str | None) -> None:
    assert parse_edition(text) == edition


def test_prefix_and_letter_are_checked() -> None:
    assert check_prefix("YP") == "yp"
    with pytest.raises(UsageError, match="prefix must be one of c, p, yc, yp, r, got 'a'"):
        check_prefix("a")
    assert check_letter("N") == "n"
    with pytest.raises(UsageError, match="letter must be t, n or m, got 'x'"):
        check_letter("x")
