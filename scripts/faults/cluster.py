"""Faults of a Ray cluster: a worker dies while raw data becomes a cohort."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path

import psutil

from scripts.faults.fault import CLI, Bench, Fault, NotStruck, Round, contents
from scripts.faults.ingest import _LOCK, _Ingest
from scripts.faults.process import ROOT
from scripts.loopback_ray import LOOPBACK

BUSY_S = 2.0


class RayWorkerKilled(_Ingest):
    """SIGKILL of a process that works on a series, on one of two nodes."""

    name = "Ray worker dying"
    command = "ingest --ray"

    def __init__(self, bench: Bench, rng: random.Random) -> None:
        super().__init__(bench, rng)
        self._nodes: subprocess.Popen[str] | None = None

    @cached_property
    def address(self) -> str:
        """Of two nodes on loopback."""
        self._nodes = subprocess.Popen(
            [sys.executable, str(Path(ROOT, "scripts", "loopback_ray.py"))],
            **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True},
            **{"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT)}},
        )
        assert self._nodes.stdout is not None
        return self._nodes.stdout.readline().strip()

    def arguments(self, out: Path) -> list[object]:
        """The command, whose cohort is that of one machine."""
        os.environ.update(LOOPBACK)  # for all commands that are started from here
        alone = [one for one in super().arguments(out) if one not in ("--workers", "1")]
        return [*alone, "--ray", self.address]

    def close(self) -> None:
        """Stops the nodes."""
        if self._nodes is not None:
            assert self._nodes.stdin is not None
            self._nodes.stdin.close()
            self._nodes.wait(60)

    @cached_property
    def expected(self) -> dict[str, str]:
        """Of one machine."""
        assert self.bench.cohort
        return contents(self.whole, _LOCK)

    def _once(self, out: Path) -> Round:
        assert self.expected
        command = self.start(CLI, self.arguments(out / "out"))
        try:
            while not (workers := self._busy()):
                if command.poll():
                    raise NotStruck
                time.sleep(0.005)
            moment = self.rng.uniform(0, BUSY_S)
            time.sleep(moment)
            workers = self._busy()
            if not workers or command.poll():
                raise NotStruck
            os.kill(self.rng.choice(workers), signal.SIGKILL)
        finally:
            done = command.wait()
        struck = "goes on with another worker" if not done.code else f"ends with {done.code}"
        problems = [] if "a worker was lost" in done.err else ["does not say that a worker was lost"]
        then, wrong = self.judged(out / "out")
        return Round(struck, then, (*problems, *wrong), f"{moment:.2f} s after a series was begun")

    def _busy(self) -> list[int]:
        """Processes of the nodes that work on something now."""
        assert self._nodes is not None
        found = []
        for child in psutil.Process(self._nodes.pid).children(recursive=True):
            try:
                title = child.cmdline()[:1]
            except psutil.Error:
                continue
            # Ray's own processes have such titles, too; its tasks are called so by the package.
            if title and title[0].startswith("ray::monai-staging"):
                found.append(child.pid)
        return sorted(found)


FAULTS: tuple[type[Fault], ...] = (RayWorkerKilled,) if importlib.util.find_spec("ray") else ()
