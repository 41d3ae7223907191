"""Which column of a clinical table holds what, by its name; case, punctuation and width make no difference.

See `docs/reference/tnm.md` for the names that are recognised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monai_staging.errors import UsageError
from monai_staging.tnm.categories import LETTERS
from monai_staging.tnm.parse import plain

_BODY = r"(?:diagnoses )?(?:ajcc |uicc |iaslc |tnm |lung )*"
_KIND = r"(?:(?P<kind>yc|yp|c|p|r|clinical|clin|path|pathologic|pathological|pathology) ?)?"
_WORD = r"(?: ?(?:stage|category|status|classification|descriptor|component|code))?"
_NOUN = {"t": "(?:primary )?tumou?r", "n": "(?:lymph )?nodes?", "m": "metast[ae]sis"}
_KINDS = {"clinical": "c", "clin": "c", "path": "p", "pathologic": "p", "pathological": "p", "pathology": "p"}
_LETTER_NAMES = {
    letter: re.compile(
        rf"{_BODY}{_KIND}(?:stage )?{letter}{_WORD}"
        # TCGA: ajcc_tumor_pathologic_pt; cBioPortal: American Joint Committee on Cancer Tumor Stage Code.
        rf"|ajcc {_NOUN[letter]} (?P<kind_2>clinical|pathologic) [cp]{letter}"
        rf"|american joint committee on cancer {_NOUN[letter]} stage code"
        rf"|neoplasm disease {_NOUN[letter]} stage american joint committee on cancer code"
    )
    for letter in LETTERS
}
_EDITION_NAME = re.compile(
    r"(?:diagnoses )?(?:(?:ajcc|uicc|iaslc|tnm) )*(?:staging |stage )?(?:system |manual )?edition"
    r"|(?:ajcc|uicc|iaslc|tnm) (?:staging )?(?:system )?version"
    r"|american joint committee on cancer publication version type"
)
_PREFIX_NAME = re.compile(r"(?:tnm |stage )?prefix")
_RECORDED_NAME = re.compile(
    r"(?:diagnoses )?(?:(?:ajcc|uicc|tnm|overall|clinical|pathologic|pathological|path|tumou?r|recorded) )*"
    r"stage(?: group)?"
)


@dataclass(frozen=True)
class Columns:
    """Where a table holds what: indices into its header, None where it has no such column.

    Attributes:
        t, n, m, edition, prefix, recorded: column indices.
        kind: the prefix that the columns' names carry ("Pathological T stage" is "p"), None without one. T and N
            decide, since M is usually known clinically also where they are pathological.
    """

    t: int | None
    n: int | None
    m: int | None
    edition: int | None
    prefix: int | None
    recorded: int | None
    kind: str | None


def plain_name(name: object) -> str:
    """A column's name without case, punctuation and full-width characters: "Clinical.T.Stage" -> "clinical t stage"."""
    return " ".join(re.sub(r"[\W_]+", " ", plain(name)).split())


def find_column(header: Sequence[str], name: str) -> int:
    """The index of the column called ``name``: literally, else without case, punctuation and full-width characters.

    Raises:
        UsageError: no such column, or more than one.
    """
    found = [index for index, column in enumerate(header) if column == name]
    found = found or [index for index, column in enumerate(header) if plain_name(column) == plain_name(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"Column {name!r} must be there once; the table has it {len(found)} times.")
    raise UsageError(f"No column {name!r} in the table; it has: {_listed(header)}.")


def letter_name(letter: str, name: object) -> re.Match[str] | None:
    """The match of a column's name with the ones known for ``letter``, or None."""
    return _LETTER_NAMES[letter].fullmatch(plain_name(name))


def find_columns(
    header: Sequence[str],
    named: Mapping[str, str | None],
    *,
    prefix: str | None = None,
    with_edition: bool = True,
    with_prefix: bool | None = None,
) -> Columns:
    """Finds the columns of T, N, M, edition and prefix; the recorded stage's only where it is named.

    Args:
        header: the table's column names.
        named: the names the user gave, under "t", "n", "m", "edition", "prefix" and "recorded"; what is missing is
            recognised.
        prefix: where a table has clinical and pathological columns, the kind to take.
        with_edition: whether to look for an edition column where none is named.
        with_prefix: likewise for a prefix column; None to look for one where no ``prefix`` is given.

    Raises:
        UsageError: a named column is not there, several could be meant, none of T, N and M is found, or the names of
            the T and N columns carry different prefixes and nothing else gives one.
    """
    given = {key: find_column(header, name) for key, name in named.items() if name is not None}
    candidates = {letter: _candidates(header, letter) for letter in LETTERS if letter not in given}
    kind = _choose_kind(candidates, prefix)
    found: dict[str, int | None] = {letter: given.get(letter) for letter in LETTERS}
    for letter, by_kind in candidates.items():
        indices = by_kind.get(kind, []) if kind in by_kind or prefix else [i for each in by_kind.values() for i in each]
        if len(indices) > 1:
            names = ", ".join(repr(header[index]) for index in indices)
            raise UsageError(
                f"Several columns could hold {letter.upper()}: {names}; name one with --{letter}, or give --prefix."
            )
        found[letter] = indices[0] if indices else None
    if all(index is None for index in found.values()):
        raise UsageError(
            f"No column of T, N or M recognised; name them with --t, --n and --m. The table has: {_listed(header)}."
        )
    edition = given.get("edition")
    if edition is None and with_edition:
        edition = _single(header, _EDITION_NAME, "the edition", "--edition-column")
    prefixes = given.get("prefix")
    if prefixes is None and (prefix is None if with_prefix is None else with_prefix):
        option = "--prefix-column" if "prefix" in named else "--prefix"
        prefixes = _single(header, _PREFIX_NAME, "the prefix", option)
    return Columns(
        found["t"],
        found["n"],
        found["m"],
        edition,
        prefixes,
        given.get("recorded"),
        _common_kind(header, found, needed=prefix is None and prefixes is None),
    )


def recorded_candidates(header: Sequence[str]) -> list[str]:
    """Names that look like a recorded stage, to be proposed; never used unless named."""
    return [name for name in header if _RECORDED_NAME.fullmatch(plain_name(name))]


def _kind(letter: str, name: str) -> str | None:
    match = letter_name(letter, name)
    kind = match and (match["kind"] or match["kind_2"])
    return _KINDS.get(kind, kind) if kind else None


def _common_kind(header: Sequence[str], found: Mapping[str, int | None], *, needed: bool) -> str | None:
    """The prefix that the columns' names carry, by the rule of `monai_staging.tnm.value.common_prefix` for codes."""
    names = {letter: header[index] for letter, index in found.items() if index is not None}
    kinds = {letter: _kind(letter, name) for letter, name in names.items()}
    stated = {kinds[letter] for letter in "tn" if kinds.get(letter)}
    if len(stated) > 1:
        if needed:
            told = ", ".join(f"{names[letter]!r} is {kinds[letter]}" for letter in "tn")
            raise UsageError(
                f"Columns of T and N must be of one kind: {told}; name others with --t and --n, or keep these, naming "
                "them with --t, --n and --m beside --prefix."
            )
        return None
    return stated.pop() if stated else None if {"t", "n"} & set(kinds) else kinds["m"]


def _candidates(header: Sequence[str], letter: str) -> dict[str | None, list[int]]:
    """Columns that could hold ``letter``, by the kind their name carries."""
    found: dict[str | None, list[int]] = {}
    for index, name in enumerate(header):
        if letter_name(letter, name):
            found.setdefault(_kind(letter, name), []).append(index)
    return found


def _choose_kind(candidates: Mapping[str, Mapping[str | None, list[int]]], prefix: str | None) -> str | None:
    """The kind of columns to take: the one asked for, else the only one that every letter has."""
    kinds = {kind for by_kind in candidates.values() for kind in by_kind}
    if prefix is not None:
        # A table of pathological columns read with --prefix yp has no "yp" columns of its own.
        return next((kind for kind in (prefix, prefix[-1]) if kind in kinds), None)
    complete = [kind for kind in kinds if all(kind in by_kind for by_kind in candidates.values())]
    return complete[0] if len(complete) == 1 else None


def _single(header: Sequence[str], pattern: re.Pattern[str], what: str, option: str) -> int | None:
    found = [index for index, name in enumerate(header) if pattern.fullmatch(plain_name(name))]
    if len(found) > 1:
        names = ", ".join(repr(header[index]) for index in found)
        raise UsageError(f"Several columns could hold {what}: {names}; say which with {option}.")
    return found[0] if found else None


def _listed(header: Sequence[str], most: int = 40) -> str:
    more = f" and {len(header) - most} more" if len(header) > most else ""
    return ", ".join(repr(name) for name in header[:most]) + more
