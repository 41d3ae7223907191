from __future__ import annotations

from collections.abc import Iterator

import pytest

from monai_staging.errors import UsageError
from monai_staging.tnm.columns import Columns, find_columns
from monai_staging.tnm.reading import Row
from monai_staging.tnm.table import Rules, Staged, Verdict, skip_extra_headers, stage_row, stage_rows

TNM = Columns(0, 1, 2, None, None, None, None)
WITH_STAGE = Columns(0, 1, 2, None, None, 3, None)


def rows(*cells: str, start: int = 2) -> Iterator[Row]:
    return iter([Row(line, text.split(",")) for line, text in enumerate(cells, start)])


def stage(cells: str, rules: Rules) -> Staged:
    [(_, staged)] = stage_rows(rows(cells), rules)
    return staged


@pytest.mark.parametrize(
    ("edition", "cells", "groups", "verdict"),
    [
        ("8", "3,1,0,IIIA", "IIIA", Verdict.AGREE),
        ("8", "3,1,0,III", "IIIA", Verdict.AGREE),
        ("8", "3,1,0,Stage IIIb", "IIIA", Verdict.DISAGREE),
        ("8", "1,0,0,IA", "IA1 IA2 IA3", Verdict.AGREE),
        ("8", "1,0,0,I", "IA1 IA2 IA3", Verdict.AGREE),
        ("8", "1,0,0,IA2", "IA1 IA2 IA3", Verdict.UNDETERMINED),
        ("8", "1,0,X,IV", "IA1 IA2 IA3 IVA IVB", Verdict.UNDETERMINED),
        ("8", "1,0,X,II", "IA1 IA2 IA3 IVA IVB", Verdict.DISAGREE),
        ("8", "3,1,0,", "IIIA", Verdict.UNDETERMINED),
        ("8", "3,1,0,XX", "IIIA", Verdict.UNDETERMINED),
        ("8", "is,1,0,0", "", Verdict.UNDETERMINED),
        ("8", "5,4,1a,IV", "IVA", Verdict.AGREE),
        # Lung1 groups like the 6th edition.
        ("6", "4,0,0,IIIb", "IIIB", Verdict.AGREE),
        ("7", "4,0,0,IIIb", "IIIA", Verdict.DISAGREE),
        ("6", "2,1,3,II", "IIB IV", Verdict.UNDETERMINED),
        ("6", "5,3,0,IIIb", "IIIB", Verdict.AGREE),
    ],
)
def test_verdicts(edition: str, cells: str, groups: str, verdict: Verdict) -> None:
    staged = stage(cells, Rules(WITH_STAGE, edition))
    assert (" ".join(staged.groups), staged.verdict) == (groups, verdict)


def test_without_a_recorded_stage_one_group_is_determined() -> None:
    assert stage("3,1,0", Rules(TNM)).verdict is Verdict.DETERMINED
    assert stage("3,1,X", Rules(TNM)).verdict is Verdict.UNDETERMINED
    assert stage("3,1,0", Rules(TNM)).recorded is None


def test_notes_say_what_stands_in_the_way() -> None:
    assert stage("5,X,,bla", Rules(WITH_STAGE)).notes == (
        *("T stray", "N unknown", "M unknown"),
        "recorded stage stray",
    )
    assert stage("T0,0,0", Rules(TNM)).notes == ("no group for T0 N0 M0 in the 8th edition",)
    assert stage("1a,0,0", Rules(TNM)).notes == ()


@pytest.mark.parametrize(
    ("cell", "edition", "note"),
    [
        ("7th", "7", ()),
        ("AJCC 7", "7", ()),
        ("7.0", "7", ()),
        ("\uff18", "8", ()),
        ("", None, ("edition not given",)),
        ("[Not Available]", None, ("edition not given",)),
        ("5th", None, ("edition '5th' is none of 6 to 9",)),
    ],
)
def test_a_row_without_an_edition_is_never_guessed(cell: str, edition: str | None, note: tuple[str, ...]) -> None:
    staged = stage(f"T1a,0,0,{cell}", Rules(Columns(0, 1, 2, 3, None, None, None), None))
    assert (staged.edition, staged.notes) == (edition, note)
    if edition is None:
        assert (staged.codes, staged.groups, staged.verdict) == ((), (), Verdict.UNDETERMINED)


def test_rows_have_one_source_of_the_edition() -> None:
    for rules in (
        {"columns": TNM, "edition": None},
        {"columns": Columns(0, 1, 2, 3, None, None, None), "edition": "8"},
    ):
        with pytest.raises(UsageError, match="one source of the TNM edition"):
            Rules(**rules)
    assert Rules(TNM, "8th", "YP") == Rules(TNM, "8", "yp")


@pytest.mark.parametrize(
    ("cells", "edition", "prefix"),
    [("1a,0,0,7,p", "7", "p"), ("1a,0,0,,", "8", "c"), ("1a,0,0,7,", "7", "c"), ("1a,0,0,5th,p", None, "c")],
)
def test_an_edition_and_a_prefix_can_fill_the_gaps_of_their_columns(
    cells: str, edition: str | None, prefix: str
) -> None:
    staged = stage(cells, Rules(Columns(0, 1, 2, 3, 4, None, None), "8", "c", fill=True))
    assert (staged.edition, staged.prefix) == (edition, prefix)


@pytest.mark.parametrize(
    ("cells", "given", "kind", "prefix"),
    [
        ("1a,0,0,", None, None, "c"),
        ("1a,0,0,", None, "p", "p"),
        ("1a,0,0,", "r", "p", "r"),
        ("ypT1a,0,0,", None, "p", "yp"),
        ("1a,0,0,yp", None, "p", "yp"),
        ("pT1a,pN0,cM0,", None, None, "p"),
        ("cT1a,pN0,0,", None, None, None),
        ("cT1a,0,0,", "p", None, None),
        ("cT1a,0,0,p", None, None, None),
        ("1a,0,0,q", None, None, None),
    ],
)
def test_prefixes(cells: str, given: str | None, kind: str | None, prefix: str | None) -> None:
    staged = stage(cells, Rules(Columns(0, 1, 2, None, 3, None, kind), "8", given))
    assert staged.prefix == prefix
    last = stage(cells, Rules(Columns(0, 1, 2, None, 3, None, kind), "8", given, last_prefix="r"))
    assert last.prefix == ("r" if cells == "1a,0,0," and given is kind is None else prefix)
    if prefix is None:
        assert (staged.groups, staged.verdict) == ((), Verdict.UNDETERMINED)
        assert staged.notes[0].startswith("prefix: ")


def test_short_rows_are_unknown_and_long_ones_not_trusted() -> None:
    rules = Rules(TNM, width=3)
    assert stage("1a", rules).notes == ("N unknown", "M unknown")
    assert stage("1a,0,0,", rules).groups == ("IA1",)
    shifted = stage("Doe,1a,0,0", rules)
    assert (shifted.groups, shifted.verdict, shifted.notes) == ((), Verdict.UNDETERMINED, ("more cells than columns",))
    only_t = Rules(Columns(2, None, None, None, None, None, None), width=3)
    assert stage("a,b,T4", only_t).codes[0].categories == ("T4",)
    assert stage("a", only_t).notes == ("T unknown", "N unknown", "M unknown")


def test_rows_with_the_same_cells_share_a_value() -> None:
    [(_, first), (_, second), (_, third)] = stage_rows(rows("1a,0,0,x", "1a,0,0,y", "1b,0,0,x"), Rules(TNM))
    assert first is second and first is not third


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_staging.tnm.table._CACHE_SIZE", 1)
    staged = [value.groups for _, value in stage_rows(rows("1a,0,0", "1b,0,0", "1a,0,0"), Rules(TNM))]
    assert staged == [("IA1",), ("IA2",), ("IA1",)]


def test_occult() -> None:
    assert (
        stage_row(("TX", "N0", "M0", "", "", "occult"), Rules(WITH_STAGE, tx_means="occult")).verdict is Verdict.AGREE
    )
    assert stage_row(("TX", "N0", "M0", "", "", "occult"), Rules(WITH_STAGE)).verdict is Verdict.DISAGREE


HEADER = ["bcr_patient_uuid", "ajcc_staging_edition", "ajcc_pathologic_t", "ajcc_pathologic_n", "ajcc_pathologic_m"]


@pytest.mark.parametrize(
    ("extra", "skipped"),
    [
        ((), 0),
        (("bcr_patient_uuid,system_version,pathologic_T,pathologic_N,pathologic_M", "CDE_ID:,CDE_ID:1,CDE_ID:2,,"), 2),
        (("x,y,ajcc_pathologic_t,z,z",), 1),
        (("bcr_patient_uuid,,,,",), 1),
        ((",,CDE_ID:3045435,,",), 1),
    ],
)
def test_repeated_headers_are_taken_off(extra: tuple[str, ...], skipped: int) -> None:
    columns = find_columns(HEADER, {})
    data = ("u1,7th,T2a,N0,M0", "u2,7th,[Not Available],NX,MX", "u3,,T9,,")
    rest, off = skip_extra_headers(rows(*extra, *data), HEADER, columns)
    assert [row.line for row in off] == list(range(2, 2 + skipped))
    assert [row.cells[0] for row in rest] == ["u1", "u2", "u3"]


def test_a_patient_is_never_taken_for_a_header() -> None:
    columns = find_columns(HEADER, {})
    rest, off = skip_extra_headers(rows("bcr_patient_uuid,7th,T2a,N0,M0"), HEADER, columns)
    assert off == [] and len(list(rest)) == 1
    rest, off = skip_extra_headers(rows(), HEADER, columns)
    assert off == [] and list(rest) == []
