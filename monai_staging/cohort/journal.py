"""What an ingest has done so far: one small file a series under ``.ingest/``, written after the series' volume.

Whatever moment an ingest is killed at, a series with an entry is done and one without is not.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monai_staging.cohort.case import Lesion
from monai_staging.cohort.cohort import FILE_NAME, file_stem, mask_name, volume_name
from monai_staging.cohort.dicom import Rejection
from monai_staging.cohort.sources.base import Job
from monai_staging.errors import DataError
from monai_staging.files import write_json_atomic

FOLDER = ".ingest"
# Raised whenever the same input would give another volume, mask or entry: entries of older formats are made again.
FORMAT = 2
_TEMPORARY = re.compile(r"\.\d+\.tmp\..+")
_REQUEST = "request.json"
_VOLUME = re.compile(r"[0-9a-f]{16}\.nii")


@dataclass(frozen=True)
class Entry:
    """The outcome of one series.

    Attributes:
        series: SeriesInstanceUID.
        digest: of everything the outcome was made from.
        accepted: whether there is a volume.
        spacing_mm: of the volume.
        image_bytes: the size of its file.
        mask_bytes: the size of the mask's file; ``None`` without one.
        lesions: as in ``cohort.json``.
        rejections: of the series, or of its annotations.
    """

    series: str
    digest: str
    accepted: bool
    spacing_mm: tuple[float, float, float] | None = None
    image_bytes: int | None = None
    mask_bytes: int | None = None
    lesions: tuple[Lesion, ...] = ()
    rejections: tuple[Rejection, ...] = ()


def job_digest(job: Job, raw: Path) -> str:
    """SHA-256 of what a job's outcome depends on: its files (names, sizes, times of change) and its annotator."""
    annotations = () if job.annotator is None else job.annotator.files
    document = {
        "format": FORMAT,
        "identity": [job.series.patient, job.series.study, job.series.series],
        "files": [_file(path, raw) for path in (*job.series.files, *annotations)],
        "annotator": None if job.annotator is None else [type(job.annotator).__name__, job.annotator.fingerprint()],
    }
    if job.reader is not None:
        document["reader"] = job.reader.__name__
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _file(path: Path, raw: Path) -> list[Any]:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: went away while it was to be ingested ({error.strerror})") from None
    return [os.path.relpath(path, raw), status.st_size, status.st_mtime_ns]


def write_entry(out: Path, entry: Entry) -> None:
    """Writes an entry, atomically."""
    document = asdict(entry) | {"lesions": [lesion.to_json() for lesion in entry.lesions]}
    write_json_atomic(_entry_path(out, entry.series), document)


def read_entry(out: Path, series: str, digest: str) -> Entry | None:
    """The entry of a series; ``None`` where there is none, it is of something else, or its files are not there."""
    try:
        document = json.loads(_entry_path(out, series).read_bytes())
        spacing = document["spacing_mm"]
        entry = Entry(
            series=document["series"],
            digest=document["digest"],
            accepted=document["accepted"],
            spacing_mm=None if spacing is None else (spacing[0], spacing[1], spacing[2]),
            image_bytes=document["image_bytes"],
            mask_bytes=document["mask_bytes"],
            lesions=tuple(map(Lesion.from_json, document["lesions"])),
            rejections=tuple(Rejection(**(r | {"files": tuple(r["files"])})) for r in document["rejections"]),
        )
    except (OSError, ValueError, TypeError, KeyError, IndexError, DataError):
        # Missing, or no longer what we write: the series is done again.
        return None
    sizes = {volume_name(series): entry.image_bytes, mask_name(series): entry.mask_bytes}
    if entry.digest != digest or entry.series != series or any(_bytes(out / n) != s for n, s in sizes.items() if s):
        return None
    return entry


def _entry_path(out: Path, series: str) -> Path:
    return out / FOLDER / f"{file_stem(series)}.json"


def _bytes(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def remove_leftovers(out: Path) -> None:
    """Removes the temporary files of an ingest that was killed."""
    for folder in (out, out / FOLDER, out / "volumes", out / "masks"):
        for path in folder.glob(".*"):
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)


def remove_others(out: Path, kept: Iterable[str]) -> None:
    """Removes the volumes and masks of earlier ingests into ``out`` that no longer belong to it.

    Args:
        out: the cohort's folder; one that :func:`claim` was given, so that what lies there is ours.
        kept: paths of volumes and masks that do belong, relative to ``out``.
    """
    wanted = set(kept)
    for folder in ("volumes", "masks"):
        for path in (out / folder).glob("*.nii"):
            if _VOLUME.fullmatch(path.name) and f"{folder}/{path.name}" not in wanted:
                path.unlink()


def refuse_another(out: Path, request: dict[str, Any]) -> None:
    """Raises :class:`DataError` where ``out`` holds anything but what an ingest of ``request`` made.

    Its volumes would be removed, or mixed with the new ones.
    """
    path = out / FOLDER / _REQUEST
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        found = None
    there = (out / FILE_NAME).exists() or any(_VOLUME.fullmatch(path.name) for path in (out / "volumes").glob("*.nii"))
    if found != request and there:
        made_of = "no ingest wrote" if found is None else f"was made of {found}, not of {request}"
        raise DataError(f"{out} holds a cohort that {made_of}; choose another folder, or remove it")


def claim(out: Path, request: dict[str, Any]) -> None:
    """Notes in ``out`` what is being ingested into it."""
    write_json_atomic(out / FOLDER / _REQUEST, request)
