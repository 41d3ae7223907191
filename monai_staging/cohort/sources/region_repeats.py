"""Regions that are one lesion: drawn twice, or hidden under others in the mask."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from monai_staging.cohort.dicom import Rejection
from monai_staging.cohort.lesions import Part, overlap, paint

if TYPE_CHECKING:
    from monai_staging.cohort.sources.regions import RegionFile

DUPLICATE_REGION = "duplicate-region"
SAME_LESION_OVERLAP = 0.5
"""Two regions that share this part of their union, or more, are one lesion drawn twice."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A part of a region that becomes a lesion unless another gives the same: whose it is, its kind, its voxels."""

    file: RegionFile
    region: int
    name: str
    kind: str
    part: Part

    def refusal(self, found: str, other: RegionFile | None = None) -> Rejection:
        """The region's record for ``rejected.json``, with the file that gives the same."""
        record = self.file.rejection(DUPLICATE_REGION, f"region {self.name!r} {found}")
        return record if other in (None, self.file) else replace(record, files=(*record.files, str(other.path)))


class Boxes:
    """The boxes of parts, so that of thousands of specks only those that may be the same are compared."""

    def __init__(self, most: int) -> None:
        self._low, self._high = np.zeros((most, 3), np.int64), np.zeros((most, 3), np.int64)
        self._voxels = np.zeros(most, np.int64)
        self._count = 0

    def add(self, part: Part) -> None:
        """Adds a part."""
        self._low[self._count], self._voxels[self._count] = part.corner, part.voxels
        self._high[self._count] = np.add(part.corner, part.mask.shape)
        self._count += 1

    def alike(self, part: Part) -> list[int]:
        """Places of the parts added that may share so much with ``part`` that both are one lesion."""
        low, high, voxels = self._low[: self._count], self._high[: self._count], self._voxels[: self._count]
        common = np.minimum(high, np.add(part.corner, part.mask.shape)) - np.maximum(low, part.corner)
        # What two regions share lies in both boxes and is at most the smaller one; their union is at least the larger.
        shared = np.minimum(common.clip(min=0).prod(axis=1), np.minimum(voxels, part.voxels))
        return [int(place) for place in np.flatnonzero(shared >= SAME_LESION_OVERLAP * np.maximum(voxels, part.voxels))]


def without_repeats(found: list[Candidate]) -> tuple[list[Candidate], list[Rejection]]:
    """Those that no earlier one gives already, and the record of the regions (not of each part) that repeat another."""
    kept: list[Candidate] = []
    boxes = Boxes(len(found))
    repeats: dict[tuple[RegionFile, int, RegionFile, int], list[tuple[Candidate, Candidate, float]]] = defaultdict(list)
    for own in found:
        for other in (kept[place] for place in boxes.alike(own.part)):
            if (own.file, own.region) == (other.file, other.region):
                continue
            shared = overlap(own.part, other.part)
            if shared >= SAME_LESION_OVERLAP:
                repeats[own.file, own.region, other.file, other.region].append((own, other, shared))
                break
        else:
            kept.append(own)
            boxes.add(own.part)
    rejections = []
    for parts in repeats.values():
        own, other, shared = min(parts, key=lambda repeat: repeat[2])
        where = "the same file" if own.file == other.file else "/".join(other.file.path.parts[-2:])
        times = f" in {len(parts)} parts" if len(parts) > 1 else ""
        found_is = (
            f"is region {other.name!r} of {where} again{times}: they share {shared:.2f} of their union, "
            f"{SAME_LESION_OVERLAP:g} or more is one lesion; refuse to count it twice."
        )
        rejections.append(own.refusal(found_is, other.file))
    return kept, rejections


def without_covered(found: list[Candidate], shape: tuple[int, int, int]) -> tuple[list[Candidate], list[Rejection]]:
    """Those of which a voxel shows in the mask, and the record of the others: their labels would mark nothing."""
    kept, rejections = [], []
    painted = paint([own.part for own in found], shape)
    for label, own in enumerate(found, start=1):
        if (painted[own.part.box] == label).any():
            kept.append(own)
        else:
            rejections.append(own.refusal("is covered by smaller regions; nothing of it shows in the mask."))
    return kept, rejections
