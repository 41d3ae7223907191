from __future__ import annotations

import dataclasses
import json

import pytest

from monai_staging.errors import UsageError
from monai_staging.tnm import TNM, Relation, compare, parse_code, relation
from monai_staging.tnm.value import common_prefix


def test_parse_and_groups() -> None:
    tnm = TNM.parse("cT2a", "N1", "M0")
    assert (tnm.t, tnm.n, tnm.m, tnm.edition, tnm.prefix) == ({"T2a"}, {"N1"}, {"M0"}, "8", "c")
    assert (tnm.groups, tnm.group) == (("IIB",), "IIB")
    assert str(tnm) == "cT2a N1 M0 (8th edition)"


def test_nothing_known_is_the_full_set_and_every_group() -> None:
    tnm = TNM.parse(edition="7")
    assert all(tnm.is_unknown(letter) for letter in "tnm")
    assert (tnm.groups, tnm.group) == (("0", "IA", "IB", "IIA", "IIB", "IIIA", "IIIB", "IV"), None)
    assert str(tnm) == "cT unknown N unknown M unknown (7th edition)"


def test_json_lists_are_in_order() -> None:
    document = TNM.parse("1", "0", None, "9", "p").to_json()
    assert json.loads(json.dumps(document)) == {
        "t": ["T1mi", "T1a", "T1b", "T1c"],
        "n": ["N0"],
        "m": ["M0", "M1a", "M1b", "M1c1", "M1c2"],
        "edition": "9",
        "prefix": "p",
        "groups": ["IA1", "IA2", "IA3", "IVA", "IVB"],
    }


def test_occult_is_reached_through_a_stated_tx_only() -> None:
    assert TNM.parse("TX", "0", "0", tx_means="occult").groups == ("occult",)
    assert TNM.parse("TX", "0", "0").groups == ("0", "IA1", "IA2", "IA3", "IB", "IIA", "IIB", "IIIA")
    assert TNM.parse(None, "0", "0", tx_means="occult").groups == TNM.parse("TX", "0", "0").groups


def test_it_is_frozen_and_hashable_and_takes_any_iterable() -> None:
    tnm = TNM(["T1a"], ("N0",), {"M0"}, 8)  # type: ignore[arg-type]
    assert tnm == TNM(frozenset({"T1a"}), frozenset({"N0"}), frozenset({"M0"}), "8", "c")
    assert len({tnm, TNM.parse("T1a", "N0", "M0")}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        tnm.edition = "9"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((set(), {"N0"}, {"M0"}), "T must hold at least one category, got an empty set"),
        ((["T1"], ["N0"], ["M0"]), "T of the 8th edition is one of .*; got T1"),
        (("T1a", ["N0"], ["M0"]), "T must be a set of categories, got the text 'T1a': use TNM.parse"),
        ((["T1a"], ["N0"], ["M0"], "5"), "TNM edition must be one of"),
        ((["T1a"], ["N0"], ["M0"], "8", "a"), "TNM prefix must be one of"),
    ],
)
def test_senseless_values_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TNM(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("codes", "given", "expected"),
    [
        (("T2", "N0", "M0"), None, None),
        (("T2", "N0", "M0"), "p", "p"),
        (("pT2", "N0", "M0"), None, "p"),
        (("pT2", "pN0", "cM0"), None, "p"),
        (("T2", "N0", "pM1"), "c", "c"),
        (("T2", "N0", "cM0"), None, "c"),
        (("ypT2", "ypN0", "ypM0"), "YP", "yp"),
        (("ypT2", "N0", "cM0"), None, "yp"),
    ],
)
def test_common_prefix(codes: tuple[str, str, str], given: str | None, expected: str | None) -> None:
    t, n, m = (parse_code(letter, code, "8") for letter, code in zip("tnm", codes, strict=True))
    assert common_prefix(t, n, m, prefix=given) == expected


@pytest.mark.parametrize(
    ("codes", "given", "message"),
    [
        (("cT2", "N0", "M0"), "p", "T 'cT2' has 'c', the given prefix says 'p'"),
        (("cT2", "pN0", "M0"), None, "N 'pN0' has 'p', 'cT2' says 'c'"),
        (("pT2", "N0", "ypM0"), None, "M 'ypM0' has 'yp', 'pT2' says 'p'"),
        (("T2", "N0", "rM0"), "c", "M 'rM0' has 'r', the given prefix says 'c'"),
    ],
)
def test_contradicting_prefixes_are_an_error(codes: tuple[str, str, str], given: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TNM.parse(*codes, prefix=given)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("T2a", "T2a", Relation.SAME),
        ("T2a", "T2", Relation.NARROWER),
        ("T2", "T2a", Relation.WIDER),
        ("T1-2", "T2-3", Relation.OVERLAP),
        ("T1", "T2", Relation.DISJOINT),
    ],
)
def test_compare(first: str, second: str, expected: Relation) -> None:
    a, b = TNM.parse(first, "0", "0"), TNM.parse(second, "0", "0")
    assert compare(a, b)["t"] is relation(a.t, b.t) is expected
    assert compare(a, b)["n"] is Relation.SAME
    assert compare(a, b)["groups"] is relation(frozenset(a.groups), frozenset(b.groups))


def test_editions_and_prefixes_never_compare_silently() -> None:
    tnm = TNM.parse("T2a", "N0", "M0")
    with pytest.raises(UsageError, match="compare within one edition only"):
        compare(tnm, TNM.parse("T2a", "N0", "M0", "9"))
    with pytest.raises(UsageError, match="compare within one prefix only"):
        compare(tnm, TNM.parse("T2a", "N0", "M0", prefix="p"))
    assert tnm != TNM.parse("T2a", "N0", "M0", "9")
