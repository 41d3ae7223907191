"""Recorded stages ("IIIb", "Stage IIIB", "3B", 0, "occult") as sets of an edition's stage groups."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from monai_staging.tnm.categories import check_edition
from monai_staging.tnm.parse import CodeStatus, is_missing, plain
from monai_staging.tnm.tables import OCCULT, groups

_ROMAN = {"1": "I", "2": "II", "3": "III", "4": "IV"}
_SEPARATOR = re.compile(r"[/,;|&]|-|to|or(?!y)")
_PART = re.compile(r"(?P<main>iv|i{1,3}|[1-4])(?P<sub>[abc][123]?)?")
# "Stage", and the words or prefix that may stand before it.
_LEAD = re.compile(
    r"^(?:(?:clinical|pathologic(?:al)?|ajcc|uicc|tnm|overall)\s*)*(?:(?:yc|yp|c|p|r)?\s*stage\s*(?:group\s*)?)?"
)


@dataclass(frozen=True)
class ParsedStage:
    """A recorded stage, understood.

    Attributes:
        groups: what it stands for, in the edition's order ("III" is every group of stage III); every group where
            unknown.
        status: whether it was stated, unknown (X or missing) or stray (no group of the edition).
        code: what was recorded.
        edition: the edition it was read by.
    """

    groups: tuple[str, ...]
    status: CodeStatus
    code: str
    edition: str


def parse_stage(code: object, edition: str) -> ParsedStage:
    """Reads a recorded stage; one that the edition does not have ("IA1" in the 7th) is stray, never rounded."""
    return _parse(str(code), check_edition(edition))


@lru_cache(maxsize=65536)
def _parse(code: str, edition: str) -> ParsedStage:
    every = groups(edition, occult=True)
    text = plain(code)
    if is_missing(text):
        return ParsedStage(every, CodeStatus.UNKNOWN, code, edition)
    text = _LEAD.sub("", text).removesuffix("nos").replace(" ", "")
    if text == "x" or is_missing(text):
        return ParsedStage(every, CodeStatus.UNKNOWN, code, edition)
    if text.startswith(OCCULT):
        if text in (OCCULT, "occultcarcinoma"):
            return ParsedStage((OCCULT,), CodeStatus.STATED, code, edition)
        return ParsedStage(every, CodeStatus.STRAY, code, edition)
    found: set[str] = set()
    previous: set[str] = set()
    for separator, part in zip(["", *_SEPARATOR.findall(text)], _SEPARATOR.split(text), strict=True):
        current = _members(part.removeprefix("stage"), edition)
        if not current:
            return ParsedStage(every, CodeStatus.STRAY, code, edition)
        if separator in ("-", "to"):
            first, last = min(map(every.index, previous)), max(map(every.index, current))
            if first > min(map(every.index, current)):
                return ParsedStage(every, CodeStatus.STRAY, code, edition)
            found.update(every[first : last + 1])
        found |= current
        previous = current
    return ParsedStage(tuple(g for g in every if g in found), CodeStatus.STATED, code, edition)


def _members(part: str, edition: str) -> set[str]:
    """The groups one spelling stands for; empty where the edition has none."""
    number = re.fullmatch(r"(\d)\.0+", part)
    part = number.group(1) if number else part
    if part == "0":
        return {"0"}
    match = _PART.fullmatch(part)
    if match is None:
        return set()
    name = _ROMAN.get(match["main"], match["main"].upper()) + (match["sub"] or "").upper()
    named = groups(edition)
    if name in named:
        return {name}
    # "III" is IIIA to IIIC and "IA" is IA1 to IA3, but "I" is no prefix of "II" in this sense.
    return {group for group in named if re.fullmatch(name + r"[ABC]?[123]?", group)}
