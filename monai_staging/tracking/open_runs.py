"""The runs that are open in this process, so that no two write to one journal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol


class OpenRun(Protocol):
    """A run that can be ended from outside."""

    def abandon(self, why: str) -> None:
        """Ends the run as FAILED."""


_OPEN: dict[Path, tuple[int, OpenRun]] = {}


def take(journal: Path, run: OpenRun) -> None:
    """Notes that ``run`` writes to ``journal``; a run that is still open there is ended."""
    place = journal.resolve()
    process, other = _OPEN.get(place, (0, run))
    # A forked worker knows its parent's runs, and they are none of its business.
    if process == os.getpid() and other is not run:
        other.abandon("another run began in its folder")
    _OPEN[place] = os.getpid(), run


def release(journal: Path, run: OpenRun) -> None:
    """Notes that ``run`` is over."""
    place = journal.resolve()
    if place in _OPEN and _OPEN[place][1] is run:
        del _OPEN[place]
