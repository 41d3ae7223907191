"""One series of an ingest, from DICOM to volume, mask and journal entry; runs in a worker process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from monai_staging.cohort.cohort import mask_name, volume_name
from monai_staging.cohort.dicom import Rejection, SeriesRefused, read_series
from monai_staging.cohort.journal import Entry, write_entry
from monai_staging.cohort.sources.base import Annotation, Job, reject
from monai_staging.cohort.volume import write_mask, write_volume
from monai_staging.errors import DataError

INTERNAL_ERROR = "internal-error"
WORKER_DIED = "worker-died"


@dataclass(frozen=True, eq=False)
class Task:
    """What a worker is given: a job, where its files go, its digest, and how many threads may read pixels."""

    job: Job
    raw: Path
    out: Path
    digest: str
    threads: int = 1


def ingest_case(task: Task) -> Entry:
    """Reads a series, writes its volume and mask, and then its entry.

    Returns:
        The entry. A failure that another try may mend (an unexpected error) is not written to the journal.

    Raises:
        DataError: the output cannot be written.
    """
    series = task.job.series
    try:
        read = task.job.reader
        volume = read_series(series, workers=task.threads) if read is None else read(series)
        annotator = task.job.annotator
        annotation = Annotation() if annotator is None else annotator.annotate(series, volume)
    except SeriesRefused as refused:
        entry = Entry(series.series, task.digest, accepted=False, rejections=(refused.rejection(),))
        return _written(task, entry)
    except Exception as error:
        return failed(task, INTERNAL_ERROR, f"{type(error).__name__}: {' '.join(str(error).split())}")
    image, mask = task.out / volume_name(series.series), task.out / mask_name(series.series)
    try:
        write_volume(image, volume)
        if annotation.mask is not None:
            write_mask(mask, annotation.mask, volume.affine)
        entry = Entry(
            series=series.series,
            digest=task.digest,
            accepted=True,
            spacing_mm=volume.spacing_mm,
            image_bytes=image.stat().st_size,
            mask_bytes=None if annotation.mask is None else mask.stat().st_size,
            lesions=annotation.lesions,
            rejections=annotation.rejections,
        )
        return _written(task, entry)
    except OSError as error:
        # The disk is full, over quota, read-only, broken: nothing is wrong with the series, and the next one would fail
        # too.
        raise DataError(f"{task.out}: cannot be written to ({error.strerror or error})") from error


def failed(task: Task, rule: str, found: str) -> Entry:
    """The entry of a series that could not be done, for ``rejected.json`` alone."""
    rejection = relative(reject(task.job.series, rule, found), task.raw)
    return Entry(task.job.series.series, "", accepted=False, rejections=(rejection,))


def relative(rejection: Rejection, raw: Path) -> Rejection:
    """The rejection with its files relative to the raw data's folder, ``/`` between their parts."""
    paths = map(Path, rejection.files)
    files = tuple(path.relative_to(raw).as_posix() if path.is_relative_to(raw) else str(path) for path in paths)
    return replace(rejection, files=files)


def _written(task: Task, entry: Entry) -> Entry:
    entry = replace(entry, rejections=tuple(relative(rejection, task.raw) for rejection in entry.rejections))
    write_entry(task.out, entry)
    return entry
