"""What a worker checks before it works, and what leaves it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from monai_staging.cli.main import main
from monai_staging.cluster.worker import Folder, Raised, Setting, work
from monai_staging.errors import DataError, UsageError


def noisy(item: str) -> str:
    print(item)
    subprocess.run(["echo", item], check=True)
    if item == "bad":
        raise DataError(f"case {item}")
    return item.upper()


def test_a_result_and_an_error_come_back_and_nothing_is_printed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # As outside of tests: what Python prints goes where the process does.
    setting = Setting.here([])
    with open(1, "w", closefd=False) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert work(noisy, "good", setting) == "GOOD"
        raised = work(noisy, "bad", setting)
    assert isinstance(raised, Raised) and str(raised.error) == "case bad"
    assert capfd.readouterr() == ("", "")


def test_folders_that_are_the_same_and_that_are_not(tmp_path: Path) -> None:
    read, written = tmp_path / "RAW", tmp_path / "OUT"
    (read / "patient").mkdir(parents=True)
    with Folder.written_to(written) as marked:
        folders = [Folder.read_from(read), marked]
        Setting.here(folders).enter()
        assert len(list(written.iterdir())) == 1
        (read / "patient").rmdir()  # as where nothing is mounted
        with pytest.raises(UsageError, match=f"{read} is needed as it is where the command runs"):
            Setting.here(folders).enter()
    assert list(written.iterdir()) == []
    with pytest.raises(UsageError, match=f"{written} is needed"):
        Setting.here([marked]).enter()


def test_another_version_is_refused() -> None:
    with pytest.raises(UsageError, match=r"monai_staging 99\.0 is needed, found"):
        Setting(os.getcwd(), (), version="99.0").enter()


def test_without_ray_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["ingest", "folder", str(tmp_path), str(tmp_path.parent / "out"), "--ray", "auto"]) == 2
    assert "--ray needs Ray: pip install 'monai-staging[ray]'" in capsys.readouterr().err


def test_one_study_needs_no_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(tmp_path), str(tmp_path / "OUT"), "--ray", "auto"]) == 2
    assert "--batch takes a folder of them" in capsys.readouterr().err
