from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.tnm import EDITIONS, CodeStatus, groups, main_group, parse_stage


@pytest.mark.parametrize(
    ("code", "edition", "expected"),
    [
        ("IIIb", "6", "IIIB"),
        ("IIIa", "6", "IIIA"),
        ("II", "6", "IIA IIB"),
        ("I", "6", "IA IB"),
        ("I", "8", "IA1 IA2 IA3 IB"),
        ("IA", "8", "IA1 IA2 IA3"),
        ("IA", "7", "IA"),
        ("1A2", "8", "IA2"),
        ("Stage IIIB", "7", "IIIB"),
        ("STAGE IIIB", "7", "IIIB"),
        ("stage_iiia", "7", "IIIA"),
        ("3B", "8", "IIIB"),
        (3, "8", "IIIA IIIB IIIC"),
        (3.0, "7", "IIIA IIIB"),
        ("III", "8", "IIIA IIIB IIIC"),
        ("IV", "7", "IV"),
        ("IV", "8", "IVA IVB"),
        ("4", "6", "IV"),
        ("4A", "8", "IVA"),
        (0, "8", "0"),
        ("0.0", "8", "0"),
        ("Stage 0", "8", "0"),
        ("occult", "8", "occult"),
        ("Occult carcinoma", "8", "occult"),
        ("Ⅲ", "7", "IIIA IIIB"),
        ("ＩＩＩＢ", "7", "IIIB"),
        ("pStage IB", "8", "IB"),
        ("Clinical stage IB", "8", "IB"),
        ("I/II NOS", "7", "IA IB IIA IIB"),
        ("IIIA or IIIB", "7", "IIIA IIIB"),
        ("IB-IIB", "7", "IB IIA IIB"),
        ("Stage IIIA/Stage IIIB", "7", "IIIA IIIB"),
    ],
)
def test_recorded_stages(code: object, edition: str, expected: str) -> None:
    parsed = parse_stage(code, edition)
    assert (" ".join(parsed.groups), parsed.status) == (expected, CodeStatus.STATED)


@pytest.mark.parametrize("code", [None, float("nan"), "", "[Not Available]", "Stage X", "X", "Stage", "Not Collected"])
def test_unknown_stages_are_every_group(code: object) -> None:
    parsed = parse_stage(code, "8")
    assert (parsed.groups, parsed.status) == (groups("8", occult=True), CodeStatus.UNKNOWN)


@pytest.mark.parametrize(
    ("code", "edition"),
    [
        *(("IA1", "7"), ("IVA", "7"), ("IIIC", "7"), ("IIIA1", "8"), ("V", "8"), ("5", "8"), ("IX", "8"), ("IC", "8")),
        *(
            ("IIIB (T4)", "8"),
            ("limited", "8"),
            ("occult?", "8"),
            ("II-I", "8"),
            ("IA/", "8"),
            ("T1", "8"),
            ("IVC", "8"),
        ),
    ],
)
def test_stray_stages_are_every_group(code: str, edition: str) -> None:
    parsed = parse_stage(code, edition)
    assert (parsed.groups, parsed.status) == (groups(edition, occult=True), CodeStatus.STRAY)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(EDITIONS), st.data())
def test_a_group_and_its_main_group_read_back(edition: str, data: st.DataObject) -> None:
    group = data.draw(st.sampled_from(groups(edition)))
    text = data.draw(st.sampled_from(["{}", "stage {}", " Stage  {} "])).format(
        data.draw(st.sampled_from([str, str.lower]))(group)
    )
    assert parse_stage(text, edition).groups == (group,)
    whole = tuple(other for other in groups(edition) if main_group(other) == main_group(group))
    assert parse_stage(main_group(group), edition).groups == whole
