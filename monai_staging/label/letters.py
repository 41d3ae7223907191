"""T, N and M as annotators enter them: checked when they are saved, and kept with the study.

They come as parameters of a label (``{"t": "T2a", "n": "N1", "m": "M0", "edition": "8"}``), or, from 3D Slicer, which
sends no parameters of its own, as the name of a segment (``T2a N1 M0``). Each letter is a set of categories, as
everywhere in this package: ``"T2a|T2b"`` or ``["T2a", "T2b"]``; ``TX`` says that it is not known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from monai_staging.errors import UsageError
from monai_staging.tnm.categories import FINDINGS, LETTERS, categories, check_edition, check_prefix
from monai_staging.tnm.parse import CodeStatus, ParsedCode, parse_code
from monai_staging.tnm.value import common_prefix

STAGING = "staging"
"""Key of a study's info under which its letters are kept, by the tag of the label that they came with."""
EDITION = "8"
"""Edition of letters that are entered without one, as of ``monai-staging stage``."""
LONGEST = 200
"""Characters of what is entered for one letter."""
_TOKEN = re.compile(r"(?:yc|yp|[cpr])?([tnm])(?:is|x|\d)\S*", re.IGNORECASE)

Letters = dict[str, Any]
"""``t``, ``n`` and ``m``, as many as are known, each a list of categories in the edition's order, ``edition`` and
``prefix``."""


def read_letters(given: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> Letters:
    """What is known of a study after something was entered.

    A letter that is not given, or empty, stays as it was. Under another edition or prefix than before categories mean
    something else: then nothing stays.

    Args:
        given: the parameters of a request; keys that are none of a staging's do not matter.
        before: what was known; its edition and prefix hold where the parameters state none.

    Returns:
        The letters; empty where none was ever entered.

    Raises:
        UsageError: a category that the edition does not have, no text or list of texts, or no such edition or prefix.
    """
    known = before or {}
    texts = {letter: text for letter in LETTERS if (text := _text(letter, given.get(letter)))}
    edition = _stated(given, "edition") or known.get("edition") or EDITION
    edition = check_edition(edition)
    prefix = _stated(given, "prefix")
    if prefix is not None:
        prefix = check_prefix(prefix)
    codes = {letter: _code(letter, text, edition) for letter, text in texts.items()}
    if not codes:
        return dict(known)
    t, n, m = (codes.get(letter) or parse_code(letter, "", edition) for letter in LETTERS)
    prefix = common_prefix(t, n, m, prefix=prefix) or known.get("prefix") or "c"
    letters = {letter: list(code.categories) for letter, code in codes.items()}
    stays = known if (known.get("edition"), known.get("prefix")) == (edition, prefix) else {}
    return {**stays, **letters, "edition": edition, "prefix": prefix}


def segment_letters(label_info: Any) -> dict[str, str]:
    """T, N and M from the names of a label's segments, by letter.

    Args:
        label_info: ``[{"name": "primary", "idx": 1}, {"name": "T2a N1 M0", "idx": 2}]`` as 3D Slicer sends it.

    Raises:
        UsageError: a letter is there twice.
    """
    found: dict[str, str] = {}
    for own in label_info if isinstance(label_info, list) else ():
        words = str(own.get("name", "") if isinstance(own, dict) else "").replace(",", " ").split()
        matches = [match for word in words if (match := _TOKEN.fullmatch(word))]
        for match in matches if len(matches) == len(words) else ():
            letter = match[1].lower()
            if letter in found:
                raise UsageError(
                    f"Segments: one {letter.upper()} a study; found {found[letter][:40]!r} and {match[0][:40]!r}."
                )
            found[letter] = match[0]
    return found


def keep_letters(study: dict[str, Any], tag: str, given: Mapping[str, Any]) -> Letters:
    """Keeps what is entered with a label of a tag in its study's info.

    Args:
        study: the info; changed in place where something was entered.
        tag: of the label.
        given: the parameters that it came with.

    Returns:
        All that is known by now under this tag.

    Raises:
        UsageError: see :func:`read_letters` and :func:`segment_letters`.
    """
    by_tag = _by_tag(study)
    letters = read_letters(_entered(given), by_tag.get(tag))
    if letters and letters != by_tag.get(tag):
        who = {"user": given["user"]} if given.get("user") else {}
        study[STAGING] = {**by_tag, tag: {**letters, **who}}
    return {key: own for key, own in letters.items() if key != "user"}


def kept_letters(study: Mapping[str, Any], tag: str, label: Mapping[str, Any]) -> Letters:
    """What is known of a study under a tag, checked again: a data store's index may come from anywhere.

    Args:
        study: its info.
        tag: of the label.
        label: the label's info, which is where a server of MONAI Label's own keeps what was entered.

    Raises:
        UsageError: see :func:`read_letters` and :func:`segment_letters`.
    """
    return read_letters(_by_tag(study).get(tag) or _entered(label))


def _by_tag(study: Mapping[str, Any]) -> dict[str, Any]:
    found = study.get(STAGING)
    return {tag: own for tag, own in found.items() if isinstance(own, dict)} if isinstance(found, dict) else {}


def _entered(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, with the letters that segments are named by where they have none."""
    stated = {key: own for key, own in given.items() if own not in (None, "")}
    return {**segment_letters(given.get("label_info")), **stated}


def _text(letter: str, value: Any) -> str:
    """What was entered for a letter as one text; empty where nothing was."""
    if value is None:
        return ""
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise UsageError(
            f'params: {letter} is a text as "{letter.upper()}1" or a list of texts; found {str(value)[:60]!r}.'
        )
    joined = "|".join(texts)
    if len(joined) > LONGEST:
        raise UsageError(f"params: {letter} has at most {LONGEST} characters; found {len(joined)}.")
    return joined.strip()


def _stated(given: Mapping[str, Any], key: str) -> str | None:
    value = given.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise UsageError(f"params: {key} is a text; found {str(value)[:60]!r}.")
    return str(value)[:60]


def _code(letter: str, text: str, edition: str) -> ParsedCode:
    code = parse_code(letter, text, edition)
    if code.status is CodeStatus.STRAY:
        known = ", ".join((*FINDINGS[code.letter], *categories(letter, edition)))
        raise UsageError(
            f"params: {letter.upper()} of the {edition}th edition is of {known}, several parted by |; "
            f"found {text[:60]!r}."
        )
    return code
