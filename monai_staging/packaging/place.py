"""A package's place: a folder or a zip that is wholly there or not at all."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monai_staging.errors import UsageError
from monai_staging.files import atomic_path, remove_abandoned, temporary_path

ZIP = ".zip"
_WHEN = (1980, 1, 1, 0, 0, 0)  # the same files give the same zip


def check_place(out: Path) -> None:
    """That a package may be written there.

    Raises:
        UsageError: something is there.
    """
    if out.is_dir() and not out.is_symlink() and out.suffix != ZIP:
        if any(out.iterdir()):
            raise UsageError(f"OUT must not exist yet or be empty, found files in the folder {out}")
    elif out.exists() or out.is_symlink():
        raise UsageError(f"OUT must not exist yet, found the {'folder' if out.is_dir() else 'file'} {out}")


@contextmanager
def new_package(out: Path) -> Iterator[Path]:
    """Gives a folder beside ``out``; when the block ends well it becomes ``out``, or is packed into it.

    A zip holds one folder of its own name, as in the Model Zoo. When the block raises, nothing is left.

    Raises:
        UsageError: something is at ``out`` already.
    """
    check_place(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.stem if out.suffix == ZIP else out.name
    remove_abandoned(out.parent, "|".join(map(re.escape, (folder, out.name))), own=True)
    temporary = temporary_path(out.with_name(folder))
    try:
        temporary.mkdir()
        yield temporary
        check_place(out)
        if out.suffix == ZIP:
            _pack(temporary, out)
        else:
            os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _pack(folder: Path, out: Path) -> None:
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{out.stem}/{path.relative_to(folder).as_posix()}", _WHEN)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
