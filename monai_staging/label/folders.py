"""Files of a data store's folder: put there so that a crash loses nothing, and looked at."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

from monai_staging.files import atomic_path

LOOKED_AT = 8
"""Files of a folder that are opened to see whether it is a DICOM study."""


def put(source: Path, target: Path) -> None:
    """Copies a file into the place of another, whole or not at all, and synchronises it to disk."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """A rename is on disk when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def holds_dicom(folder: Path) -> bool:
    """Whether one of the first files below a folder says that it is DICOM."""
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    for path in itertools.islice(files, LOOKED_AT):
        with open(path, "rb") as file:
            if file.read(132)[128:] == b"DICM":
                return True
    return False
