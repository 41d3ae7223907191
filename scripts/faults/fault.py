"""What a fault is, what a round of it shows, and how what is left behind is judged."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from scripts.faults.process import Child, Ended, Starter, WriteCount, in_child

CLI = "monai_staging.cli"
BUNDLE = "monai.bundle"
DATABASE = "mlruns.db"
_LEFTOVER = re.compile(r"\.\d+\.tmp\..+|.*\.part")
Normal = Callable[[bytes], bytes]
Made = TypeVar("Made")


@dataclass(frozen=True)
class Round:
    """What came of a fault.

    Attributes:
        struck: what was done, and to what it led at once; rounds that read the same are counted together.
        then: what the same command came to after.
        problems: what should not be; empty where all is well.
        detail: for a person: the moment, the message.
    """

    struck: str
    then: str
    problems: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class Span:
    """Of a command that nothing disturbs: seconds, and changes in the file system of the process that one starts."""

    seconds: float
    writes: int


class NotStruck(Exception):
    """The command was done before the fault came: no round, another is to be drawn."""


@dataclass
class Bench:
    """What faults share: a place to work, a phantom or two, an MLflow database, the way commands are started.

    Attributes:
        place: folder that is made for it and removed after.
    """

    place: Path
    starter: Starter = field(init=False)
    _kept: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.place / "printed").mkdir(parents=True)
        environment = {
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
            "MONAI_STAGING_CACHE": str(self.place / "cache"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.place / DATABASE}",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            # A dead server is not waited for longer than a round may take.
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }
        self.starter = Starter(self.place / "printed", environment)
        in_child(self._make_database)

    def _make_database(self) -> None:
        import mlflow

        os.chdir(self.place)  # where MLflow makes a folder for artifacts
        mlflow.MlflowClient(f"sqlite:///{self.place / DATABASE}")
        shutil.copyfile(self.place / DATABASE, self.place / "empty.db")

    def database(self, folder: Path) -> str:
        """The URI of an empty database in a folder."""
        shutil.copyfile(self.place / "empty.db", folder / DATABASE)
        return f"sqlite:///{folder / DATABASE}"

    def kept(self, name: str, make: Callable[[], Made]) -> Made:
        """What ``make`` gives, made once for all faults that ask by this name."""
        if name not in self._kept:
            self._kept[name] = make()
        found: Made = self._kept[name]
        return found

    @cached_property
    def raw(self) -> Path:
        """Four tiny phantoms as DICOM."""
        return self._made("raw", ["phantom", self.place / "raw", "--cases", "4", *TINY])

    @cached_property
    def cohort(self) -> Path:
        """Their cohort, which nobody changes."""
        self.kept("ingest", lambda: self.span(CLI, self.ingest(self.whole_cohort), self.whole_cohort))
        shutil.copytree(self.whole_cohort, self.place / "cohort")
        return self.place / "cohort"

    @property
    def whole_cohort(self) -> Path:
        """What an undisturbed ingest leaves."""
        return self.place / "whole-ingest" / "out"

    def ingest(self, out: Path) -> list[object]:
        """The command that makes a cohort of the phantoms."""
        return ["ingest", "phantom", self.raw, out, *INGEST]

    def span(self, module: str, arguments: Iterable[object], out: Path) -> Span:
        """Runs a command undisturbed, with its output under ``out``.

        Raises:
            RuntimeError: it does not end with 0.
        """
        count = WriteCount(out.parent)
        done = self.starter.start(module, arguments, first=count.install).wait()
        if done.code:
            raise RuntimeError(f"{module} ends with {done.code} undisturbed: {done.err[-3000:]}")
        return Span(done.seconds, count.count)

    @cached_property
    def nodules(self) -> Path:
        """Forty phantom nodules."""
        return self._made("nodules", ["phantom", self.place / "nodules", "--nodules", "40", "--seed", "3"])

    def _made(self, name: str, command: list[object]) -> Path:
        done = self.starter.run(CLI, command)
        if done.code:
            raise RuntimeError(f"{name}: {done.err[-2000:]}")
        return self.place / name


TINY = ("--resolution", "tiny", "--workers", "1")
INGEST = ("--workers", "1", "--test", "0.25", "--validation", "0.25")


class Fault(ABC):
    """A fault in a command. One instance has many rounds."""

    name: ClassVar[str]
    command: ClassVar[str]

    def __init__(self, bench: Bench, rng: random.Random) -> None:
        self.bench, self.rng = bench, rng
        self.folder = bench.place / type(self).__name__
        self.folder.mkdir()
        self._rounds = 0

    @abstractmethod
    def _once(self, out: Path) -> Round:
        """One round, in a folder that is not there yet.

        Raises:
            NotStruck: the fault came too late.
        """

    def close(self) -> None:  # noqa: B027 (most have nothing to end)
        """Ends what the rounds have in common."""

    def round(self) -> Round:
        """One round that struck."""
        for _ in range(20):
            self._rounds += 1
            out = self.folder / f"round-{self._rounds}"
            try:
                return self._once(out)
            except NotStruck:
                continue
            finally:
                shutil.rmtree(out, ignore_errors=True)
        raise RuntimeError(f"{self.name}: the command was done before the fault in 20 rounds")

    def start(self, module: str, arguments: Iterable[object], **more: Any) -> Child:
        """Starts a command."""
        return self.bench.starter.start(module, arguments, **more)

    def run(self, module: str, arguments: Iterable[object], **environment: str) -> Ended:
        """Runs a command to its end."""
        return self.bench.starter.run(module, arguments, **environment)


def killed(fault: Fault, module: str, arguments: Iterable[object], out: Path, span: Span) -> str:
    """Starts a command and kills it (SIGKILL): by the clock or before one of its writes; alone or with its children.

    Returns:
        When.

    Raises:
        NotStruck: it was done before.
    """
    if fault.rng.random() < 0.5:
        number = fault.rng.randrange(span.writes)
        child = fault.start(module, arguments, first=WriteCount(out.parent, number).install)
        if child.wait().code != -signal.SIGKILL:
            raise NotStruck
        return f"before write {number + 1} of {span.writes}"
    moment, group = fault.rng.uniform(0, span.seconds), fault.rng.random() < 0.5
    child = fault.start(module, arguments)
    time.sleep(moment)
    if child.poll():
        raise NotStruck
    child.kill(group=group)
    return f"after {moment:.2f} of {span.seconds:.1f} s, {'with its children' if group else 'alone'}"


def contents(folder: Path, normal: Mapping[str, Normal | None] | None = None) -> dict[str, str]:
    """Digest of each file under a folder.

    Args:
        folder: that is looked at.
        normal: by a glob of relative paths: what to take out of a file first (times, random names); ``None`` passes the
            file over. The first that matches counts.
    """
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        content: bytes | None = path.read_bytes()
        for pattern, change in (normal or {}).items():
            if name.match(pattern):
                content = None if change is None else change(path.read_bytes())
                break
        if content is not None:
            found[name.as_posix()] = hashlib.sha256(content).hexdigest()
    return found


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """In words, what differs."""
    told = [f"{name} is missing" for name in expected if name not in found]
    told += [f"{name} is too many" for name in found if name not in expected]
    return told + [f"{name} differs" for name in expected if name in found and expected[name] != found[name]]


def leftovers(*folders: Path) -> list[str]:
    """Temporary files and folders of writers that are gone."""
    found = [path for folder in folders for path in folder.rglob("*") if _LEFTOVER.fullmatch(path.name)]
    return [f"{path.name} is left over" for path in found]


def without(*keys: str) -> Normal:
    """Takes keys out of a JSON document, at any depth."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(one) for key, one in value.items() if key not in keys}
        return [clean(one) for one in value] if isinstance(value, list) else value

    return lambda content: json.dumps(clean(json.loads(content)), sort_keys=True).encode()


def damage(path: Path, rng: random.Random) -> str:
    """Damages a file: cut off, emptied, a bit turned, other bytes; says how."""
    content = bytearray(path.read_bytes())
    how = rng.choice(("cut off", "emptied", "a bit turned", "other bytes"))
    place = rng.randrange(len(content))
    if how == "cut off":
        content = content[:place]
    elif how == "emptied":
        content = bytearray()
    elif how == "a bit turned":
        content[place] ^= 1 << rng.randrange(8)
    else:
        content = bytearray(rng.randbytes(len(content)))
    path.write_bytes(content)
    return f"{how} at byte {place}" if how in ("cut off", "a bit turned") else how
