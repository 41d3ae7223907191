"""The T, N and M categories of each edition, and the sets a code stands for.

Sources: the 6th to 9th editions of the lung TNM classification (8th: Goldstraw 2016; 9th: Rami-Porta 2024).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, cast

from monai_staging.errors import UsageError

EDITIONS: tuple[str, ...] = ("6", "7", "8", "9")
PREFIXES: dict[str, str] = {
    "c": "clinical, before treatment",
    "p": "pathological, after surgery",
    "yc": "clinical, after or during treatment",
    "yp": "pathological, after treatment",
    "r": "at recurrence",
}
LETTERS: tuple[str, ...] = ("t", "n", "m")
Letter = Literal["t", "n", "m"]

_T_8 = ("Tis", "T1mi", "T1a", "T1b", "T1c", "T2a", "T2b", "T3", "T4")
_N_8 = ("N0", "N1", "N2", "N3")
_CATEGORIES: dict[str, dict[str, tuple[str, ...]]] = {
    "6": {"t": ("Tis", "T1", "T2", "T3", "T4"), "n": _N_8, "m": ("M0", "M1")},
    "7": {"t": ("Tis", "T1a", "T1b", "T2a", "T2b", "T3", "T4"), "n": _N_8, "m": ("M0", "M1a", "M1b")},
    "8": {"t": _T_8, "n": _N_8, "m": ("M0", "M1a", "M1b", "M1c")},
    "9": {"t": _T_8, "n": ("N0", "N1", "N2a", "N2b", "N3"), "m": ("M0", "M1a", "M1b", "M1c1", "M1c2")},
}

# Findings that are no member of the full set: T0 (no primary found) and TX as a finding (occult carcinoma: malignant
# cells, no tumour seen). They are in a set only where somebody stated them; "unknown" never stands for them.
FINDINGS: dict[str, tuple[str, ...]] = {"t": ("T0", "TX"), "n": (), "m": ()}

_EDITION = re.compile(
    r"(?:(?:ajcc|uicc|iaslc|tnm)[\s/,_-]*)*(?:v(?:ersion)?\.?\s*)?([6-9])(?:\.0+)?\s*(?:th)?\s*(?:ed(?:ition|n)?\.?)?"
    r"(?:\s*(?:of\s+)?(?:ajcc|uicc|tnm))*",
    re.IGNORECASE,
)


def parse_edition(value: object) -> str | None:
    """The edition that ``value`` names ("7th", "AJCC 7", 7.0, "8th edition"), or None where it names none of ours."""
    match = _EDITION.fullmatch(str(value).strip())
    return match.group(1) if match else None


def check_edition(edition: object) -> str:
    """``edition`` as one of `EDITIONS`; raises `UsageError` for anything else."""
    if isinstance(edition, str) and edition in _CATEGORIES:
        return edition
    parsed = parse_edition(edition)
    if parsed is None:
        raise UsageError(f"TNM edition must be one of {', '.join(EDITIONS)}, got {edition!r}.")
    return parsed


def check_prefix(prefix: str) -> str:
    """``prefix`` in lower case, one of `PREFIXES`; raises `UsageError` for anything else."""
    lower = prefix.strip().lower() if isinstance(prefix, str) else prefix
    if lower not in PREFIXES:
        raise UsageError(f"TNM prefix must be one of {', '.join(PREFIXES)}, got {prefix!r}.")
    return lower


def check_letter(letter: str) -> Letter:
    """``letter`` as "t", "n" or "m", from either case; raises `UsageError` for anything else."""
    lower = letter.lower() if isinstance(letter, str) else letter
    if lower not in LETTERS:
        raise UsageError(f"TNM letter must be t, n or m, got {letter!r}.")
    return cast(Letter, lower)


def categories(letter: str, edition: str) -> tuple[str, ...]:
    """All categories of ``letter`` in ``edition``, from least to most advanced: the full set, which means "unknown".

    T0 and occult TX (`FINDINGS`) are not among them.
    """
    return _CATEGORIES[check_edition(edition)][check_letter(letter)]


def main_category(category: str) -> str:
    """The category without its sub-stage: "T1b" -> "T1", "M1c2" -> "M1"; "Tis", "T0" and "TX" are their own."""
    return category if category in ("Tis", "TX") else category[:2]


def main_categories(letter: str, edition: str) -> tuple[str, ...]:
    """The main categories of ``letter``, in order: ("Tis", "T1", "T2", "T3", "T4")."""
    return tuple(dict.fromkeys(map(main_category, categories(letter, edition))))


def expand(category: str, edition: str) -> frozenset[str]:
    """What ``category`` stands for: itself where the edition has it, else its sub-stages; empty where there are none.

    "T2" is {"T2a", "T2b"} from the 7th edition on and {"T2"} in the 6th; "M1c" is {"M1c1", "M1c2"} in the 9th.
    """
    letter = check_letter(category[:1])
    full = categories(letter, edition)
    if category in full or category in FINDINGS[letter]:
        return frozenset((category,))
    if not re.fullmatch(r"[TNM]\d[a-z]?", category):
        return frozenset()
    return frozenset(member for member in full if member.startswith(category))


def ordered(letter: str, members: Iterable[str], edition: str) -> tuple[str, ...]:
    """``members`` in the edition's order (findings outside the full set first).

    Raises:
        UsageError: a member is no category of that letter and edition.
    """
    wanted = set(members)
    every = (*FINDINGS[check_letter(letter)], *categories(letter, edition))
    unknown = wanted.difference(every)
    if unknown:
        raise UsageError(
            f"{letter.upper()} of the {check_edition(edition)}th edition is one of {', '.join(every)}; "
            f"got {', '.join(sorted(map(str, unknown)))}."
        )
    return tuple(category for category in every if category in wanted)


def is_unknown(letter: str, members: frozenset[str], edition: str) -> bool:
    """Whether ``members`` is the full set, that is, says nothing."""
    return members.issuperset(categories(letter, edition))
