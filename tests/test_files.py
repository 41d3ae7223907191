from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from monai_staging.files import (
    atomic_path,
    remove_abandoned,
    temporary_path,
    write_json_atomic,
    write_text_atomic,
)


def test_takes_the_place_of_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "volume.nii"
    write_text_atomic(path, "old")
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".nii"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "cohort.json"
    write_text_atomic(path, "old")
    with pytest.raises(RuntimeError, match="disk full"), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "volume.nii"):
        pass
    assert not list(tmp_path.iterdir())


def test_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "cohort.json"
    write_text_atomic(path, "old")
    code = f"""
import os, signal
from monai_staging.files import atomic_path
with atomic_path({str(path)!r}) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_two_processes_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.json") as temporary:
        assert str(os.getpid()) in temporary.name
        temporary.write_text("{}")


def test_json_is_readable_and_keeps_every_letter(tmp_path: Path) -> None:
    document = {"patient": "Müller", "size_mm": [1.5, 2, None]}
    write_json_atomic(tmp_path / "cohort.json", document)
    text = (tmp_path / "cohort.json").read_text(encoding="utf-8")
    assert json.loads(text) == document
    assert "Müller" in text
    assert text.endswith("}\n")


def test_an_archive_that_has_no_room_is_the_system_s_error(tmp_path: Path) -> None:
    code = f"""
import resource, torch
from monai_staging.files import write_archive
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
try:
    write_archive({str(tmp_path / "a.pt")!r}, {{"weights": torch.zeros(1000)}})
finally:  # what measures coverage writes at the end
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "OSError: [Errno 27] File too large"
    assert list(tmp_path.iterdir()) == []


def test_only_what_dead_processes_of_this_machine_left_is_removed(tmp_path: Path) -> None:
    dead, alive = 2**22 + 1, os.getppid()
    mine = temporary_path(tmp_path / "a.pt").name
    other = mine.replace(mine[1:11], f"{(int(mine[1:11]) + 1) % 10**10:010d}").replace(str(os.getpid()), str(dead))
    stay = {f".{alive}.tmp.a.pt", mine, other, "a.pt", ".hidden"}
    for name in (*stay, f".{dead}.tmp.a.pt", mine.replace(str(os.getpid()), str(dead)), f".{dead}.tmp.b.pt"):
        (tmp_path / name).touch()
    remove_abandoned(tmp_path, r"a\.pt")
    assert {path.name for path in tmp_path.iterdir()} == {*stay, f".{dead}.tmp.b.pt"}
    # The first that a process writes in a folder.
    write_text_atomic(tmp_path / "c", "")
    assert {path.name for path in tmp_path.iterdir()} == {*stay, "c"}
    # Of a process that had our number before us; where it is known that we write none now, of whatever age.
    os.utime(tmp_path / mine, (0, 0))
    remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*stay - {mine}, "c"}
    (tmp_path / mine).touch()
    remove_abandoned(tmp_path, own=True)
    assert {path.name for path in tmp_path.iterdir()} == {*stay - {mine}, "c"}
    remove_abandoned(tmp_path / "nothing")
