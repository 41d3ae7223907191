"""Stage groups for every row of a clinical table, held against a recorded stage where there is one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import itemgetter
from typing import Any

from monai_staging.errors import UsageError
from monai_staging.tnm.categories import LETTERS, check_edition, check_prefix, parse_edition
from monai_staging.tnm.columns import Columns, letter_name, plain_name
from monai_staging.tnm.parse import CodeStatus, ParsedCode, TXMeans, is_missing, parse_code, plain
from monai_staging.tnm.reading import Row
from monai_staging.tnm.stages import ParsedStage, parse_stage
from monai_staging.tnm.tables import stage_groups
from monai_staging.tnm.value import common_prefix

_CACHE_SIZE = 200_000  # distinct rows kept; real tables have a few hundred


class Verdict(str, Enum):
    """A row's derived groups against its recorded stage."""

    AGREE = "agree"  # the recorded stage is the derived set or contains it (III for IIIA)
    DISAGREE = "disagree"  # no derived group is in the recorded stage
    UNDETERMINED = "undetermined"  # the letters leave both open, or one of the two is unknown
    DETERMINED = "determined"  # no recorded stage was asked for, and exactly one group is derived


# Rows with the same cells share one value, so identity is equality enough and hashing stays cheap.
@dataclass(frozen=True, eq=False)
class Staged:
    """What a row says and what follows from it.

    Attributes:
        found: T, N, M as the table has them.
        edition: the row's edition, None where the table names none of ours; then nothing is derived.
        prefix: the row's prefix, None where its sources contradict each other; then nothing is derived.
        codes: T, N, M understood; empty without an edition.
        groups: the stage groups still possible; empty where nothing is derived, or where the edition's table has no
            group.
        recorded: the recorded stage understood, None without one.
        verdict: how the two compare.
        notes: what stands in the way, a few words each ("M unknown", "edition not given").
    """

    found: tuple[str, str, str]
    edition: str | None
    prefix: str | None
    codes: tuple[ParsedCode, ...]
    groups: tuple[str, ...]
    recorded: ParsedStage | None
    verdict: Verdict
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Rules:
    """How the rows of one table are read.

    Attributes:
        columns: where the table holds what.
        edition: the edition of every row; None where ``columns.edition`` gives one to each.
        prefix: the prefix of every row; None to take the one of the row, of its codes or of the column names.
        tx_means: what a written TX means, see `parse_code`.
        width: number of columns of the table; a row with more filled cells is not trusted. None: not checked.
        last_prefix: the prefix where nothing else says one.
        fill: ``edition`` and ``prefix`` are not of every row, but of those that leave their own column empty.
    """

    columns: Columns
    edition: str | None = "8"
    prefix: str | None = None
    tx_means: TXMeans = "unknown"
    width: int | None = None
    last_prefix: str = "c"
    fill: bool = False

    def __post_init__(self) -> None:
        """Checks that there is an edition, and one only unless one fills the gaps of the other."""
        sources = (self.edition is not None) + (self.columns.edition is not None)
        if sources == 0 or (sources == 2 and not self.fill):
            raise UsageError("Rows need one source of the TNM edition: one for all of them, or a column.")
        if self.edition is not None:
            object.__setattr__(self, "edition", check_edition(self.edition))
        if self.prefix is not None:
            object.__setattr__(self, "prefix", check_prefix(self.prefix))


def skip_extra_headers(rows: Iterator[Row], header: Sequence[str], columns: Columns) -> tuple[Iterator[Row], list[Row]]:
    """Takes off the header lines that TCGA's tables repeat under the first (other names, CDE ids).

    At most three directly under the header are taken: those that repeat the first column's name, that name a T, N or M
    column again in that column, or that hold "CDE_ID" and no code.

    Returns:
        The remaining rows and the ones taken off.
    """
    skipped: list[Row] = []
    for row in itertools.islice(rows, 3):
        if not _is_header(row, header, columns):
            return itertools.chain([row], rows), skipped
        skipped.append(row)
    return rows, skipped


def _is_header(row: Row, header: Sequence[str], columns: Columns) -> bool:
    for letter in LETTERS:
        index = getattr(columns, letter)
        cell = _text(row.cells, index)
        # A code of some edition, T or "1a" included, means that the row is a patient's.
        if cell and any(parse_code(letter, cell, edition).status is CodeStatus.STATED for edition in ("6", "7", "9")):
            return False
        if cell and index is not None and (letter_name(letter, cell) or plain_name(cell) == plain_name(header[index])):
            return True
    first = plain_name(row.cells[0])
    return bool(first and header and first == plain_name(header[0])) or any(
        plain(cell).replace(" ", "").startswith("cdeid") for cell in row.cells
    )


def stage_rows(rows: Iterator[Row], rules: Rules) -> Iterator[tuple[Row, Staged]]:
    """Stages each row; rows with the same cells in the columns that count share one `Staged`."""
    columns = rules.columns
    indices = (columns.t, columns.n, columns.m, columns.edition, columns.prefix, columns.recorded)
    needed = sorted({index for index in indices if index is not None})
    # Cells are taken by one call a row: with a million rows it is most of what there is to do.
    pick: Callable[[list[str]], Any] = itemgetter(*needed)
    cache: dict[Any, Staged] = {}
    width = rules.width
    for row in rows:
        cells = row.cells
        if width is not None and len(cells) > width and any(cells[width:]):
            yield row, _misshapen(cells, rules)
            continue
        if len(cells) <= needed[-1]:
            cells = cells + [""] * (needed[-1] + 1 - len(cells))
        key = pick(cells)
        staged = cache.get(key)
        if staged is None:
            if len(cache) >= _CACHE_SIZE:
                cache.clear()
            staged = cache[key] = stage_row(tuple(_text(cells, index) for index in indices), rules)
        yield row, staged


def _text(cells: list[str], index: int | None) -> str:
    return "" if index is None or index >= len(cells) else cells[index]


def stage_row(cells: tuple[str, ...], rules: Rules) -> Staged:
    """Stages one row from its T, N, M, edition, prefix and recorded cells ("" where there is no such column)."""
    t, n, m, edition_cell, prefix_cell, recorded_cell = cells
    found = (t, n, m)
    stated = rules.columns.edition is not None and not (rules.fill and is_missing(edition_cell))
    edition = parse_edition(plain(edition_cell)) if stated else rules.edition
    if edition is None:
        given = "edition not given" if is_missing(edition_cell) else f"edition {edition_cell!r} is none of 6 to 9"
        return Staged(found, None, rules.prefix, (), (), None, Verdict.UNDETERMINED, (given,))
    codes = (
        parse_code("t", t, edition, tx_means=rules.tx_means),
        parse_code("n", n, edition),
        parse_code("m", m, edition),
    )
    sets = [code.categories for code in codes]
    recorded = None if rules.columns.recorded is None else parse_stage(recorded_cell, edition)
    try:
        own = None if is_missing(prefix_cell) else check_prefix(prefix_cell)
        # A column's name says what its codes usually are; a code that says otherwise ("ypT2") is the better witness.
        first, second = (own, rules.prefix) if rules.fill else (rules.prefix, own)
        prefix = common_prefix(*codes, prefix=first or second) or rules.columns.kind or rules.last_prefix
    except UsageError as error:
        return Staged(found, edition, None, codes, (), recorded, Verdict.UNDETERMINED, (f"prefix: {error}",))
    groups = stage_groups(sets[0], sets[1], sets[2], edition)
    notes = tuple(
        f"{code.letter.upper()} {code.status.value}" for code in codes if code.status is not CodeStatus.STATED
    )
    if not groups:
        notes += (f"no group for {' '.join(map('/'.join, sets))} in the {edition}th edition",)
    if recorded is not None and recorded.status is not CodeStatus.STATED:
        notes += (f"recorded stage {recorded.status.value}",)
    return Staged(found, edition, prefix, codes, groups, recorded, _verdict(groups, recorded), notes)


def _verdict(groups: tuple[str, ...], recorded: ParsedStage | None) -> Verdict:
    if recorded is None:
        return Verdict.DETERMINED if len(groups) == 1 else Verdict.UNDETERMINED
    if not groups or recorded.status is not CodeStatus.STATED:
        return Verdict.UNDETERMINED
    if set(groups).issubset(recorded.groups):
        return Verdict.AGREE
    return Verdict.DISAGREE if set(groups).isdisjoint(recorded.groups) else Verdict.UNDETERMINED


def _misshapen(cells: list[str], rules: Rules) -> Staged:
    """A row with more cells than the table has columns: its cells may be shifted, so none is trusted."""
    columns = rules.columns
    found = (_text(cells, columns.t), _text(cells, columns.n), _text(cells, columns.m))
    return Staged(found, None, None, (), (), None, Verdict.UNDETERMINED, ("more cells than columns",))
