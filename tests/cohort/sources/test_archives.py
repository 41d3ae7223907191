"""A download that is still packed: every source says to unpack it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_staging.cohort.sources import SOURCES, make_plan
from monai_staging.cohort.sources.archives import packed
from monai_staging.cohort.sources.base import SourceOptions
from monai_staging.errors import DataError

ADVICE = "archives are not read, found 1 .tar.xz, 2 .zip; unpack them there first."


@pytest.fixture
def download(tmp_path: Path) -> Path:
    folder = tmp_path / "download"
    (folder / "more").mkdir(parents=True)
    for name in ("Mustermann.tar.xz", "images.zip", "more/XML.ZIP", "readme.txt"):
        (folder / name).write_bytes(b"packed")
    return folder


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_says_that_archives_are_to_be_unpacked(source: str, download: Path) -> None:
    try:
        plan = make_plan(source, download, SourceOptions())
    except DataError as error:
        said = str(error)
    else:
        assert not plan.jobs
        said = plan.report.notes[0]
    assert said.endswith(f"{download}: {ADVICE}") and "\n" not in said and "Mustermann" not in said


def test_who_has_unpacked_them_is_told_nothing(tmp_path: Path, write_ct: Callable[..., Any]) -> None:
    write_ct(folder="raw/0", count=5)
    (tmp_path / "raw" / "images.zip").write_bytes(b"packed")
    plan = make_plan("folder", tmp_path / "raw", SourceOptions())
    assert plan.jobs and not any("archives" in note for note in plan.report.notes)
    with pytest.raises(DataError) as caught:
        make_plan("luna16", tmp_path / "raw", SourceOptions())
    assert "archives" not in str(caught.value)


def test_what_only_sounds_like_an_archive_is_none(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    (tmp_path / "zip").write_bytes(b"")
    assert packed(tmp_path) is None
