"""A server that is killed while labels are saved: the script that measures it, a few rounds of it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monai_staging.cohort.volume import Volume, write_volume

ROUNDS = 5


def run(repository: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {name: own for name, own in os.environ.items() if not name.startswith("MONAI_LABEL_")}
    return subprocess.run(
        [sys.executable, repository / "scripts" / "label_kill.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**environment, "PYTHONPATH": str(repository)},
    )


@pytest.mark.skipif(importlib.util.find_spec("monailabel") is None, reason="tool missing: MONAI Label")
def test_no_acknowledged_label_is_lost(repository: Path, tmp_path: Path) -> None:
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    for number in (1, 2):
        array = np.random.default_rng(number).integers(-1000, 400, (32, 32, 16)).astype(np.int16)
        write_volume(tmp_path / f"scan-{number}.nii", Volume(array, affine))
    done = run(repository, tmp_path, "--rounds", ROUNDS)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    *rounds, last = done.stdout.splitlines()
    assert len(rounds) == ROUNDS and last.startswith(f"{ROUNDS} kills, ") and last.endswith("no acknowledged one lost")
    assert int(last.split()[2]) >= ROUNDS
