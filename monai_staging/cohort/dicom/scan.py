"""Walks a tree of files and groups what is DICOM into series, by the headers alone."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from multiprocessing import parent_process
from pathlib import Path

from monai_staging.cohort.dicom.header import Header, read_header
from monai_staging.cohort.dicom.rules import BrokenRule, Rejection, Rule
from monai_staging.errors import UsageError
from monai_staging.progress import progress

Watch = Callable[[Sequence[Path]], Iterable[Path]]
_DIRECTORY = "1.2.840.10008.1.3.10"
_SUFFIXES = frozenset((".dcm", ".dicom", ".ima"))


def with_progress(paths: Sequence[Path]) -> Iterator[Path]:
    """A ``watch`` that tells on stderr how many headers have been read, of how many, and at what rate.

    Silent in a worker process: the process that started it tells how far the whole is.
    """
    if parent_process() is not None:
        return iter(paths)
    return progress(paths, description="headers", unit="file")


@dataclass(frozen=True, eq=False)
class Series:
    """One series as its headers describe it.

    Attributes:
        patient, study, series: PatientID, StudyInstanceUID, SeriesInstanceUID.
        modality: ``CT``, ``SEG``, ``RTSTRUCT``, ``PT``, ... of its first file.
        files: its files, sorted by path (not by position: `read_series` sorts those).
        frame_of_reference: FrameOfReferenceUID, or the referenced one of an RTSTRUCT; empty where absent.
        references: SeriesInstanceUIDs a SEG or RTSTRUCT was drawn on.
        attributes: PatientSex, PatientAge, StudyDate, SeriesDescription, SliceThickness, ... as text, where present.
        headers: one per file.
    """

    patient: str
    study: str
    series: str
    modality: str
    files: tuple[Path, ...] = field(repr=False)
    frame_of_reference: str = field(repr=False)
    references: tuple[str, ...] = field(repr=False)
    attributes: Mapping[str, str] = field(repr=False)
    headers: tuple[Header, ...] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Scan(Sequence[Series]):
    """What a tree holds; as a sequence, its series, sorted by patient, study and series.

    Attributes:
        series: every series whose headers can be read, of any modality.
        rejections: files that say they are DICOM and cannot be parsed, and series that cannot be told apart.
        skipped: files that are not DICOM (tables, annotations, images), and DICOMDIR.
    """

    series: tuple[Series, ...]
    rejections: tuple[Rejection, ...]
    skipped: int

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # Sequence's two overloads say no more than this
        return self.series[index]


def scan(root: str | os.PathLike[str], *, workers: int = 2, watch: Watch = iter) -> Scan:
    """Reads the header of every file under ``root``, once, and groups them.

    A file is DICOM by its content (the ``DICM`` mark, or a data set that starts without it) or when its name ends like
    one; folder and file names decide nothing else. Symbolic links to folders are not followed.

    Args:
        root: a folder, searched to any depth.
        workers: threads that read headers.
        watch: wraps the files and sees each go by as it is done, e.g. `with_progress`.

    Raises:
        UsageError: ``root`` is not a folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder.")
    paths = sorted(Path(folder) / name for folder, _, names in os.walk(root) for name in names)
    return group(paths, workers=workers, watch=watch)


def group(paths: Iterable[Path], *, workers: int = 2, watch: Watch = iter, anonymous: bool = False) -> Scan:
    """Like `scan`, for files already known. ``anonymous`` takes series without identity too."""
    groups: dict[tuple[str, str, str], list[Header]] = defaultdict(list)
    rejections: list[Rejection] = []
    skipped = 0
    for path, outcome in _read_all(list(paths), workers, watch):
        if outcome is None:
            skipped += 1
        elif isinstance(outcome, BrokenRule):
            rejections.append(Rejection("", "", "", outcome.rule.value, outcome.found, (str(path),)))
        else:
            groups[outcome.patient, outcome.study, outcome.series].append(outcome)
    owners: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for patient, study, uid in groups:
        owners[uid].add((patient, study))
    series = []
    for key, headers in sorted(groups.items()):
        broken = _identity(key, owners[key[2]], anonymous)
        if broken is None:
            series.append(_series(key, headers))
        else:
            files = tuple(str(header.path) for header in headers)
            rejections.append(Rejection(*key, broken.rule.value, broken.found, files))
    return Scan(tuple(series), tuple(rejections), skipped)


def _series(key: tuple[str, str, str], headers: Sequence[Header]) -> Series:
    first = headers[0]
    return Series(
        patient=key[0],
        study=key[1],
        series=key[2],
        modality=first.modality,
        files=tuple(header.path for header in headers),
        frame_of_reference=first.frame_of_reference,
        references=tuple(dict.fromkeys(chain.from_iterable(header.references for header in headers))),
        attributes=first.attributes,
        headers=tuple(headers),
    )


def _identity(key: tuple[str, str, str], owners: set[tuple[str, str]], anonymous: bool) -> BrokenRule | None:
    names = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")
    missing = [name for name, value in zip(names, key, strict=True) if not value]
    if missing and not anonymous:
        return BrokenRule(Rule.MISSING_IDENTITY, f"no {', '.join(missing)}.")
    if len(owners) > 1:
        patients = len({patient for patient, _ in owners})
        studies = len({study for _, study in owners})
        found = f"SeriesInstanceUID {key[2]} under {patients} PatientIDs and {studies} studies; refuse to guess."
        return BrokenRule(Rule.AMBIGUOUS_IDENTITY, found)
    return None


def _read_all(paths: list[Path], workers: int, watch: Watch) -> Iterator[tuple[Path, Header | BrokenRule | None]]:
    with ThreadPoolExecutor(max(1, workers)) as pool:
        yield from zip(watch(paths), pool.map(_read, paths), strict=True)


def _read(path: Path) -> Header | BrokenRule | None:
    """The header, the reason it has none though it should, or ``None`` for a file that is not DICOM."""
    try:
        with open(path, "rb") as file:
            start = file.read(132)
    except OSError as error:
        return BrokenRule(Rule.UNREADABLE, f"{path.name} cannot be opened ({error.strerror}).")
    marked = start[128:132] == b"DICM"
    named = path.suffix.lower() in _SUFFIXES
    # Data sets without preamble start with group 0002 or 0008.
    if not (marked or named or start[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08")):
        return None
    try:
        header = read_header(path)
    except BrokenRule as error:
        return error if marked or named else None
    return None if header.sop_class == _DIRECTORY else header
