"""Faults while raw data becomes a cohort, and in the cohort after."""

from __future__ import annotations

import os
import signal
import time
from functools import cached_property
from pathlib import Path

import psutil

from scripts.faults.disk import room_of, small_disk
from scripts.faults.fault import (
    CLI,
    Fault,
    NotStruck,
    Round,
    Span,
    contents,
    differences,
    killed,
    leftovers,
)

# An audit leaves the key of the names of cases.
_LOCK = {".ingest/lock": None, ".case_key": None}


class _Ingest(Fault):
    command = "ingest"

    def arguments(self, out: Path) -> list[object]:
        return self.bench.ingest(out)

    @property
    def whole(self) -> Path:
        """What an undisturbed ingest leaves."""
        return self.bench.whole_cohort

    @property
    def span(self) -> Span:
        return self.bench.kept("ingest", lambda: self.bench.span(CLI, self.arguments(self.whole), self.whole))

    @cached_property
    def expected(self) -> dict[str, str]:
        assert self.span
        return contents(self.whole, _LOCK)

    def judged(self, out: Path) -> tuple[str, tuple[str, ...]]:
        """Runs the same command again: what it came to, and what is wrong with it."""
        done = self.run(CLI, self.arguments(out))
        if done.code:
            return f"ends with {done.code}", (done.said,)
        problems = differences(self.expected, contents(out, _LOCK)) + leftovers(out)
        return "the same cohort, byte for byte" if not problems else "another cohort", tuple(problems)


class IngestKilled(_Ingest):
    """SIGKILL at a random point."""

    name = "SIGKILL"

    def _once(self, out: Path) -> Round:
        when = killed(self, CLI, self.arguments(out / "out"), out / "out", self.span)
        return Round("killed", *self.judged(out / "out"), when)


class IngestWorkerKilled(_Ingest):
    """SIGKILL of a worker alone, as the system does when memory runs out."""

    name = "SIGKILL of a worker"

    def _once(self, out: Path) -> Round:
        assert self.expected
        child = self.start(CLI, self.arguments(out / "out"))
        moment = self.rng.uniform(0, self.span.seconds / 2)
        end = time.monotonic() + 60
        while not (workers := _workers(child.pid)) and time.monotonic() < end and not child.poll():
            time.sleep(0.01)
        time.sleep(moment)
        workers = _workers(child.pid)
        if not workers or child.poll():
            child.wait()
            raise NotStruck
        os.kill(workers[0], signal.SIGKILL)
        done = child.wait()
        struck = "goes on with another worker" if not done.code else f"ends with {done.code}"
        return Round(struck, *self.judged(out / "out"), f"{moment:.2f} s after its start")


def _workers(pid: int) -> list[int]:
    """Worker processes; multiprocessing's resource tracker is none."""
    try:
        children = psutil.Process(pid).children()
        return [one.pid for one in children if any("spawn_main" in part for part in one.cmdline())]
    except psutil.Error:
        return []


class IngestDiskFull(_Ingest):
    """No room for all volumes."""

    name = "disk full"

    def _once(self, out: Path) -> Round:
        assert self.expected
        size = self.rng.randrange(16 << 10, room_of(self.whole) - (64 << 10))
        with small_disk(out, size) as disk:
            if not disk.mounted:
                largest = max(path.stat().st_size for path in self.whole.rglob("*"))
                disk = type(disk)(out, False, self.rng.randrange(4096, largest))
            first = self.start(CLI, self.arguments(out / "out"), first=disk.first()).wait()
            problems = leftovers(out)
            if not first.code:
                problems += differences(self.expected, contents(out / "out", _LOCK))
                if not problems:
                    raise NotStruck
                problems.append("ends with 0")
            if "No space left" not in first.err and "File too large" not in first.err:
                problems.append(f"does not say why: {first.said}")
            if "Traceback" in first.err:
                problems.append(f"a traceback instead of a line: {first.said}")
            disk.grow(64 << 20)
            then, wrong = self.judged(out / "out")
            return Round("ends with 1 and says so", then, (*problems, *wrong), f"{disk.bytes >> 10} KiB: {first.said}")


class VolumeTruncated(_Ingest):
    """A volume of a cohort loses its end."""

    name = "truncated volume"

    def _once(self, out: Path) -> Round:
        first = self.run(CLI, self.arguments(out / "out"))
        assert not first.code, first.err
        volume = self.rng.choice(sorted((out / "out" / "volumes").iterdir()))
        kept = self.rng.randrange(volume.stat().st_size)
        os.truncate(volume, kept)
        audit = self.run(CLI, ["audit", out / "out"])
        struck = "audit ends with 1 and names the case" if audit.code == 1 else f"audit ends with {audit.code}"
        told = [line for line in (audit.out + audit.err).splitlines() if "truncated" in line or "NIfTI" in line]
        problems = () if told and audit.code == 1 else (f"audit does not tell: {audit.out[-300:]}{audit.said}",)
        then, wrong = self.judged(out / "out")
        return Round(struck, then, (*problems, *wrong), f"{kept} bytes kept; {told[:1]}")


class TwoIngests(_Ingest):
    """Two processes ingest into one cohort."""

    name = "two processes on one cohort"

    def _once(self, out: Path) -> Round:
        assert self.expected
        one = self.start(CLI, self.arguments(out / "out"))
        time.sleep(self.rng.uniform(0, self.span.seconds / 2))
        other = self.start(CLI, self.arguments(out / "out"))
        ended = [one.wait(), other.wait()]
        problems = []
        codes = sorted(done.code for done in ended)
        refused = next((done for done in ended if done.code), None)
        if codes not in ([0, 0], [0, 1]):
            problems.append(f"they end with {codes}")
        if refused is not None and "another process" not in refused.said:
            problems.append(f"the refused one says {refused.said}")
        struck = "the second is refused by name" if refused is not None else "one after the other"
        then, wrong = self.judged(out / "out")
        return Round(struck, then, (*problems, *wrong), refused.said if refused is not None else "")


FAULTS = (IngestKilled, IngestWorkerKilled, IngestDiskFull, VolumeTruncated, TwoIngests)
