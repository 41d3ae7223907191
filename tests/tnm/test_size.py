from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.errors import UsageError
from monai_staging.tnm import (
    EDITIONS,
    Descriptor,
    categories,
    category_of_size,
    descriptor_level,
    descriptors,
    t_from_size,
)

BOUNDARIES = {
    "6": [(0.1, "T1"), (30.0, "T1"), (30.01, "T2"), (300.0, "T2")],
    "7": [
        *((0.1, "T1a"), (20.0, "T1a"), (20.01, "T1b"), (30.0, "T1b"), (30.01, "T2a"), (50.0, "T2a")),
        *((50.01, "T2b"), (70.0, "T2b"), (70.01, "T3"), (300.0, "T3")),
    ],
    "8": [
        *((0.1, "T1a"), (10.0, "T1a"), (10.01, "T1b"), (20.0, "T1b"), (20.01, "T1c"), (30.0, "T1c"), (30.01, "T2a")),
        *((40.0, "T2a"), (40.01, "T2b"), (50.0, "T2b"), (50.01, "T3"), (70.0, "T3"), (70.01, "T4"), (300.0, "T4")),
    ],
}
CASES = [(edition, size, t) for edition in EDITIONS for size, t in BOUNDARIES["8" if edition == "9" else edition]]


@pytest.mark.parametrize(("edition", "size_mm", "category"), CASES)
def test_boundaries_belong_to_the_smaller_category(edition: str, size_mm: float, category: str) -> None:
    assert category_of_size(size_mm, edition) == category
    result = t_from_size(size_mm, edition)
    assert (result.measured, result.at_least, result.size_mm) == (category, category, size_mm)


def test_a_size_gives_at_least() -> None:
    result = t_from_size(15, "8")
    assert result.t == ("T1b", "T2a", "T3", "T4")
    assert result.members == frozenset(result.t)
    assert result.not_assessed == tuple(Descriptor)
    assert result.reasons == ("size 15 mm, taken as solid throughout: T1b",)
    assert t_from_size(80, "8").t == ("T4",)
    assert t_from_size(80, "7").t == ("T3", "T4")


@pytest.mark.parametrize(
    ("size_mm", "solid_mm", "measured"),
    [
        (30.0, 0.0, "Tis"),
        (30.01, 0.0, "T1a"),
        (90.0, 0.0, "T1a"),
        (30.0, 5.0, "T1mi"),
        (30.0, 5.01, "T1a"),
        (30.01, 5.0, "T1a"),
        (5.0, 5.0, "T1mi"),
        (25.0, 10.0, "T1a"),
        (25.0, 10.01, "T1b"),
        (60.0, 35.0, "T2a"),
        (90.0, 71.0, "T4"),
    ],
)
@pytest.mark.parametrize("edition", ["8", "9"])
def test_the_solid_component_counts(size_mm: float, solid_mm: float, measured: str, edition: str) -> None:
    result = t_from_size(size_mm, edition, solid_mm=solid_mm)
    assert (result.measured, result.size_mm) == (measured, solid_mm)
    assert result.t[0] == measured and result.t[-1] == "T4"


@pytest.mark.parametrize(("edition", "measured"), [("6", "T1"), ("7", "T1b")])
def test_earlier_editions_count_the_whole_lesion(edition: str, measured: str) -> None:
    result = t_from_size(25, edition, solid_mm=3)
    assert (result.measured, result.size_mm) == (measured, 25)
    assert "counts the whole lesion" in result.reasons[0]


@pytest.mark.parametrize(
    ("edition", "size_mm", "present", "at_least"),
    [
        ("8", 8, Descriptor.VISCERAL_PLEURA, "T2a"),
        ("8", 45, Descriptor.VISCERAL_PLEURA, "T2b"),
        ("8", 8, Descriptor.MAIN_BRONCHUS_NEAR_CARINA, "T2a"),
        ("8", 8, Descriptor.PARIETAL_PLEURA, "T3"),
        ("8", 8, Descriptor.NODULE_SAME_LOBE, "T3"),
        ("8", 75, Descriptor.CHEST_WALL, "T4"),
        ("8", 8, Descriptor.DIAPHRAGM, "T4"),
        ("9", 8, "recurrent nerve", "T4"),
        ("7", 8, Descriptor.DIAPHRAGM, "T3"),
        ("7", 8, Descriptor.MAIN_BRONCHUS_NEAR_CARINA, "T3"),
        ("7", 8, Descriptor.VISCERAL_PLEURA, "T2a"),
        ("6", 8, Descriptor.VISCERAL_PLEURA, "T2"),
        ("6", 8, Descriptor.NODULE_SAME_LOBE, "T4"),
        ("6", 8, Descriptor.CARINA, "T4"),
    ],
)
def test_descriptors_raise_t(edition: str, size_mm: float, present: Descriptor | str, at_least: str) -> None:
    result = t_from_size(size_mm, edition, present=[present])
    assert (result.at_least, result.t[0]) == (at_least, at_least)
    assert Descriptor(present) not in result.not_assessed
    assert any(Descriptor(present).value in reason for reason in result.reasons)


def test_a_finding_that_is_no_descriptor_of_the_edition_does_not_raise_t() -> None:
    result = t_from_size(8, "6", present=[Descriptor.NODULE_OTHER_LOBE])
    assert result.at_least == "T1"
    assert "no T descriptor of the 6th edition" in result.reasons[-1]


def test_what_was_ruled_out_limits_the_set() -> None:
    everything = descriptors("8")
    assert t_from_size(15, absent=everything).t == ("T1b",)
    assert t_from_size(15, absent=everything).not_assessed == ()
    open_t2 = [d for d in everything if d is not Descriptor.VISCERAL_PLEURA]
    assert t_from_size(15, absent=open_t2).t == ("T1b", "T2a")
    assert t_from_size(45, absent=open_t2).t == ("T2b",)
    open_t3 = [d for d in everything if d is not Descriptor.CHEST_WALL]
    assert t_from_size(35, absent=open_t3).t == ("T2a", "T3")
    assert t_from_size(35, present="chest wall", absent=open_t3).t == ("T3",)


@pytest.mark.parametrize(
    ("edition", "size_mm", "still_open", "t"),
    [
        ("8", 6, Descriptor.VISCERAL_PLEURA, "T1a T2a"),
        ("9", 6, Descriptor.DIAPHRAGM, "T1a T4"),
        ("7", 6, Descriptor.DIAPHRAGM, "T1a T3"),
        ("7", 6, Descriptor.VISCERAL_PLEURA, "T1a T2a"),
        ("7", 60, Descriptor.VISCERAL_PLEURA, "T2b"),
        ("6", 6, Descriptor.VISCERAL_PLEURA, "T1 T2"),
        ("8", 60, Descriptor.CHEST_WALL, "T3"),
        ("8", 6, None, "T1a T2a T3 T4"),
        ("9", 45, None, "T2b T3 T4"),
        ("7", 6, None, "T1a T2a T3 T4"),
        ("6", 6, None, "T1 T2 T3 T4"),
    ],
)
def test_only_what_a_descriptor_gives_stands_above_the_size(
    edition: str, size_mm: float, still_open: Descriptor | None, t: str
) -> None:
    absent = [d for d in descriptors(edition) if d is not still_open] if still_open else []
    assert t_from_size(size_mm, edition, absent=absent).t == tuple(t.split())


def test_every_t2_to_t4_descriptor_of_the_notes_has_its_level() -> None:
    levels = {
        "T2a": ["main bronchus", "visceral pleura", "atelectasis to the hilum"],
        "T3": ["chest wall", "parietal pleura", "pericardium", "phrenic nerve", "another nodule in the same lobe"],
        "T4": [
            *("mediastinum", "heart", "great vessels", "trachea", "carina", "oesophagus", "vertebra", "diaphragm"),
            *("recurrent nerve", "a nodule in another ipsilateral lobe"),
        ],
    }
    for level, names in levels.items():
        for name in names:
            for edition in ("8", "9"):
                assert t_from_size(5, edition, present=[name]).at_least == level, name


@pytest.mark.parametrize("size_mm", [0, -1, math.nan, math.inf])
def test_a_size_is_a_positive_number(size_mm: float) -> None:
    with pytest.raises(UsageError, match="size_mm must be a finite number of millimetres, positive"):
        t_from_size(size_mm)
    with pytest.raises(UsageError, match="size_mm must be"):
        category_of_size(size_mm, "8")


def test_senseless_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="solid_mm 12 exceeds size_mm 10"):
        t_from_size(10, solid_mm=12)
    with pytest.raises(UsageError, match="solid_mm must be a finite number of millimetres, zero or more"):
        t_from_size(10, solid_mm=-1)
    with pytest.raises(UsageError, match="present or absent, not both: heart"):
        t_from_size(10, present=["heart"], absent=["heart"])
    with pytest.raises(UsageError, match="T descriptor must be one of: .*; got 'spleen'"):
        t_from_size(10, present=["spleen"])


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(EDITIONS),
    st.floats(0.5, 200),
    st.floats(0, 1),
    st.sets(st.sampled_from(list(Descriptor))),
)
def test_more_knowledge_never_widens_the_set(
    edition: str, size_mm: float, fraction: float, known: set[Descriptor]
) -> None:
    solid_mm = size_mm * fraction
    alone = t_from_size(size_mm, edition, solid_mm=solid_mm)
    raised = t_from_size(size_mm, edition, solid_mm=solid_mm, present=known)
    ruled_out = t_from_size(size_mm, edition, solid_mm=solid_mm, absent=known)
    assert raised.members <= alone.members and ruled_out.members <= alone.members
    order = categories("t", edition)
    assert set(ruled_out.t[1:]) <= {descriptor_level(d, edition) for d in ruled_out.not_assessed}
    for present in alone.not_assessed:
        assert t_from_size(size_mm, edition, solid_mm=solid_mm, present=[present]).at_least in alone.t
    assert list(alone.t) == sorted(alone.t, key=order.index)
    assert alone.t[-1] == "T4" and alone.t[0] == alone.measured == ruled_out.t[0]
    assert order.index(raised.at_least) >= order.index(alone.measured)


@pytest.mark.parametrize(
    ("size_mm", "text"),
    [
        (42.563, "size 42.6 mm"),
        (10.0, "size 10 mm"),
        (10.01, "size 10.01 mm"),
        (9.96, "size 9.96 mm"),
        (7.25, "size 7.2 mm"),
    ],
)
def test_a_size_is_told_to_a_tenth_but_never_as_a_limit_that_it_is_not(size_mm: float, text: str) -> None:
    assert t_from_size(size_mm, "8").reasons[0].startswith(text + ",")
