"""A run of a bundle as a process of its own, which can be stopped, and is found again when its server is gone."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

PATIENCE_S = 20.0
"""Seconds that a process is given to end when it is told to; then it is killed."""
STEP_S = 0.2
_ERROR = re.compile(r"(?:[\w.]*\.)?(?:DataError|UsageError): (.*)")


class BundleRun:
    """A process of ``python -m monai.bundle run``.

    Args:
        process: that runs.
        log: what it prints.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    @classmethod
    def begin(cls, bundle: Path, configs: Sequence[str], keys: Mapping[str, Any], log: Path) -> BundleRun:
        """Starts a bundle.

        Args:
            bundle: its folder.
            configs: names of its configs, the later ones over the first.
            keys: of the configs, with other values; what is no text is given as Python writes it.
            log: file for what it prints.
        """
        files = ",".join(f"'{bundle / config}.json'" for config in configs)
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", f"[{files}]"]
        for key, value in {"bundle_root": bundle, **keys}.items():
            command += [f"--{key}", str(value)]
        # A server's settings are not a training's.
        environment = {name: own for name, own in os.environ.items() if not name.startswith("MONAI_LABEL_")}
        with open(log, "wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment)
        return cls(process, log)

    @property
    def identity(self) -> dict[str, Any]:
        """By which :func:`end_left_behind` finds the process: a number alone is given again to others."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return {"pid": self.process.pid, "pid_started": psutil.Process(self.process.pid).create_time()}
        return {"pid": None}

    def wait(self, stop: threading.Event) -> bool:
        """Waits for its end; ``False`` where it was stopped before."""
        while self.process.poll() is None:
            if stop.wait(STEP_S):
                # Told to end, the run is marked as killed in MLflow, if that does not take too long.
                self.process.terminate()
                try:
                    self.process.wait(PATIENCE_S)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait()
                return False
        return not stop.is_set()

    def failure(self) -> str:
        """Why it failed; empty where it did not."""
        code = self.process.returncode
        if not code:
            return ""
        if code < 0:
            return f"its process was killed (signal {-code})."
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        stated = [found[1] for line in lines if (found := _ERROR.fullmatch(line.strip()))]
        return stated[-1] if stated else f"exit code {code}; {self.log.name} in the training's folder says more."


def end_left_behind(identity: Mapping[str, Any]) -> None:
    """Ends a process whose server is gone; another that was given its number since is left alone.

    Args:
        identity: see :attr:`BundleRun.identity`.
    """
    pid, started = identity.get("pid"), identity.get("pid_started")
    if pid is None or started is None:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if abs(process.create_time() - started) < 1:
            process.terminate()
            _, alive = psutil.wait_procs([process], timeout=PATIENCE_S)
            for own in alive:
                own.kill()
