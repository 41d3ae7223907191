"""A package is there or not; what is there already stays."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from monai_staging.errors import UsageError
from monai_staging.packaging.place import new_package


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with new_package(out) as folder:
        (folder / "a").write_text("a")
        assert not out.exists() and folder.parent == out.parent
    assert (out / "a").read_text() == "a" and list(out.parent.iterdir()) == [out]


def test_an_empty_folder_is_filled_and_a_full_one_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with new_package(out) as folder:
        (folder / "a").write_text("a")
    for place in (out, out / "a"):
        with pytest.raises(UsageError, match="OUT must not exist yet"), new_package(place):
            pass
    assert (out / "a").read_text() == "a"


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_nothing_is_left_of_a_failure(tmp_path: Path, name: str) -> None:
    with pytest.raises(RuntimeError), new_package(tmp_path / name) as folder:
        (folder / "a").write_text("a")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_zip_holds_a_folder_of_its_name_and_is_the_same_each_time(tmp_path: Path) -> None:
    for number in "12":
        (tmp_path / number).mkdir()
        with new_package(tmp_path / number / "own.zip") as folder:
            (folder / "docs").mkdir()
            (folder / "docs" / "README.md").write_text("read")
    with zipfile.ZipFile(tmp_path / "1" / "own.zip") as archive:
        assert archive.namelist() == ["own/docs/README.md"]
    assert (tmp_path / "1" / "own.zip").read_bytes() == (tmp_path / "2" / "own.zip").read_bytes()
    with pytest.raises(UsageError, match="found the file"), new_package(tmp_path / "1" / "own.zip"):
        pass


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    for name in ("out", "out.zip"):
        left = tmp_path / f".{2**22 + 1}.tmp.{name}"
        left.mkdir() if name == "out" else left.touch()
    with new_package(tmp_path / "out.zip") as folder:
        (folder / "a").write_text("a")
    assert list(tmp_path.iterdir()) == [tmp_path / "out.zip"]
