"""Names that clients send: of images, labels, tags, models. What could lead out of the data store is no name."""

from __future__ import annotations

import re
from pathlib import Path

from monai_staging.errors import UsageError

LONGEST = 200
"""Characters of a name; a file's may have 255 bytes, with its ending."""
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def check_name(name: str, what: str) -> str:
    """The name if it can be a file's in one folder.

    Args:
        name: as it came.
        what: it is of, for the message.

    Raises:
        UsageError: it is empty or too long, begins with a dot, or has a separator or a control character.
    """
    if not 0 < len(name) <= LONGEST:
        raise UsageError(f"{what}: a name has 1 to {LONGEST} characters; found {len(name)}.")
    if name.startswith(".") or "/" in name or "\\" in name or not name.isprintable():
        raise UsageError(f"{what}: no dot at the start, separator or control character; found {name[:60]!r}.")
    return name


def check_tag(tag: str) -> str:
    """The tag if it can be a folder's name.

    Raises:
        UsageError: it is anything but letters, digits, ``-`` and ``_``, at most 64 of them.
    """
    if not _TAG.fullmatch(tag):
        raise UsageError(f"Tag: 1 to 64 letters, digits, - or _, the first no - or _; found {tag[:60]!r}.")
    return tag


def text_of(tag: str) -> str:
    """A tag as plain text: upstream's own are members of an enumeration."""
    return str(getattr(tag, "value", tag))


def ending_of(filename: str, endings: tuple[str, ...]) -> str:
    """The ending of a file's name.

    Raises:
        UsageError: it is none of ``endings``.
    """
    ending = next((own for own in endings if filename.lower().endswith(own)), None)
    if ending is None:
        raise UsageError(f"A file ending in {', '.join(endings)} is needed; found {Path(filename).name[-40:]!r}.")
    return ending
