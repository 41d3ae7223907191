"""Folders of a data store, looked at."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

LOOKED_AT = 8
"""Files of a folder that are opened to see whether it is a DICOM study."""


def holds_dicom(folder: Path) -> bool:
    """Whether one of the first files below a folder says that it is DICOM."""
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    for path in itertools.islice(files, LOOKED_AT):
        with open(path, "rb") as file:
            if file.read(132)[128:] == b"DICM":
                return True
    return False
