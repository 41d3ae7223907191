from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from monai_staging.cohort.pool import WorkerDied, run_in_workers
from monai_staging.errors import DataError


def work(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 99:
        raise DataError("item 99")
    return item * item


def test_only_what_kills_its_worker_is_lost() -> None:
    results = dict(run_in_workers(work, range(6), 2))
    assert isinstance(results.pop(3), WorkerDied)
    assert results == {0: 0, 1: 1, 2: 4, 4: 16, 5: 25}


def test_an_error_reaches_the_caller() -> None:
    with pytest.raises(DataError, match="item 99"):
        list(run_in_workers(work, [99, 1], 1))


def test_nothing_to_do_starts_nothing() -> None:
    assert list(run_in_workers(work, [], 2)) == []


PARENT = """
import os, sys, time
from pathlib import Path
from monai_staging.cohort.pool import run_in_workers

def sleep(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    list(run_in_workers(sleep, [sys.argv[1]], 1))
"""


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script, told = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script, told])
    while not (told.exists() and told.read_text()):
        assert parent.poll() is None
        time.sleep(0.02)
    worker = int(told.read_text())
    parent.kill()
    parent.wait()
    for _ in range(250):
        status = Path(f"/proc/{worker}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            return
        time.sleep(0.02)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")
