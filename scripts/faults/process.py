"""Commands as processes that are forked from this one, which has imported what they need: a round takes seconds."""

from __future__ import annotations

import contextlib
import importlib
import mmap
import os
import re
import runpy
import signal
import struct
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 300.0
_IMPORTED = (
    *("torch._dynamo", "monai.bundle", "monai.engines", "monai.handlers", "monai.transforms", "monai.losses"),
    *("monai.networks.nets", "mlflow", "mlflow.cli", "mlflow.pytorch", "mlflow.store.tracking.sqlalchemy_store"),
    *("sklearn.ensemble", "skimage.measure", "matplotlib.pyplot", "networkx", "pandas", "highdicom", "nibabel"),
    *("torch._inductor.ir", "torch._export.serde.serialize"),
)
_ERROR = re.compile(r"[\w.]*(Error|Exception)\b")
_WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")


_RUNNING: set[int] = set()


def end_all() -> None:
    """Ends what still runs, at once, with all that it has started."""
    for pid in _RUNNING:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def import_all() -> None:
    """Imports, before the first fork, what takes the commands their time."""
    for name in _IMPORTED:
        importlib.import_module(name)


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative: a signal), what it printed, and the seconds it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def printed(self) -> str:
        """All of it: a bundle's log goes to its standard output."""
        return self.out + self.err

    @property
    def said(self) -> str:
        """What it had to say in the end: the first error of a traceback, else the last line."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        errors = [line for line in lines if _ERROR.match(line)]
        return errors[0] if errors else lines[-1] if lines else ""


class WriteCount:
    """Counts what a process changes in the file system under a folder, and may kill it (SIGKILL) before a change.

    Between two changes lie all the states that a kill can leave behind: a moment drawn among them meets the short ones
    as often as the long. Seen are files opened for writing, renames, removals and new folders, by Python's audit
    events; what SQLite does is not.

    Args:
        folder: changes elsewhere do not count.
        kill_before: number of the change, or part of the path changed, that the process does not live to see; ``None``
            for none.
    """

    def __init__(self, folder: Path, kill_before: int | str | None = None) -> None:
        self._folder = str(folder)
        self._kill_before = kill_before
        self._shared = mmap.mmap(-1, 8)  # one page for parent and child

    @property
    def count(self) -> int:
        """How many there were."""
        return int(struct.unpack("q", self._shared[:8])[0])

    def install(self) -> None:
        """Starts to count, in the child."""
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            flags = arguments[2] or 0
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event not in _WRITES:
            return
        if not isinstance(arguments[0], str | os.PathLike):
            return
        path = os.fsdecode(arguments[0])
        if not path.startswith(self._folder):
            return
        number, last = self.count, self._kill_before
        if number == last or (isinstance(last, str) and last in path):
            os.kill(os.getpid(), signal.SIGKILL)
        self._shared[:8] = struct.pack("q", number + 1)


@dataclass
class Child:
    """A command that runs."""

    pid: int
    printed: Path
    began: float = field(default_factory=time.monotonic)
    _ended: Ended | None = field(default=None, repr=False)

    def poll(self) -> bool:
        """Whether it has ended."""
        return self._ended is not None or self._look(os.WNOHANG)

    def wait(self, seconds: float = LIMIT_S) -> Ended:
        """How it ended. One that takes longer is killed, and an error."""
        end = time.monotonic() + seconds
        while not self.poll():
            if time.monotonic() > end:
                self.kill(group=True)
                raise TimeoutError(f"no end after {seconds:g} s: {self._read('err')[-2000:]}")
            time.sleep(0.01)
        assert self._ended is not None
        return self._ended

    def kill(self, group: bool = False) -> Ended:
        """SIGKILL, to it or to all that it has started, too."""
        if self._ended is None:
            (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)
            self._look(0)
        assert self._ended is not None
        return self._ended

    def _look(self, how: int) -> bool:
        pid, status = os.waitpid(self.pid, how)
        if not pid:
            return False
        _RUNNING.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        self._ended = Ended(code, self._read("out"), self._read("err"), time.monotonic() - self.began)
        return True

    def _read(self, name: str) -> str:
        return self.printed.with_suffix(f".{name}").read_text(encoding="utf-8", errors="replace")


@dataclass
class Starter:
    """Starts commands.

    Attributes:
        folder: for what they print.
        environment: of all of them, beside this process's own.
    """

    folder: Path
    environment: Mapping[str, str]
    _number: int = 0

    def start(
        self, module: str, arguments: Iterable[object], first: Callable[[], object] | None = None, **environment: str
    ) -> Child:
        """``python -m MODULE ARGUMENTS`` in the repository, in a session of its own.

        Args:
            module: that is run.
            arguments: of the command.
            first: called in the child before the command.
            environment: of this one.
        """
        self._number += 1
        printed = self.folder / f"{self._number:05d}"
        for name in ("out", "err"):
            printed.with_suffix(f".{name}").touch()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            _RUNNING.add(pid)
            return Child(pid, printed)
        code = 1
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            code = _run(module, list(map(str, arguments)), printed, {**self.environment, **environment}, first)
        finally:
            os._exit(code)

    def run(self, module: str, arguments: Iterable[object], **environment: str) -> Ended:
        """Such a command, and how it ended."""
        return self.start(module, arguments, **environment).wait()


def in_child(work: Callable[[], object]) -> None:
    """Does something in a process of its own, so that nothing of it (connections, threads) is forked along after.

    Raises:
        RuntimeError: it fails.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("a preparation failed; what it printed stands above")


def _run(
    module: str,
    arguments: list[str],
    printed: Path,
    environment: Mapping[str, str],
    first: Callable[[], object] | None,
) -> int:
    """What ``python -m MODULE`` would do and return, in this process."""
    import atexit

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(printed.with_suffix(f".{name}"), os.O_WRONLY | os.O_TRUNC), number)
    os.chdir(ROOT)
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    warnings.simplefilter("ignore")
    code = 0
    try:
        if first is not None:
            first()
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        # As the interpreter would: a run that is open is ended by a hook there.
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code
