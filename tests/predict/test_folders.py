"""What is left of a prediction that was killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monai_staging.errors import UsageError
from monai_staging.predict.folders import new_folder

NOBODY = 2**22 + 1  # above the largest process id of Linux


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    for name in (f".{NOBODY}.tmp.OUT", f".{os.getppid()}.tmp.OUT", f".{NOBODY}.tmp.OUT2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "seg.dcm").touch()
    with new_folder(tmp_path / "OUT") as making:
        (making / "report.json").touch()
    # Of processes that live, and of other outputs, it knows nothing.
    assert {path.name for path in tmp_path.iterdir()} == {"OUT", f".{os.getppid()}.tmp.OUT", f".{NOBODY}.tmp.OUT2"}


@pytest.mark.parametrize("arrived", [True, False])
def test_killed_while_one_folder_took_the_place_of_another(tmp_path: Path, arrived: bool) -> None:
    (tmp_path / ".old.OUT").mkdir()
    (tmp_path / ".old.OUT" / "first").touch()
    if arrived:
        (tmp_path / "OUT").mkdir()
        (tmp_path / "OUT" / "second").touch()
    with pytest.raises(UsageError, match="found something there"), new_folder(tmp_path / "OUT"):
        pass
    assert [path.name for path in (tmp_path / "OUT").iterdir()] == ["second" if arrived else "first"]
    assert [path.name for path in tmp_path.iterdir()] == ["OUT"]
    with new_folder(tmp_path / "OUT", overwrite=True) as making:
        (making / "third").touch()
    assert [path.name for path in (tmp_path / "OUT").iterdir()] == ["third"]
    assert [path.name for path in tmp_path.iterdir()] == ["OUT"]
