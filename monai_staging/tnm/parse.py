"""From a code as data sets spell it to the set of categories it stands for.

A code is never completed by a guess: a bare "1" is the set of its sub-stages, X and missing values are the full set,
and a code the edition does not have is the full set too, marked as stray so that it can be counted.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Literal

from monai_staging.errors import UsageError
from monai_staging.tnm.categories import (
    FINDINGS,
    Letter,
    categories,
    check_edition,
    check_letter,
    expand,
    main_category,
)

TXMeans = Literal["unknown", "occult"]


class CodeStatus(str, Enum):
    """How a code was understood."""

    STATED = "stated"  # a category, or a set of them, of the edition
    UNKNOWN = "unknown"  # X or missing: the full set
    STRAY = "stray"  # a code the edition does not have: the full set, to be counted


@dataclass(frozen=True)
class ParsedCode:
    """One code, understood.

    Attributes:
        letter: "t", "n" or "m".
        categories: what is still possible, in the edition's order; the full set where the status is not `STATED`.
        status: how the code was understood.
        prefix: the prefix written in the code itself ("ypT2" -> "yp"), None where it has none.
        code: the code as it was found.
        edition: the edition it was read by.
    """

    letter: Letter
    categories: tuple[str, ...]
    status: CodeStatus
    prefix: str | None
    code: str
    edition: str

    @property
    def members(self) -> frozenset[str]:
        """`categories` as a set."""
        return frozenset(self.categories)


# What the public tables write where nothing is known, after `plain` and without brackets and quotes.
_MISSING = re.compile(
    r"|nan|none|null|n/?a|#n/a|nat|<na>|-{1,3}|\.|\?|unk|unknown|missing|unspecified|undetermined|indeterminate"
    r"|discrepancy|pending|redacted|cannot be assessed|not recorded in database"
    r"|not (?:available|applicable|collected|reported|recorded|assessed|evaluated|done|known|provided|stated)"
)
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")
_FLOAT = re.compile(r"(\d+)\.0+")
_PART = re.compile(r"(?:(?P<prefix>yc|yp|c|p|r)?(?P<letter>[tnm]))?(?P<body>.+)")
_SEPARATOR = re.compile(r"[/,;|&+]|or|to|-")


def plain(value: object) -> str:
    """``value`` as text in lower case, with compatibility characters (full-width letters, Roman numerals) made plain.

    Invisible characters go, every dash becomes "-", and white space, underscores included, becomes one blank.
    """
    text = unicodedata.normalize("NFKC", str(value)).translate(_INVISIBLE).translate(_DASHES)
    return " ".join(text.lower().replace("_", " ").split())


def is_missing(value: object) -> bool:
    """Whether ``value`` is a way a table says "nothing here" (NaN, "", "[Not Available]", "Not Collected")."""
    return _MISSING.fullmatch(plain(value).strip("[](){}'\" ")) is not None


def parse_code(letter: str, code: object, edition: str, *, tx_means: TXMeans = "unknown") -> ParsedCode:
    """Reads one code of one letter.

    Args:
        letter: "t", "n" or "m".
        code: what the table holds: text, number, None or NaN. The letter may be missing ("2a"), a prefix present
            ("cT2a"), sets written as "T2a/T2b", "T2a/b", "T1-2" or "T1a to T1c".
        edition: the edition whose categories the code uses.
        tx_means: "unknown": TX is the full set, like a missing value. "occult": a written TX (never a missing value) is
            the finding TX, malignant cells without a visible tumour, whose group at N0 M0 is "occult".

    Raises:
        UsageError: no such letter, edition or ``tx_means``. A code never raises: it is stray.
    """
    if tx_means not in ("unknown", "occult"):
        raise UsageError(f"tx_means must be 'unknown' or 'occult', got {tx_means!r}.")
    return _parse(check_letter(letter), str(code), check_edition(edition), tx_means == "occult")


@lru_cache(maxsize=65536)
def _parse(letter: Letter, code: str, edition: str, occult: bool) -> ParsedCode:
    full = categories(letter, edition)
    if is_missing(code):
        return ParsedCode(letter, full, CodeStatus.UNKNOWN, None, code, edition)
    found = _parse_set(letter, plain(code).replace(" ", ""), edition)
    if found is None:
        return ParsedCode(letter, full, CodeStatus.STRAY, None, code, edition)
    members, prefix = found
    if "X" in members:
        if occult and members == {"X"} and letter == "t":
            return ParsedCode(letter, ("TX",), CodeStatus.STATED, prefix, code, edition)
        return ParsedCode(letter, full, CodeStatus.UNKNOWN, prefix, code, edition)
    kept = tuple(category for category in (*FINDINGS[letter], *full) if category in members)
    return ParsedCode(letter, kept, CodeStatus.STATED, prefix, code, edition)


def _parse_set(letter: Letter, text: str, edition: str) -> tuple[set[str], str | None] | None:
    """The categories ("X" for unknown) and the prefix of a code or of a set of codes; None where a part is stray."""
    separators = _SEPARATOR.findall(text)
    members: set[str] = set()
    prefixes: set[str] = set()
    previous: frozenset[str] = frozenset()
    for separator, part in zip(["", *separators], _SEPARATOR.split(text), strict=True):
        if previous and len(part) == 1 and part.isalpha() and part != "x":
            # "T2a/b", "T1a-c": the main category is that of the part before.
            part = main_category(min(previous))[1:] + part
        match = _PART.fullmatch(part)
        if match is None or match["letter"] not in (None, letter):
            return None
        if match["prefix"]:
            prefixes.add(match["prefix"])
        current = _parse_body(letter, match["body"], edition)
        if not current:
            return None
        if separator in ("-", "to"):
            order = ["T0", *categories(letter, edition)]
            if not (current | previous).issubset(order):
                return None
            span = order[min(map(order.index, previous)) : max(map(order.index, current)) + 1]
            if not span or order.index(span[0]) > min(map(order.index, current)):
                return None
            members.update(span)
        members |= current
        previous = current
    return (members, prefixes.pop() if prefixes else None) if len(prefixes) < 2 else None


def _parse_body(letter: Letter, body: str, edition: str) -> frozenset[str]:
    """What stands after the letter, in lower case without blanks; empty where it is stray."""
    number = _FLOAT.fullmatch(body)
    body = (number.group(1) if number else body).replace("(mi)", "mi").replace("1ami", "1mi")
    if body in ("x", "(x)"):
        return frozenset("X")
    if body in ("is", "is(ais)", "is(scis)"):
        body = "is"
    category = letter.upper() + body
    return expand(category, edition) if re.fullmatch(r"T(is|1mi)|[TNM][0-4]([a-c][12]?)?", category) else frozenset()


def parse_t(code: object, edition: str, *, tx_means: TXMeans = "unknown") -> frozenset[str]:
    """The T categories ``code`` stands for; the full set where it is X, missing or stray (`parse_code` tells which)."""
    return parse_code("t", code, edition, tx_means=tx_means).members


def parse_n(code: object, edition: str) -> frozenset[str]:
    """The N categories ``code`` stands for; the full set where it is X, missing or stray (`parse_code` tells which)."""
    return parse_code("n", code, edition).members


def parse_m(code: object, edition: str) -> frozenset[str]:
    """The M categories ``code`` stands for; the full set where it is X, missing or stray (`parse_code` tells which)."""
    return parse_code("m", code, edition).members
