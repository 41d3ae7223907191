"""Disks that are full."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TMPFS = "a tmpfs of limited size"
LIMIT = "a limit on the size of a file (RLIMIT_FSIZE)"


def room_of(folder: Path) -> int:
    """Bytes that the files in a folder take, in whole pages as on a tmpfs."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class SmallDisk:
    """A folder without room.

    Attributes:
        folder: on it.
        mounted: a file system of its own; else the child's own limit stands in for it.
        bytes: room at first.
    """

    folder: Path
    mounted: bool
    bytes: int

    def first(self) -> Callable[[], object] | None:
        """What a child is to do first, so that it is short of room."""
        if self.mounted:
            return None
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (self.bytes, self.bytes))

    def grow(self, size: int) -> None:
        """Makes room."""
        if self.mounted:
            subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True)


@cache
def kind(place: Path) -> str:
    """Which stands in for a full disk here."""
    probe = place / ".probe"
    probe.mkdir(exist_ok=True)
    done = _mount(probe, 1 << 20) if os.geteuid() == 0 else False
    if done:
        subprocess.run(["umount", str(probe)], check=True)
    probe.rmdir()
    return TMPFS if done else LIMIT


def _mount(folder: Path, size: int) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """A new folder with room for ``size`` bytes; gone when the block ends."""
    folder.mkdir(parents=True)
    mounted = kind(folder.parent) == TMPFS and _mount(folder, size)
    try:
        yield SmallDisk(folder, mounted, size)
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
