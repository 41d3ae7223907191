"""Annotations drawn as regions: which SEG and RTSTRUCT belong to which CT series, and their lesions."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.case import LESION_KINDS
from monai_staging.cohort.dicom import Rejection, Rule, Series, SeriesRefused, scan, with_progress
from monai_staging.cohort.lesions import components, lesion_of_part, paint, part_of_mask
from monai_staging.cohort.masks import list_rois, list_segments, mask_from_rtstruct, mask_from_seg
from monai_staging.cohort.sources.base import (
    ANNOTATION_WITHOUT_IMAGE,
    Annotation,
    Defaults,
    Plan,
    SourceOptions,
    build_plan,
)
from monai_staging.cohort.sources.region_repeats import (
    SAME_LESION_OVERLAP,
    Candidate,
    without_covered,
    without_repeats,
)
from monai_staging.cohort.volume import Volume

MODALITIES = ("SEG", "RTSTRUCT")
NO_LESION_REGION = "no-lesion-region"
ANNOTATION_OF_ANOTHER_PATIENT = "annotation-of-another-patient"
MALFORMED = (AttributeError, ValueError, KeyError, TypeError, IndexError)
"""What reading an object that lacks what it must have may end in, where no rule foresaw it."""

Region = tuple[str, npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class RegionFile:
    """One SEG or RTSTRUCT."""

    modality: str
    path: Path
    patient: str
    study: str
    series: str

    def rejection(self, rule: str, found: str) -> Rejection:
        """Its record for ``rejected.json``."""
        return Rejection(self.patient, self.study, self.series, rule, found, (str(self.path),))

    def malformed(self, error: Exception) -> Rejection:
        """The record of a file that reading failed on with one of `MALFORMED`."""
        reason = " ".join(str(error).split())
        found = f"{self.path.name} is not as {self.modality} must be ({type(error).__name__}: {reason})."
        return self.rejection(Rule.UNREADABLE.value, found)


@dataclass(frozen=True)
class Naming:
    """Which regions are lesions, and of what kind, by their names.

    Attributes:
        kinds: (pattern, kind): the first pattern found in a name, without regard to case, gives its kind; names without
            any are left out.
        split: make a lesion of every connected part; the largest of a primary's is the primary, the others are nodules.
        lone_kind: the kind of a file's only region, whatever its name.
    """

    kinds: tuple[tuple[str, str], ...]
    split: bool = False
    lone_kind: str | None = None

    def kind_of(self, name: str, of: int) -> str | None:
        """The kind of the region ``name`` among ``of`` in its file; ``None`` for one that is no lesion."""
        for pattern, kind in self.kinds:
            if re.search(pattern, name, re.IGNORECASE):
                return kind
        return self.lone_kind if of == 1 else None


@dataclass(frozen=True)
class RegionAnnotator:
    """Makes lesions and a mask of the regions of SEG and RTSTRUCT files."""

    regions: tuple[RegionFile, ...]
    naming: Naming

    @property
    def files(self) -> tuple[Path, ...]:
        """The files it reads."""
        return tuple(region.path for region in self.regions)

    def fingerprint(self) -> Any:
        """The rules it goes by."""
        return [list(map(list, self.naming.kinds)), self.naming.split, self.naming.lone_kind, SAME_LESION_OVERLAP]

    def annotate(self, series: Series, volume: Volume) -> Annotation:
        """Lesions by kind, and the mask that holds them.

        A file that does not fit the volume is refused alone, and so is a region that another gives already.
        """
        found: list[Candidate] = []
        rejections: list[Rejection] = []
        for file in self.regions:
            try:
                read = self._read(file, series, volume)
            except SeriesRefused as refused:
                rejections.append(file.rejection(refused.rule.value, refused.found))
            # The case must not be lost with one of its annotations.
            except MALFORMED as error:
                rejections.append(file.malformed(error))
            else:
                if isinstance(read, Rejection):
                    rejections.append(read)
                else:
                    found += read
        found.sort(key=lambda candidate: LESION_KINDS.index(candidate.kind))
        found, repeats = without_repeats(found)
        found, covered = without_covered(found, volume.shape)
        lesions = tuple(
            lesion_of_part(own.part, volume.affine, kind=own.kind, label=label, site=own.name or None)
            for label, own in enumerate(found, start=1)
        )
        mask = paint([own.part for own in found], volume.shape) if found else None
        return Annotation(lesions, mask, (*rejections, *repeats, *covered))

    def _read(self, file: RegionFile, series: Series, volume: Volume) -> list[Candidate] | Rejection:
        names = list(list_rois(file.path)) if file.modality == "RTSTRUCT" else list(list_segments(file.path).values())
        kinds = {name: kind for name in names if (kind := self.naming.kind_of(name, len(names))) is not None}
        found = []
        for region, (name, mask) in enumerate(read_regions(file, series, volume, kinds)):
            whole = part_of_mask(mask)
            parts = components(mask) if self.naming.split else [whole] if whole is not None else []
            for number, part in enumerate(parts):
                kind = "nodule" if kinds[name] == "primary" and number else kinds[name]
                found.append(Candidate(file, region, name, kind, part))
        if not found:
            return file.rejection(NO_LESION_REGION, f"no region that is a lesion; it has {', '.join(names) or 'none'}.")
        return found


def read_regions(file: RegionFile, series: Series, volume: Volume, names: Iterable[str]) -> list[Region]:
    """The regions of those names on the grid of ``volume``, which was read from ``series``.

    Raises:
        SeriesRefused: as the readers do, in another frame of reference than that of ``series`` too.
    """
    wanted, frame = set(names), series.frame_of_reference
    if not wanted:
        return []
    if file.modality == "RTSTRUCT":
        drawn = [name for name, contours in list_rois(file.path).items() if name in wanted and contours]
        return list(mask_from_rtstruct(file.path, volume, rois=drawn, frame_of_reference=frame).items())
    numbers = [number for number, label in list_segments(file.path).items() if label in wanted]
    segments = mask_from_seg(file.path, volume, segments=numbers, frame_of_reference=frame)
    return [(segment.label, segment.mask) for segment in segments]


def match_regions(scanned: Sequence[Series]) -> tuple[Mapping[str, tuple[RegionFile, ...]], tuple[Rejection, ...]]:
    """SEG and RTSTRUCT files by the CT series they were drawn on.

    By the series a file refers to; where it names none, by the only CT series of its study in its frame of reference.

    Returns:
        SeriesInstanceUID of a CT series to its files, and the files that belong to none.
    """
    ct = {series.series: series for series in scanned if series.modality == "CT"}
    matched: dict[str, list[RegionFile]] = defaultdict(list)
    rejections = []
    for series in scanned:
        if series.modality not in MODALITIES:
            continue
        for header in series.headers:
            file = RegionFile(series.modality, header.path, series.patient, series.study, series.series)
            targets = [uid for uid in header.references if uid in ct]
            if not header.references:
                targets = [
                    uid
                    for uid, image in ct.items()
                    if image.study == series.study and image.frame_of_reference == header.frame_of_reference
                ]
            if len(targets) != 1:
                named = ", ".join(header.references) or "no series"
                found = f"it refers to {named}; {len(targets)} CT series in this tree may be meant."
                rejections.append(file.rejection(ANNOTATION_WITHOUT_IMAGE, found))
            elif ct[targets[0]].patient != series.patient:
                found = f"it refers to series {targets[0]}, which is of patient {ct[targets[0]].patient}."
                rejections.append(file.rejection(ANNOTATION_OF_ANOTHER_PATIENT, found))
            else:
                matched[targets[0]].append(file)
    return {uid: tuple(files) for uid, files in matched.items()}, tuple(rejections)


def region_plan(
    raw: Path,
    options: SourceOptions,
    defaults: Defaults,
    naming: Naming,
    chosen: Callable[[tuple[RegionFile, ...]], tuple[RegionFile, ...]] = lambda files: files,
) -> Plan:
    """What there is to ingest in a tree whose annotations are SEG and RTSTRUCT files.

    Args:
        raw: the tree.
        options: the user's.
        defaults: the source's.
        naming: which regions are lesions.
        chosen: of several files on one series, those that count.
    """
    scanned = scan(raw, watch=with_progress)
    regions, rejections = match_regions(scanned)

    def annotator(series: Series) -> RegionAnnotator | None:
        files = regions.get(series.series)
        return RegionAnnotator(chosen(files), naming) if files else None

    return build_plan(raw, scanned, options, defaults, annotator, annotations=MODALITIES, rejections=rejections)
