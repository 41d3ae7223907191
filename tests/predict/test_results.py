"""Where the studies of a batch go: the same folders and files, on a disk or in storage."""

from __future__ import annotations

import uuid
from pathlib import Path

import fsspec
import pytest

from monai_staging.errors import DataError, UsageError
from monai_staging.outputs.report_index import Failure
from monai_staging.predict.batch import StudyWorker, Waiting
from monai_staging.predict.request import Request, tell
from monai_staging.predict.results import SUMMARY, results_at


def names(out: str) -> set[str]:
    """Every file of an output, relative to it."""
    files, root = fsspec.core.url_to_fs(out)
    return {path.removeprefix(root).lstrip("/") for path in files.find(root)}


@pytest.fixture(params=["", "file://", "memory://"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}{tmp_path}/{uuid.uuid4().hex}"


def test_a_study_is_there_whole_or_not_at_all(out: str) -> None:
    results = results_at(out)
    assert results.summary("case-1") is None
    for content in ("first", "second"):
        with results.folder("case-1") as folder:
            (folder / "report.html").write_text(content)
            (folder / f"{content}.dcm").touch()
            (folder / SUMMARY).write_text(content)
        assert results.summary("case-1") == content.encode()
    with pytest.raises(DataError), results.folder("case-2") as folder:
        (folder / "report.html").touch()
        raise DataError("no lungs")
    with results.beside() as folder:
        (folder / "index.html").touch()
    assert names(out) == {"index.html", *(f"case-1/{name}" for name in ("report.html", "second.dcm", SUMMARY))}
    assert results.summary("case-2") is None
    assert results.place("index.html") == f"{out}/index.html"


def test_an_upload_that_breaks_off_is_not_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = f"memory://{tmp_path}"
    files, _ = fsspec.core.url_to_fs(url)
    put = files.put_file

    def break_off(source: str, target: str) -> None:
        if target.endswith("seg.dcm"):
            raise ConnectionResetError("gone")
        put(source, target)

    monkeypatch.setattr(files, "put_file", break_off)
    results = results_at(url)
    with pytest.raises(ConnectionResetError), results.folder("case-1") as folder:
        for name in ("report.html", "seg.dcm", SUMMARY):
            (folder / name).touch()
    assert names(url) == {"case-1/report.html"}
    assert results.summary("case-1") is None


def test_what_is_no_place_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="OUT nowhere://bucket: "):
        results_at("nowhere://bucket")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="a folder is needed, found a file"):
        results_at(str(tmp_path / "file"))
    with pytest.raises(UsageError, match="one study goes into a folder of this machine"):
        Request(study="STUDY", out="s3://bucket/study")


def test_a_study_that_cannot_be_read_fails_without_networks(tmp_path: Path) -> None:
    def unreadable() -> None:
        raise OSError(5, "Input/output error", str(tmp_path / "LUNG1-001.dcm"))

    worker = StudyWorker(Request(str(tmp_path), str(tmp_path / "OUT")), results_at(tmp_path / "OUT"), tell)
    assert worker(Waiting("case-1", unreadable)) == Failure("case-1", "Input/output error")
    assert not (tmp_path / "OUT").exists()
