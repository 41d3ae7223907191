"""The rows of one patient in a clinical table, made one: what one row leaves out, another may say.

Rows contradict each other where they mean different things, not where they spell the same thing differently.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from monai_staging.cohort.clinical_values import parse_age_years, parse_sex, parse_smoking
from monai_staging.tnm.categories import EDITIONS, LETTERS, parse_edition
from monai_staging.tnm.parse import CodeStatus, ParsedCode, is_missing, parse_code, plain
from monai_staging.tnm.stages import parse_stage

PARSERS: Mapping[str, Callable[[object], Any]] = {
    "age": parse_age_years,
    "sex": parse_sex,
    "smoking": parse_smoking,
}


def merge_rows(
    rows: Sequence[Mapping[str, str]], edition: str | None
) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """The cells of several rows as those of one, by role.

    Args:
        rows: each with the same roles; at least one.
        edition: the edition of codes where no row states one.

    Returns:
        For each role the first cell that says something (for T, N and M one that has a prefix, if any has), "" where
        none does; and for each role in which rows contradict each other, two cells that do.
    """
    stated = (parse_edition(plain(row.get("edition", ""))) for row in rows)
    # Without an edition codes mean nothing, but spellings of one code are still one: any edition tells them.
    edition = next((found for found in stated if found), edition) or EDITIONS[-1]
    merged: dict[str, str] = {}
    contradictions: dict[str, tuple[str, str]] = {}
    for role in rows[0]:
        cells = [row[role] for row in rows if _meaning(role, row[role], edition) is not None]
        merged[role] = cells[0] if cells else rows[0][role]
        pairs = [
            (cells[0], cell) for cell in cells if _meaning(role, cell, edition) != _meaning(role, cells[0], edition)
        ]
        if role in LETTERS:
            prefixed = [cell for cell in cells if _code(role, cell, edition).prefix is not None]
            merged[role] = (prefixed or [merged[role]])[0]
            prefix = _code(role, merged[role], edition).prefix
            pairs += [(merged[role], cell) for cell in prefixed if _code(role, cell, edition).prefix != prefix]
        if pairs:
            contradictions[role] = pairs[0]
    return merged, contradictions


def _meaning(role: str, cell: str, edition: str) -> Hashable:
    """What a cell says, the same for every spelling of it; None where it says nothing."""
    if is_missing(cell):
        return None
    if role in LETTERS:
        code = _code(role, cell, edition)
        if code.status is CodeStatus.UNKNOWN:
            return None
        return code.categories if code.status is CodeStatus.STATED else plain(cell)
    if role == "stage":
        stage = parse_stage(cell, edition)
        if stage.status is CodeStatus.UNKNOWN:
            return None
        return stage.groups if stage.status is CodeStatus.STATED else plain(cell)
    parse = parse_edition if role == "edition" else PARSERS.get(role, plain)
    found: Hashable = parse(plain(cell))
    return plain(cell) if found is None else found


def _code(letter: str, cell: str, edition: str) -> ParsedCode:
    return parse_code(letter, cell, edition)
