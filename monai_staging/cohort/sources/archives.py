"""Raw data that still lies packed: no source reads archives, and a folder of nothing else is worth a word."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

ENDINGS = (
    *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst"),
    *(".zip", ".7z", ".rar"),
)
"""Of archives' names, in small letters."""
BESIDE = (".csv", ".tsv", ".xlsx", ".xls", ".txt", ".md", ".pdf", ".json", ".xml")
"""Of files that come with archives and hold no image, likewise."""


def packed(raw: Path, alone: bool = False) -> str | None:
    """What to do about the archives in a folder in which nothing was found; ``None`` where there are none.

    Files are counted and not named: a name may be a patient's.

    Args:
        raw: the raw data's folder, looked through with all folders in it.
        alone: say nothing where there may be an image beside them: whoever unpacked them need not be told.
    """
    found: Counter[str] = Counter()
    for _, _, names in os.walk(raw):
        for name in map(str.lower, names):
            ending = next((one for one in ENDINGS if name.endswith(one)), None)
            if ending is not None:
                found[ending] += 1
            elif alone and not name.endswith(BESIDE):
                return None
    if not found:
        return None
    counted = ", ".join(f"{count} {ending}" for ending, count in sorted(found.items()))
    return f"{raw}: archives are not read, found {counted}; unpack them there first."
