from __future__ import annotations

import itertools

import pytest

from monai_staging.errors import UsageError
from monai_staging.tnm import TNM, categories, convert


def test_to_the_9th_is_one_to_many() -> None:
    converted = convert(TNM.parse("cT1b", "N2", "M1c"), "9")
    assert (converted.t, converted.n, converted.m) == ({"T1b"}, {"N2a", "N2b"}, {"M1c1", "M1c2"})
    assert (converted.edition, converted.prefix) == ("9", "c")
    assert convert(TNM.parse("T1b", "N2", "M0"), "9").groups == ("IIB", "IIIA")
    assert convert(TNM.parse("T2b", "N2", "M0"), "9").groups == ("IIIA", "IIIB")


def test_every_8th_edition_value_comes_back_the_same() -> None:
    for t, n, m in itertools.product(*(categories(letter, "8") for letter in "tnm")):
        tnm = TNM(frozenset({t}), frozenset({n}), frozenset({m}), "8", "p")
        there = convert(tnm, "9")
        assert convert(there, "8") == tnm
        assert len(there.n) == (2 if n == "N2" else 1) and len(there.m) == (2 if m == "M1c" else 1)


def test_every_9th_edition_value_is_among_those_its_8th_may_be() -> None:
    for t, n, m in itertools.product(*(categories(letter, "9") for letter in "tnm")):
        tnm = TNM(frozenset({t}), frozenset({n}), frozenset({m}), "9")
        back = convert(convert(tnm, "8"), "9")
        assert tnm.t <= back.t and tnm.n <= back.n and tnm.m <= back.m


def test_unknown_stays_unknown_and_findings_stay() -> None:
    converted = convert(TNM.parse(None, None, None), "9")
    assert all(converted.is_unknown(letter) for letter in "tnm")
    assert convert(TNM.parse("T0", "N2", "M0"), "9").t == {"T0"}


def test_the_same_edition_is_the_same_value_and_others_are_refused() -> None:
    tnm = TNM.parse("T1b", "N2", "M0", "7")
    assert convert(tnm, "7") is tnm
    for edition in ("8", "9", "6"):
        with pytest.raises(UsageError, match=f"8th and 9th editions only, not from 7 to {edition}"):
            convert(tnm, edition)
