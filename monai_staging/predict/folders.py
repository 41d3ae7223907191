"""Folders that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from monai_staging.errors import UsageError
from monai_staging.files import remove_abandoned, temporary_path


@contextlib.contextmanager
def new_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder beside ``path`` that takes its place when the block ends well; else nothing of it is left.

    Args:
        path: what is to be made.
        overwrite: take the place of a folder that is there.

    Raises:
        UsageError: there is something already.
    """
    old = path.with_name(f".old.{path.name}")
    if old.is_dir():
        # Killed while it took the place of the folder that was there: that one is still whole, unless it had.
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(old, path)
    if path.exists() and not overwrite and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(f"{path}: an empty or new folder is needed, found something there; --overwrite replaces it.")
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: a folder is needed, found a file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path.parent, re.escape(path.name), own=True)
    making = temporary_path(path)
    making.mkdir()
    try:
        yield making
        if path.exists():
            os.replace(path, old)
        os.replace(making, path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(making, ignore_errors=True)
