"""Files that are either wholly there or not there at all."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside ``path``; what is written there takes ``path``'s place when the block ends well.

    The file is synchronised to disk before the rename, so that a power cut leaves the old file or the new one, never
    half of one. When the block raises, the temporary file is removed and ``path`` is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps two processes on one folder apart; suffixes stay, because writers go by them.
    temporary = path.with_name(f".{os.getpid()}.tmp.{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_abandoned(folder: str | os.PathLike[str], names: str) -> None:
    """Removes the temporary files and folders (``.<process>.tmp.<name>``) of processes that were killed.

    Args:
        folder: that they lie in; it may be missing.
        names: regular expression of what they were to become.
    """
    import psutil

    if not os.path.isdir(folder):
        return
    temporary = re.compile(rf"\.(\d+)\.tmp\.({names})")
    for path in Path(folder).iterdir():
        match = temporary.fullmatch(path.name)
        if match and not psutil.pid_exists(int(match[1])):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def copy_atomic(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Copies a file to ``path``, atomically; when this returns, it is there after a power cut too."""
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)
    sync_folder(Path(path).parent)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Synchronises a folder to disk: a rename is there when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text_atomic(path: str | os.PathLike[str], text: str) -> None:
    """Writes ``text`` (UTF-8) to ``path``, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json_atomic(path: str | os.PathLike[str], document: Any) -> None:
    """Writes ``document`` as indented JSON to ``path``, atomically."""
    write_text_atomic(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_archive(path: str | os.PathLike[str], content: Any, **arguments: Any) -> None:
    """Writes ``content`` to ``path`` with ``torch.save``, atomically; the same content gives the same bytes.

    Args:
        path: of the file.
        content: tensors and plain values.
        arguments: of ``torch.save``.

    Raises:
        OSError: it cannot be written. torch itself covers that with an error of positions in the archive.
    """
    import torch

    # Through a file object: given a name, torch writes that name (here a temporary one) into the archive.
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(content, file, **arguments)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


CACHE_VARIABLE = "MONAI_STAGING_CACHE"


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """Where derived and downloaded files stay: ``cache``, else ``$MONAI_STAGING_CACHE``, else the user's own folder."""
    return Path(cache or os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "monai_staging")
