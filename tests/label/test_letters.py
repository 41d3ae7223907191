from __future__ import annotations

from typing import Any

import pytest

from monai_staging.errors import UsageError
from monai_staging.label.letters import keep_letters, kept_letters, read_letters, segment_letters

ALL_M = ["M0", "M1a", "M1b", "M1c"]


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ({"t": "T2a"}, {"t": ["T2a"], "edition": "8", "prefix": "c"}),
        ({"t": "t2a | T2b "}, {"t": ["T2a", "T2b"], "edition": "8", "prefix": "c"}),
        ({"t": ["T2b", "T2a"], "n": "1"}, {"t": ["T2a", "T2b"], "n": ["N1"], "edition": "8", "prefix": "c"}),
        ({"t": "T2"}, {"t": ["T2a", "T2b"], "edition": "8", "prefix": "c"}),
        ({"t": "pT3", "m": "cM0"}, {"t": ["T3"], "m": ["M0"], "edition": "8", "prefix": "p"}),
        ({"m": "MX"}, {"m": ALL_M, "edition": "8", "prefix": "c"}),
        ({"n": "N2a", "edition": "9th", "prefix": "yc"}, {"n": ["N2a"], "edition": "9", "prefix": "yc"}),
        ({"m": "M0", "edition": 7}, {"m": ["M0"], "edition": "7", "prefix": "c"}),
        ({"t": "", "n": None, "edition": "8"}, {}),
        ({}, {}),
    ],
)
def test_letters_are_sets_of_categories(given: dict[str, Any], known: dict[str, Any]) -> None:
    assert read_letters(given) == known


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"t": "T5"}, "T of the 8th edition is of T0, TX, Tis, T1mi, .*; found 'T5'"),
        ({"t": "N1"}, "found 'N1'"),
        ({"t": "T1|M0"}, r"found 'T1\|M0'"),
        ({"n": "N2a"}, "N of the 8th edition"),
        ({"m": "M1c1", "edition": "8"}, "M of the 8th edition"),
        ({"t": 2}, "found '2'"),
        ({"t": False}, "found 'False'"),
        ({"t": []}, r"found '\[\]'"),
        ({"t": [["T1"]]}, "a list of texts"),
        ({"t": {"T1": 1}}, "a list of texts"),
        ({"t": "T1|" * 100}, "at most 200 characters"),
        ({"t": "T1", "edition": "5"}, "edition must be one of 6, 7, 8, 9"),
        ({"edition": True}, "edition is a text"),
        ({"t": "T1", "prefix": "q"}, "prefix must be one of"),
        ({"t": "pT1", "n": "cN1"}, "Prefixes must agree"),
    ],
)
def test_what_is_no_letter_is_refused(given: dict[str, Any], found: str) -> None:
    with pytest.raises(UsageError, match=found):
        read_letters(given)


def test_a_letter_that_is_not_entered_stays_as_it_was() -> None:
    before = read_letters({"t": "T1a", "n": "N0"})
    assert read_letters({"n": "N1"}, before) == {"t": ["T1a"], "n": ["N1"], "edition": "8", "prefix": "c"}
    assert read_letters({"t": "", "edition": "8"}, before) == before
    # The edition and prefix of before hold on; under others its categories would mean something else.
    older = read_letters({"t": "pT2a", "edition": "7"})
    assert read_letters({"n": "N1"}, older) == {"t": ["T2a"], "n": ["N1"], "edition": "7", "prefix": "p"}
    assert read_letters({"n": "N1", "edition": "8"}, older) == {"n": ["N1"], "edition": "8", "prefix": "p"}


def test_a_segments_name_may_be_the_letters() -> None:
    def named(*names: str) -> dict[str, str]:
        return segment_letters([{"name": name, "idx": number} for number, name in enumerate(names, start=1)])

    assert named("primary", "cT2a N1, MX") == {"t": "cT2a", "n": "N1", "m": "MX"}
    assert named("T2a|T2b", "node", "n0") == {"t": "T2a|T2b", "n": "n0"}
    assert named("nodule", "metastasis", "T2a and more", "Tumour", "Nodule 1", "T 2") == {}
    assert segment_letters(None) == segment_letters("x") == segment_letters([7, {"idx": 1}]) == {}
    with pytest.raises(UsageError, match="one T a study; found 'T1a' and 'T2a'"):
        named("T1a", "T2a N0")


def test_letters_are_kept_by_the_tag_of_their_label() -> None:
    study: dict[str, Any] = {"ts": 1}
    assert keep_letters(study, "final", {"user": "anna"}) == {} and study == {"ts": 1}
    keep_letters(study, "final", {"t": "T1a", "user": "anna"})
    keep_letters(study, "second", {"label_info": [{"name": "T2a N1", "idx": 1}], "user": "ben"})
    # What is stated goes before a segment's name.
    known = keep_letters(study, "final", {"n": "N0", "label_info": [{"name": "N1", "idx": 1}], "user": "carl"})
    assert known == {"t": ["T1a"], "n": ["N0"], "edition": "8", "prefix": "c"}
    assert study["staging"] == {
        "final": {**known, "user": "carl"},
        "second": {"t": ["T2a"], "n": ["N1"], "edition": "8", "prefix": "c", "user": "ben"},
    }
    assert kept_letters(study, "final", {"t": "T4"}) == known
    assert kept_letters({}, "final", {"t": "T4"})["t"] == ["T4"]
    with pytest.raises(UsageError, match="found 'T9'"):
        kept_letters({"staging": {"final": {"t": ["T9"]}}}, "final", {})
