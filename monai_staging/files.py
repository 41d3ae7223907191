"""Files that are either wholly there or not there at all."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# In front of the process's number: a folder may be another machine's, too, of whose processes nothing is known here.
_MACHINE = f"{zlib.crc32(platform.node().encode()):010d}"
_SWEPT: set[tuple[int, Path]] = set()
_SWEEPING = threading.Lock()


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a temporary path beside ``path``; what is written there takes ``path``'s place when the block ends well.

    The file is synchronised to disk before the rename, so that a power cut leaves the old file or the new one, never
    half of one. When the block raises, the temporary file is removed and ``path`` is untouched. What killed processes
    left half written in the folder is removed when a process first writes there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _SWEEPING:
        # By process, as a fork has the set of the one that it is of.
        if (place := (os.getpid(), path.parent.absolute())) not in _SWEPT:
            remove_abandoned(path.parent)
            _SWEPT.add(place)
    temporary = temporary_path(path)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """Where this process writes ``path`` until it is whole: ``.<machine and process>.tmp.<name>`` beside it.

    The numbers keep two processes on one folder apart; suffixes stay, because writers go by them.
    """
    return path.with_name(f".{_MACHINE}{os.getpid()}.tmp.{path.name}")


def remove_abandoned(folder: str | os.PathLike[str], names: str = ".+", *, own: bool = False) -> None:
    """Removes the temporary files and folders of processes of this machine that were killed.

    Args:
        folder: that they lie in; it may be missing.
        names: regular expression of what they were to become.
        own: this process writes none of them now: what bears its number is another's. In a container the next process
            often has the number of the one that was killed. Without it, only what is older than this process is.
    """
    temporary = re.compile(rf"\.({_MACHINE})?(?P<process>\d{{1,10}})\.tmp\.({names})")
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as found:
        for entry in found:
            match = temporary.fullmatch(entry.name) if entry.name.startswith(".") else None
            if match and _is_abandoned(entry, int(match["process"]), own):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry.path).unlink(missing_ok=True)


def _is_abandoned(entry: os.DirEntry[str], process: int, own: bool) -> bool:
    import psutil

    if process != os.getpid():
        return not psutil.pid_exists(process)
    return own or entry.stat(follow_symlinks=False).st_mtime < psutil.Process().create_time() - 1


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
