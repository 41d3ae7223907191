"""Raw data to a cohort: atomic, resumable, parallel over cases.

Every series is read, written and noted in the journal by a worker process; ``rejected.json`` and ``cohort.json`` come
last. Killed at any moment, the same call finishes what is left and ends with the same bytes: nothing in them depends on
the order in which series are done. Memory: workers x one volume.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from monai_staging.cluster.executor import Executor, LocalPool
from monai_staging.cohort.case import Case
from monai_staging.cohort.cohort import Cohort, mask_name, volume_name
from monai_staging.cohort.dicom import Rejection
from monai_staging.cohort.ingest_case import WORKER_DIED, Task, failed, ingest_case, relative
from monai_staging.cohort.journal import (
    FOLDER,
    Entry,
    claim,
    job_digest,
    read_entry,
    refuse_another,
    remove_leftovers,
    remove_others,
)
from monai_staging.cohort.lock import exclusive
from monai_staging.cohort.pool import WorkerDied
from monai_staging.cohort.sources import SOURCES, make_plan
from monai_staging.cohort.sources.base import Job, Plan, Report, SourceOptions
from monai_staging.cohort.splits import SplitOptions, split_cases
from monai_staging.errors import DataError, UsageError
from monai_staging.files import write_json_atomic
from monai_staging.progress import progress

REJECTED = "rejected.json"


@dataclass(frozen=True)
class IngestOptions:
    """How to ingest.

    Attributes:
        source: what the user says about the raw data.
        split: how to divide the cohort.
        workers: worker processes, each of which holds one volume, where no executor is given.
        name: the cohort's name; the source's where it is ``None``.
    """

    source: SourceOptions = field(default_factory=SourceOptions)
    split: SplitOptions = field(default_factory=SplitOptions)
    workers: int = 2
    name: str | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"workers must be at least 1; got {self.workers}")


@dataclass(frozen=True)
class Outcome:
    """What became of a plan: cases (without folds), their volumes' spacings in mm, and what was refused."""

    cases: tuple[Case, ...] = ()
    spacings_mm: tuple[tuple[float, float, float], ...] = ()
    rejections: tuple[Rejection, ...] = ()

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.cases + other.cases, self.spacings_mm + other.spacings_mm, self.rejections + other.rejections
        )


@dataclass(frozen=True)
class IngestResult:
    """A cohort, what was refused on the way to it, and what the source had to say."""

    cohort: Cohort
    rejections: tuple[Rejection, ...]
    report: Report
    folds: int


def ingest(
    source: str,
    raw: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: IngestOptions | None = None,
    executor: Executor | None = None,
) -> IngestResult:
    """Makes the cohort of a raw data set.

    Args:
        source: one of :data:`monai_staging.cohort.sources.SOURCES`.
        raw: the raw data's folder.
        out: the cohort's folder; made where it is missing, taken up where it was left.
        options: how.
        executor: where the series are read; in ``options.workers`` processes of this machine by default.

    Raises:
        UsageError: no such source or folder, or options that do not fit together.
        DataError: ``out`` cannot be made, is another's cohort, or is being ingested into by another process.
    """
    options = options or IngestOptions()
    typed = out
    raw, out = Path(raw).resolve(), Path(out).resolve()
    if source not in SOURCES:
        raise UsageError(f"source must be one of {', '.join(SOURCES)}; got {source!r}")
    if not raw.is_dir():
        raise UsageError(f"{raw} is not a folder")
    if out == raw or raw in out.parents or out in raw.parents:
        raise UsageError(f"the cohort's folder and the raw data's must not lie in each other; got {out} and {raw}")
    try:
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{typed}: the cohort's folder cannot be made ({error.strerror})") from None
    with exclusive(out / FOLDER / "lock", busy=f"{out}: another process is ingesting into this folder"):
        request = {"source": source, "raw": str(raw)}
        refuse_another(out, request)
        plan = make_plan(source, raw, options.source)
        claim(out, request)
        remove_leftovers(out)
        outcome = carry_out(plan, raw, out, executor or LocalPool(options.workers))
        cohort, folds = conclude(out, source, outcome, options, plan.folds)
        # Again, for what a worker of a killed run may still have written after the first time.
        remove_leftovers(out)
    return IngestResult(cohort, outcome.rejections, plan.report, folds)


def carry_out(plan: Plan, raw: Path, out: Path, executor: Executor, description: str = "ingest") -> Outcome:
    """Does what is left of a plan; the outcome is the same whatever was done before."""
    tasks = [Task(job, raw, out, job_digest(job, raw), executor.threads) for job in plan.jobs]
    entries: dict[str, Entry] = {}
    for task in tasks:
        entry = read_entry(out, task.job.series.series, task.digest)
        if entry is not None:
            entries[task.job.series.series] = entry
    left = [task for task in tasks if task.job.series.series not in entries]
    if entries:
        print(f"{description}: {len(entries)} of {len(tasks)} series were done before", file=sys.stderr, flush=True)
    annotations = {path.parent for task in left if (own := task.job.annotator) is not None for path in own.files}
    reads = (raw, *sorted(path for path in annotations if not path.is_relative_to(raw)))
    done = executor.run(ingest_case, left, reads=reads, writes=(out / FOLDER,))
    for task, result in progress(done, total=len(left), description=description):
        if isinstance(result, WorkerDied):
            found = "the process that read it died (killed, out of memory, or a fault in a decoder)."
            result = failed(task, WORKER_DIED, found)
        entries[task.job.series.series] = result
    return outcome_of(plan, entries, raw)


def outcome_of(plan: Plan, entries: Mapping[str, Entry], raw: Path) -> Outcome:
    """The outcome of a plan whose series have these entries (by SeriesInstanceUID)."""
    rejections = [relative(rejection, raw) for rejection in plan.rejections]
    done = [(job, entries[job.series.series]) for job in plan.jobs]
    rejections += [rejection for _, entry in done for rejection in entry.rejections]
    accepted = [(job, entry) for job, entry in done if entry.accepted]
    return Outcome(
        cases=tuple(_case(job, entry) for job, entry in accepted),
        spacings_mm=tuple(entry.spacing_mm for _, entry in accepted if entry.spacing_mm is not None),
        rejections=tuple(rejections),
    )


def conclude(
    out: Path, source: str, outcome: Outcome, options: IngestOptions, published: Mapping[str, int] | None = None
) -> tuple[Cohort, int]:
    """Divides the cases and writes ``rejected.json`` and ``cohort.json``; gives the cohort and the number of folds.

    ``published`` are the data set's own folds, see :func:`split_cases`.
    """
    split = split_cases(outcome.cases, options.split, published)
    cohort = Cohort(
        root=out,
        name=options.name or source,
        source=source,
        spacing=_common_spacing(outcome.spacings_mm),
        training=split.training,
        validation=split.validation,
        test=split.test,
    )
    rejections = sorted(outcome.rejections, key=_rejection_key)
    write_json_atomic(out / REJECTED, [asdict(rejection) for rejection in rejections])
    cohort.save()
    remove_others(out, (path for case in cohort.cases for path in (case.image, case.mask) if path is not None))
    return cohort, split.folds


def _case(job: Job, entry: Entry) -> Case:
    labels = job.labels
    return Case(
        patient=job.series.patient,
        study=job.series.study,
        series=job.series.series,
        image=volume_name(job.series.series),
        mask=None if entry.mask_bytes is None else mask_name(job.series.series),
        lesions=entry.lesions,
        t=labels.t,
        n=labels.n,
        m=labels.m,
        edition=labels.edition,
        prefix=labels.prefix,
        subtype=labels.subtype,
        clinical=dict(labels.clinical),
    )


def _common_spacing(spacings_mm: Sequence[tuple[float, float, float]]) -> tuple[float, float, float] | None:
    if not spacings_mm or np.ptp(np.asarray(spacings_mm), axis=0).max() > 1e-3:
        return None
    first = min(spacings_mm)
    return (round(first[0], 6), round(first[1], 6), round(first[2], 6))


def _rejection_key(rejection: Rejection) -> tuple[Any, ...]:
    return (rejection.patient, rejection.study, rejection.series, rejection.rule, rejection.files, rejection.found)
