"""The nodules that are made on first use: whole or not at all, once, and never in place of something else."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from monai_staging.cohort.nodules import default, load_nodules
from monai_staging.cohort.nodules.default import default_nodules, ensure_nodules
from monai_staging.cohort.nodules.patches import TABLE, VOLUMES

SCRIPT = """
import sys
from monai_staging.cohort.nodules.default import default_nodules

default_nodules(sys.argv[1], nodules=20, seed=3)
"""


def test_killed_and_called_again_it_is_whole(tmp_path: Path) -> None:
    script, root = tmp_path / "script.py", tmp_path / "data" / "nodules"
    script.write_text(SCRIPT)
    making = root.parent / ".nodules.making"
    # A killed run's half a file.
    making.mkdir(parents=True)
    (making / VOLUMES).write_bytes(b"half")
    (making / TABLE).write_text("half")
    processes = [subprocess.Popen([sys.executable, script, root], stderr=subprocess.PIPE) for _ in range(2)]
    while not (root.parent / ".nodules.lock").exists():
        assert processes[0].poll() is None or processes[1].poll() is None
        time.sleep(0.02)
    told = b"".join(process.communicate()[1] for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    # One made them, the other waited or came late.
    assert told.count(b"20/20 nodules") == 1
    assert {path.name for path in root.parent.iterdir()} == {"nodules", ".nodules.lock"}
    assert {path.name for path in root.iterdir()} == {VOLUMES, TABLE}
    written = (root / TABLE).stat().st_mtime_ns
    assert default_nodules(root, nodules=5) == root.resolve()
    assert (root / TABLE).stat().st_mtime_ns == written
    other = default_nodules(tmp_path / "other", nodules=20, seed=3)
    assert load_nodules(other).digest == load_nodules(root).digest


def test_the_one_that_waits_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "nodules"
    holder = (
        "import sys, time; from pathlib import Path; from monai_staging.cohort.lock import exclusive\n"
        "with exclusive(Path(sys.argv[1]), busy=''):\n"
        "    print('held', flush=True); time.sleep(0.5)\n"
    )
    lock = root.parent / ".nodules.lock"
    process = subprocess.Popen([sys.executable, "-c", holder, lock], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    default_nodules(root, nodules=1)
    assert "another process is making these nodules; waiting for it" in capsys.readouterr().err
    assert process.wait() == 0 and len(load_nodules(root)) == 1


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    assert default_nodules(mine) == mine.resolve()
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]
    file = tmp_path / "nodulemnist3d.npz"
    file.write_bytes(b"mine")
    assert default_nodules(file) == file.resolve() and file.read_bytes() == b"mine"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert len(load_nodules(default_nodules(empty, nodules=2))) == 2


def test_only_the_default_place_is_filled_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = ensure_nodules("data/lidc", nodules=2)
    assert elsewhere == tmp_path.resolve() / "data/lidc" and not elsewhere.exists()
    made = ensure_nodules(nodules=2)
    assert made == (tmp_path / default.DEFAULT_PATH).resolve() and len(load_nodules(made)) == 2
