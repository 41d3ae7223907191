"""Runs mutated files through readers, in processes that may die, run out of memory or never come back."""

from __future__ import annotations

import json
import math
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from monai_staging.errors import StagingError

LONGEST_MESSAGE = 4000
"""Characters. A message that repeats a whole file is no message."""
READ, REFUSED, FINDING = "read", "refused", "finding"


class Subject(Protocol):
    """A kind of input: how mutated files are made, and what reads them."""

    name: str

    def readers(self, folder: Path) -> Mapping[str, Callable[[Path], None]]:
        """What reads the input in ``folder``, by name."""

    def make(self, rng: random.Random, folder: Path) -> str:
        """Writes one mutated input into ``folder``, which is empty; says what was done to it."""


@dataclass(frozen=True)
class Limits:
    """What one reader may use for one input.

    Attributes:
        memory_mib: address space beyond what the process has before its first input.
        seconds: by the clock; then the process is killed.
    """

    memory_mib: int = 1024
    seconds: float = 20.0


@dataclass
class Report:
    """What became of a campaign.

    Attributes:
        outcomes: how often each (reader, outcome) came, and each (reader, "refused: RULE").
        findings: one record each, with the number that makes the input again.
        slowest: seconds, and the number and reader that took them.
        peak_mib: the most resident memory a worker has had.
    """

    inputs: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[dict[str, str | int]] = field(default_factory=list)
    slowest: tuple[float, int, str] = (0.0, -1, "")
    peak_mib: float = 0.0


def run(
    subject: Subject, seed: int, numbers: range, limits: Limits, scratch: Path, minutes: float = math.inf
) -> Report:
    """Makes the inputs ``numbers`` and reads each by every reader.

    Args:
        subject: what is made and read.
        seed: of the campaign; seed and number make an input.
        numbers: the inputs.
        limits: of each reading.
        scratch: an empty folder for the inputs, which are removed as they are done.
        minutes: after which no more are begun.
    """
    report = Report()
    first, end = numbers.start, time.monotonic() + 60 * minutes
    while first < numbers.stop and time.monotonic() < end:
        first = _until_one_dies(subject, seed, range(first, numbers.stop), limits, scratch, report, end)
    return report


def _until_one_dies(
    subject: Subject, seed: int, numbers: range, limits: Limits, scratch: Path, report: Report, end: float
) -> int:
    """Gives the number to go on with in a new process."""
    receive, send = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.close(receive)
        code = 1
        try:
            with os.fdopen(send, "w", buffering=1) as pipe:
                _work(subject, seed, numbers, limits, scratch, pipe, end)
            code = 0
        except BaseException:
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
        finally:
            os._exit(code)
    os.close(send)
    doing, what, line = numbers.start, "making", ""
    with os.fdopen(receive) as pipe:
        for line in _lines(pipe, limits.seconds):
            if line is None:  # too long
                os.kill(pid, signal.SIGKILL)
                break
            record = json.loads(line)
            if record["event"] == "begin":
                doing, what = record["number"], record["reader"]
            elif record["event"] == "end":
                _count(record, report)
                what = "making"
            else:
                report.inputs += 1
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        return numbers.stop
    how = f"no end after {limits.seconds:g} s" if line is None else f"the process died, status {status}"
    if what == "making":
        raise SystemExit(f"no input was made after number {doing}: {how}")
    report.inputs += 1
    report.outcomes[what, FINDING] += 1
    report.findings.append({"number": doing, "reader": what, "found": how})
    return doing + 1


def _lines(pipe: IO[str], seconds: float) -> Iterator[str | None]:
    """The lines of a pipe without a buffer of our own; ``None``, and the end, where one takes too long."""
    held = b""
    while True:
        if not select.select([pipe.fileno()], [], [], seconds)[0]:
            yield None
            return
        read = os.read(pipe.fileno(), 1 << 16)
        if not read:
            return
        *whole, held = (held + read).split(b"\n")
        yield from (line.decode() for line in whole)


def _count(record: dict[str, str], report: Report) -> None:
    reader, outcome = record["reader"], record["outcome"]
    report.outcomes[reader, outcome] += 1
    report.slowest = max(report.slowest, (float(record["seconds"]), int(record["number"]), reader))
    report.peak_mib = max(report.peak_mib, float(record["peak_mib"]))
    if outcome == REFUSED:
        report.rules[reader, record["rule"]] += 1
    elif outcome == FINDING:
        report.findings.append({name: record[name] for name in ("number", "reader", "made", "found", "trace")})
        print(f"number {record['number']} [{reader}]: {record['found'][:150]}", flush=True)


def _work(
    subject: Subject, seed: int, numbers: range, limits: Limits, scratch: Path, pipe: IO[str], end: float
) -> None:
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders in other languages tell of their errors themselves
    _limit_memory(limits.memory_mib)
    for number in numbers:
        if time.monotonic() > end:
            return
        folder = scratch / str(number)
        made = make(subject, seed, number, folder)
        for reader, read in subject.readers(folder).items():
            pipe.write(json.dumps({"event": "begin", "number": number, "reader": reader}) + "\n")
            start = time.monotonic()
            outcome = outcome_of(read, folder)
            seconds = time.monotonic() - start
            peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            known = {"number": number, "reader": reader, "made": made, "seconds": seconds, "peak_mib": peak_mib}
            pipe.write(json.dumps({"event": "end", **known, **outcome}) + "\n")
        shutil.rmtree(folder)
        pipe.write(json.dumps({"event": "done"}) + "\n")


def make(subject: Subject, seed: int, number: int, folder: Path) -> str:
    """Makes the input again that ``seed`` and ``number`` make."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return subject.make(random.Random(f"{subject.name} {seed} {number}"), folder)


def outcome_of(read: Callable[[Path], None], folder: Path) -> dict[str, str]:
    """What becomes of one input in one reader: read, refused with a reason, or a finding."""
    try:
        read(folder)
    except StagingError as error:
        message = str(error)
        rule = getattr(getattr(error, "rule", None), "value", type(error).__name__)
        if _ran_out_of_memory(error):
            return _finding(f"refused only when memory had run out: {message[:200]}")
        if not message.strip() or len(message) > LONGEST_MESSAGE:
            return _finding(f"a message of {len(message)} characters: {message[:200]}")
        return {"outcome": REFUSED, "rule": rule}
    except BaseException as error:  # whatever it is, it is what is looked for
        return _finding(f"{type(error).__name__}: {str(error)[:300]}")
    return {"outcome": READ}


def _finding(found: str) -> dict[str, str]:
    return {"outcome": FINDING, "found": found, "trace": traceback.format_exc()[-3000:]}


def _ran_out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or "Unable to allocate" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _limit_memory(mib: int) -> None:
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limit = now + mib * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
