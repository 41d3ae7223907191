"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from monai_staging.errors import DataError


@contextlib.contextmanager
def exclusive(path: Path, *, busy: str, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds the lock file ``path`` while the block runs; the system lets go of it however the process ends.

    Args:
        path: the lock file; made where it is missing, never removed.
        busy: the message of the error where another process holds the lock.
        on_wait: wait for the other process instead, after calling this.

    Raises:
        DataError: another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b") as file:
        if not _try(file, wait=False):
            if on_wait is None:
                raise DataError(busy)
            on_wait()
            while not _try(file, wait=True):
                pass
        yield


def _try(file: IO[bytes], wait: bool) -> bool:
    if os.name == "nt":
        import msvcrt

        file.seek(0)
        try:
            # Waits ten seconds at most, so that the caller tries again.
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
