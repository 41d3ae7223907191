from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from monai_staging.cluster.executor import LocalPool
from monai_staging.cohort import ingest_case as module
from monai_staging.cohort.clinical import unknown_labels
from monai_staging.cohort.dicom import Series, scan
from monai_staging.cohort.ingest import carry_out
from monai_staging.cohort.ingest_case import Task, ingest_case
from monai_staging.cohort.journal import job_digest, read_entry
from monai_staging.cohort.sources.base import Annotation, Job, Plan, Report
from monai_staging.cohort.volume import Volume
from monai_staging.errors import DataError


@dataclass(frozen=True)
class Faulty:
    """An annotator that fails."""

    how: str
    files: tuple[Path, ...] = ()

    def fingerprint(self) -> Any:
        return self.how

    def annotate(self, series: Series, volume: Volume) -> Annotation:
        if self.how == "dies":
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)
        raise ZeroDivisionError("by zero")


@pytest.fixture
def series(tmp_path: Path, write_ct: Callable[..., Any]) -> list[Series]:
    for number in (1, 2):
        write_ct(folder=f"raw/{number}", uid=f"1.2.826.0.1.3680043.10.{number}")
    return list(scan(tmp_path / "raw"))


def task(tmp_path: Path, series: Series, annotator: Any = None) -> Task:
    job = Job(series, unknown_labels("8", "c"), annotator)
    return Task(job, tmp_path / "raw", tmp_path / "out", job_digest(job, tmp_path / "raw"))


def test_an_unexpected_error_is_that_case_s_and_is_tried_again(tmp_path: Path, series: list[Series]) -> None:
    own = task(tmp_path, series[0], Faulty("fails"))
    entry = ingest_case(own)
    assert not entry.accepted
    assert entry.rejections[0].rule == "internal-error"
    assert "ZeroDivisionError: by zero" in entry.rejections[0].found
    assert entry.rejections[0].files[0].startswith("1/")
    assert read_entry(own.out, series[0].series, own.digest) is None


def test_a_worker_that_dies_is_that_case_s_failure(tmp_path: Path, series: list[Series]) -> None:
    jobs = (Job(series[0], unknown_labels("8", "c"), Faulty("dies")), Job(series[1], unknown_labels("8", "c")))
    outcome = carry_out(Plan(jobs, (), Report()), tmp_path / "raw", tmp_path / "out", LocalPool(2))
    assert [case.series for case in outcome.cases] == [series[1].series]
    (rejection,) = outcome.rejections
    assert (rejection.series, rejection.rule) == (series[0].series, "worker-died")


def test_a_full_disk_ends_the_run(tmp_path: Path, series: list[Series], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_volume", full)
    with pytest.raises(DataError, match="No space left"):
        ingest_case(task(tmp_path, series[0]))


def test_a_digest_is_of_files_and_annotator(tmp_path: Path, series: list[Series]) -> None:
    digests = {
        task(tmp_path, series[0]).digest,
        task(tmp_path, series[1]).digest,
        task(tmp_path, series[0], Faulty("a")).digest,
        task(tmp_path, series[0], Faulty("b")).digest,
        task(tmp_path, series[0], Faulty("a", (series[1].files[0],))).digest,
    }
    assert len(digests) == 5
    before = task(tmp_path, series[0]).digest
    series[0].files[0].write_bytes(series[0].files[0].read_bytes() + b"\0\0")
    assert task(tmp_path, series[0]).digest != before
    series[0].files[0].unlink()
    with pytest.raises(DataError, match="went away"):
        task(tmp_path, series[0])
