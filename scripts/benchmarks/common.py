"""What the benchmarks share: time on the clock and of the processor, turns, the machine, aims with verdicts."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

SEED = 0
PACKAGES = ("torch", "monai", "numpy", "pydicom", "nibabel", "SimpleITK", "torchio", "nnunetv2", "scikit-learn")

Step = tuple[str, Callable[[Any], Any]]


@dataclass(frozen=True)
class Aim:
    """What is claimed, and what was found.

    Attributes:
        what: is measured, and beside what.
        found: the ratio, or whatever ``unit`` says; ``None`` where it was not measured.
        limit: that it must reach, or must not pass.
        at_least: whether more is better.
        unit: of both numbers.
        reason: why it is not met, or why it was not measured.
    """

    what: str
    found: float | None
    limit: float
    at_least: bool = True
    unit: str = "times"
    reason: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the claim holds; ``None`` where it was not measured."""
        if self.found is None:
            return None
        return self.found >= self.limit if self.at_least else self.found <= self.limit

    def to_json(self) -> dict[str, Any]:
        """The aim as a document."""
        return {
            **{"what": self.what, "found": self.found, "limit": self.limit, "at_least": self.at_least},
            **{"unit": self.unit, "met": self.met, "reason": self.reason},
        }


@dataclass
class Timed:
    """Seconds that a chain of steps took, over repeats.

    Attributes:
        total_s: of the whole chain on the clock, per repeat.
        processor_s: of this process on all cores, per repeat.
        steps_s: step to its seconds, per repeat.
    """

    total_s: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    steps_s: dict[str, list[float]] = field(default_factory=dict)

    def run(self, steps: Sequence[Step], value: Any = None) -> Any:
        """Runs the steps one on the other's result, and notes what each took."""
        begin, own = time.perf_counter(), time.process_time()
        for name, step in steps:
            start = time.perf_counter()
            value = step(value)
            self.steps_s.setdefault(name, []).append(time.perf_counter() - start)
        self.total_s.append(time.perf_counter() - begin)
        self.processor_s.append(time.process_time() - own)
        return value

    def summary(self) -> dict[str, Any]:
        """Medians and range, seconds."""
        return {
            "median_s": round(median(self.total_s), 6),
            "fastest_s": round(min(self.total_s), 6),
            "slowest_s": round(max(self.total_s), 6),
            "processor_s": round(median(self.processor_s), 6),
            "steps_s": {name: round(median(times), 6) for name, times in self.steps_s.items()},
        }


def in_turns(ways: Mapping[str, Callable[[Timed], Any]], repeats: int, warm: bool = True) -> dict[str, Timed]:
    """Times several ways in turns, so that what else the machine does meets all of them.

    Args:
        ways: each notes its own time.
        repeats: timed rounds; the order is reversed every second one.
        warm: do an untimed round first.
    """
    times = {name: Timed() for name in ways}
    for way in ways.values() if warm else ():
        way(Timed())
    for repeat in range(repeats):
        names = list(ways) if repeat % 2 else list(ways)[::-1]
        for name in names:
            ways[name](times[name])
    return times


def ratio(others: Timed, ours: Timed, digits: int = 2) -> float:
    """How many times as long the others take: the median over the rounds of the ratio within a round."""
    pairs = zip(others.total_s, ours.total_s, strict=True)
    return round(median(other / own for other, own in pairs), digits)


def processor_ratio(others: Timed, ours: Timed, digits: int = 2) -> float:
    """Likewise of processor seconds."""
    pairs = zip(others.processor_s, ours.processor_s, strict=True)
    return round(median(other / max(own, 1e-9) for other, own in pairs), digits)


def machine(threads: int) -> dict[str, Any]:
    """What this ran on and when: processor, memory, load, versions and commit. Call it before the load is one's own."""
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    # What the numbers come from is the package; a document in the making changes none of them.
    changed = subprocess.run([*git, "status", "--porcelain", "--", "../../monai_staging"], capture_output=True).stdout
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "load_average": round(os.getloadavg()[0], 1),  # of the minute before: what else ran here
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": (commit or "unknown") + (" with changes" if changed else ""),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "seed": SEED,
    }


def machine_text(found: Mapping[str, Any]) -> str:
    """The machine in two lines."""
    versions = ", ".join(f"{name} {own}" for name, own in found["versions"].items())
    return (
        f"{found['processor']}, {found['threads']} threads of {found['cores']} cores, load average "
        f"{found['load_average']:g}, {found['date']}, commit {found['commit']}\nPython {found['python']}, {versions}"
    )


def aims_rows(claim: str, aims: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A row an aim, for a table."""
    rows = []
    for aim in aims:
        sign = ">=" if aim["at_least"] else "<="
        verdict = {True: "met", False: "not met", None: "not measured"}[aim["met"]]
        found = "-" if aim["found"] is None else f"{aim['found']:.4g}"
        reason = f": {aim['reason']}" if aim["reason"] and aim["met"] is not True else ""
        rows.append([claim, aim["what"], found, f"{sign} {aim['limit']:g}", aim["unit"], verdict + reason])
    return rows


AIMS_HEADER = ("claim", "what", "found", "aim", "unit", "")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
