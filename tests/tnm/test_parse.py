from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.errors import UsageError
from monai_staging.tnm import (
    EDITIONS,
    CodeStatus,
    categories,
    is_missing,
    main_category,
    parse_code,
    parse_m,
    parse_n,
    parse_t,
)

STATED, UNKNOWN, STRAY = CodeStatus.STATED, CodeStatus.UNKNOWN, CodeStatus.STRAY
T1 = "T1mi T1a T1b T1c"


@pytest.mark.parametrize(
    ("code", "members", "prefix"),
    [
        # Lung-PET-CT-Dx
        ("is", "Tis", None),
        ("1", T1, None),
        ("1a", "T1a", None),
        ("1b", "T1b", None),
        ("1c", "T1c", None),
        ("2", "T2a T2b", None),
        ("2a", "T2a", None),
        ("2b", "T2b", None),
        ("3", "T3", None),
        ("4", "T4", None),
        # numbers as spreadsheets and pandas give them
        (1, T1, None),
        (2.0, "T2a T2b", None),
        ("2.0", "T2a T2b", None),
        # with the letter, with a prefix, in any case and width
        ("Tis", "Tis", None),
        ("TIS", "Tis", None),
        ("T is", "Tis", None),
        ("Tis (AIS)", "Tis", None),
        ("T2A", "T2a", None),
        ("t2a ", "T2a", None),
        ("T 2 a", "T2a", None),
        ("cT2a", "T2a", "c"),
        ("pT2a", "T2a", "p"),
        ("PT2A", "T2a", "p"),
        ("ycT2", "T2a T2b", "yc"),
        ("ypT2", "T2a T2b", "yp"),
        ("rT1b", "T1b", "r"),
        ("Ｔ２ａ", "T2a", None),
        ("\ufeffT3", "T3", None),
        ("T3\u00a0", "T3", None),
        ("1mi", "T1mi", None),
        ("T1mi", "T1mi", None),
        ("T1a(mi)", "T1mi", None),
        ("T1(mi)", "T1mi", None),
        ("pT1a (mi)", "T1mi", "p"),
        ("T0", "T0", None),
        ("ypT0", "T0", "yp"),
        # sets
        ("T2a/T2b", "T2a T2b", None),
        ("T2a/b", "T2a T2b", None),
        ("T1a-c", "T1a T1b T1c", None),
        ("T1-2", f"{T1} T2a T2b", None),
        ("T1–T2", f"{T1} T2a T2b", None),
        ("T1c to T2b", "T1c T2a T2b", None),
        ("T3 or T4", "T3 T4", None),
        ("cT3, T4", "T3 T4", "c"),
        ("cT1a-cT1b", "T1a T1b", "c"),
        ("T0-T1a", "T0 Tis T1mi T1a", None),
        ("T2/T4", "T2a T2b T4", None),
    ],
)
def test_t_of_the_8th_edition(code: object, members: str, prefix: str | None) -> None:
    parsed = parse_code("t", code, "8")
    assert (" ".join(parsed.categories), parsed.status, parsed.prefix) == (members, STATED, prefix)
    assert parse_t(code, "8") == parsed.members == frozenset(members.split())


@pytest.mark.parametrize(
    "code",
    [
        *(
            None,
            math.nan,
            "",
            " ",
            "nan",
            "NaN",
            "None",
            "<NA>",
            "NaT",
            "NA",
            "N/A",
            "#N/A",
            "-",
            "--",
            "'--",
            "?",
            ".",
        ),
        *("X", "x", "TX", "tx", "cTX", "T X", "Unknown", "[Not Available]", "[Unknown]", "[Not Evaluated]"),
        *("Not Collected", "not  collected", "Not Recorded In Database", "not_reported", "[Discrepancy]", "T2/TX"),
    ],
)
@pytest.mark.parametrize("edition", EDITIONS)
def test_x_and_missing_are_unknown(code: object, edition: str) -> None:
    parsed = parse_code("t", code, edition)
    assert (parsed.categories, parsed.status) == (categories("t", edition), UNKNOWN)


@pytest.mark.parametrize(
    ("letter", "code", "edition"),
    [
        *(
            ("t", code, "8")
            for code in ("5", "T5", 5, "T1d", "1.5", "T2c", "N2", "M0", "T", "aT2", "c2a", "yT2", "cis")
        ),
        *(
            ("t", code, "8")
            for code in ("T2-", "-1", "T3-T1", "X-T2", "cT2/pT2", "T2?", "True", "T1a(m)", "2018-01-02")
        ),
        *(("t", code, "8") for code in ("TO", "T22", "banana", "/", "\u0000", "T2 a b", "TX-T1")),
        ("t", "T1c", "7"),
        ("t", "T1mi", "7"),
        ("t", "T1a", "6"),
        ("n", "4", "6"),
        ("n", "N2a", "8"),
        ("n", "N1a", "9"),
        ("n", "is", "8"),
        ("m", "2", "8"),
        ("m", "3", "6"),
        ("m", "M1c", "7"),
        ("m", "M1a", "6"),
        ("m", "M1c1", "8"),
        ("m", "M1d", "9"),
        ("m", "M1c3", "9"),
    ],
)
def test_stray_codes_are_the_full_set_and_say_so(letter: str, code: object, edition: str) -> None:
    parsed = parse_code(letter, code, edition)
    assert (parsed.categories, parsed.status, parsed.code) == (categories(letter, edition), STRAY, str(code))


@pytest.mark.parametrize(
    ("letter", "code", "edition", "members"),
    [
        ("n", 0, "8", "N0"),
        ("n", 2.0, "8", "N2"),
        ("n", "N2 ", "8", "N2"),
        ("n", "N2", "9", "N2a N2b"),
        ("n", "2b", "9", "N2b"),
        ("n", "N1-2", "9", "N1 N2a N2b"),
        ("m", "0", "8", "M0"),
        ("m", "1", "8", "M1a M1b M1c"),
        ("m", "1c", "8", "M1c"),
        ("m", "Ｍ１ａ", "8", "M1a"),
        ("m", "M1", "6", "M1"),
        ("m", "M1", "7", "M1a M1b"),
        ("m", "M1c", "9", "M1c1 M1c2"),
        ("m", "M1C2", "9", "M1c2"),
        ("m", "1a/b", "8", "M1a M1b"),
        ("t", "T1", "6", "T1"),
        ("t", "T1", "7", "T1a T1b"),
    ],
)
def test_other_letters_and_editions(letter: str, code: object, edition: str, members: str) -> None:
    parsed = parse_code(letter, code, edition)
    assert (" ".join(parsed.categories), parsed.status) == (members, STATED)


def test_mx_and_missing_m_are_never_m0() -> None:
    for code in ("MX", None, "", "3"):
        assert parse_m(code, "8") == {"M0", "M1a", "M1b", "M1c"}
    assert parse_n("NX", "8") == {"N0", "N1", "N2", "N3"}


def test_tx_as_a_finding_only_where_it_is_written() -> None:
    assert parse_t("TX", "8", tx_means="occult") == {"TX"}
    assert parse_t("pTX", "8", tx_means="occult") == {"TX"}
    assert parse_t(None, "8", tx_means="occult") == frozenset(categories("t", "8"))
    assert parse_t("T2/TX", "8", tx_means="occult") == frozenset(categories("t", "8"))
    assert parse_code("n", "NX", "8", tx_means="occult").status is UNKNOWN
    with pytest.raises(UsageError, match="tx_means must be 'unknown' or 'occult', got 'guess'"):
        parse_t("TX", "8", tx_means="guess")  # type: ignore[arg-type]


def test_the_edition_may_be_spelt_too() -> None:
    assert parse_code("t", "2a", 8).edition == parse_code("t", "2a", "AJCC 8th").edition == "8"  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["0", "x", "N0", "no"])
def test_what_is_not_missing(value: str) -> None:
    assert not is_missing(value)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(EDITIONS), st.sampled_from("tnm"), st.text(max_size=12))
def test_any_text_gives_a_set_of_the_edition_and_never_raises(edition: str, letter: str, code: str) -> None:
    parsed = parse_code(letter, code, edition)
    assert parsed.categories
    assert parsed.members <= {*categories(letter, edition), "T0"}
    if parsed.status is not STATED:
        assert parsed.categories == categories(letter, edition)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_spelling_of_a_category_means_that_category(data: st.DataObject) -> None:
    edition = data.draw(st.sampled_from(EDITIONS))
    letter = data.draw(st.sampled_from("tnm"))
    category = data.draw(st.sampled_from(categories(letter, edition)))
    prefix = data.draw(st.sampled_from(["", "c", "p", "yc", "yp", "r"]))
    text = prefix + category if prefix else data.draw(st.sampled_from([category, category[1:]]))
    text = data.draw(st.sampled_from([str.upper, str.lower, str]))(text)
    text = data.draw(st.sampled_from(["{}", " {} ", "\t{}\u3000"])).format(text)
    if data.draw(st.booleans()):
        text = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    parsed = parse_code(letter, text, edition)
    # "T1" and the like exist as main categories too, in editions that do not divide them.
    assert (parsed.categories, parsed.status, parsed.prefix) == ((category,), STATED, prefix or None)
    main = parse_code(letter, main_category(category), edition)
    assert {main_category(member) for member in main.categories} == {main_category(category)}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_set_written_with_slashes_is_the_union(data: st.DataObject) -> None:
    edition = data.draw(st.sampled_from(EDITIONS))
    codes = data.draw(st.lists(st.sampled_from(["T1", "T2", "T3", "T4", "Tis", *categories("t", edition)]), min_size=1))
    assert parse_t("/".join(codes), edition) == frozenset().union(*(parse_t(code, edition) for code in codes))
