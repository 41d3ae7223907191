"""Faults of the clock: it jumps while a cohort is made or a bundle trains."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable
from pathlib import Path

from monai_staging.files import write_text_atomic
from scripts.faults.fault import BUNDLE, CLI, Fault, NotStruck, Round
from scripts.faults.ingest import _Ingest
from scripts.faults.training import _Training

_FILE = "FAKETIME_TIMESTAMP_FILE"


def library() -> Path | None:
    """libfaketime for programs with threads; ``None`` where it is not installed (Debian: faketime)."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def environment(place: Path) -> dict[str, str]:
    """Of a Python whose clock, and that of all it starts, follows a file; clocks that never jump stay as they are."""
    (place / "clock").write_text("+0d\n")
    preload = {"LD_PRELOAD": str(library()), _FILE: str(place / "clock"), "FAKETIME_NO_CACHE": "1"}
    return {**preload, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}


def folder() -> Path | None:
    """Where the file lies that this Python's clock follows; ``None`` where it follows none."""
    return Path(os.environ[_FILE]).parent if _FILE in os.environ else None


def mend_sleep() -> None:
    """Puts another ``time.sleep`` in place, here and in what is forked from here.

    libfaketime 0.9.10 adds the jump to what Python's own waits for, by a clock that has not jumped: that is no time.
    """
    time.sleep = lambda seconds: select.select([], [], [], seconds)  # type: ignore[assignment]


def _jumped(fault: Fault, module: str, arguments: Iterable[object], seconds: float) -> str:
    """Runs a command during which the clock jumps twice, there and elsewhere; how it ended, where not well.

    Raises:
        NotStruck: it was done before.
    """
    # Whole at any time: a program with no clock does not go on.
    clock = Path(os.environ[_FILE])
    moments = sorted(fault.rng.uniform(0, seconds) for _ in range(2))
    jumps = [f"{fault.rng.choice('+-')}{fault.rng.randrange(1, 4000)}d" for _ in moments]
    child = fault.start(module, arguments)
    begun = time.monotonic()
    try:
        for moment, jump in zip(moments, jumps, strict=True):
            time.sleep(max(0.0, moment - (time.monotonic() - begun)))
            if child.poll():
                raise NotStruck
            write_text_atomic(clock, f"{jump}\n")
        done = child.wait()
    finally:
        child.wait()
        write_text_atomic(clock, "+0d\n")
    if done.code:
        raise RuntimeError(f"{fault.name}: ends with {done.code} after {jumps}: {done.err[-2000:]}")
    return ", ".join(f"{jump} after {moment:.1f} s" for jump, moment in zip(jumps, moments, strict=True))


class IngestClock(_Ingest):
    """The clock jumps while raw data becomes a cohort."""

    name = "clock jumps"

    def _once(self, out: Path) -> Round:
        assert self.expected
        jumps = _jumped(self, CLI, self.arguments(out / "out"), self.span.seconds)
        return Round("goes on", *self.judged(out / "out"), jumps)


class TrainingClock(_Training):
    """The clock jumps while a bundle trains."""

    name = "clock jumps"

    def _once(self, out: Path) -> Round:
        assert self.expected
        jumps = _jumped(self, BUNDLE, self.arguments(out / "out"), self.span.seconds)
        return Round("goes on", *self.judged(out / "out"), jumps)


FAULTS = (IngestClock, TrainingClock)
