"""From LIDC's readings of a scan to its nodules: grouped, outlined by consensus, rated by each reader."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from monai_staging.cohort.case import Lesion
from monai_staging.cohort.lesions import Part, lesion_of_part
from monai_staging.cohort.ratings import RATINGS
from monai_staging.cohort.readers import READERS, Grid, Reading, ReadingRefused, consensus, group_readings, region

AMBIGUOUS_NODULES = "ambiguous-nodules"
NO_CONSENSUS = "no-consensus"


@dataclass(frozen=True)
class Marks:
    """What the readers marked in one series.

    Attributes:
        series: SeriesInstanceUID.
        study: StudyInstanceUID; empty where it is not stated.
        readings: nodules of 3 mm or more, one reader after the other.
        refused: (rule, found) of nodules that cannot be read.
        small: nodules under 3 mm: a point, no outline.
        other: marks that are no nodules: a point.
        stray: outlines of a single point among those of a larger nodule, left out.
    """

    series: str
    study: str
    readings: tuple[Reading, ...]
    refused: tuple[tuple[str, str], ...] = ()
    small: int = 0
    other: int = 0
    stray: int = 0


@dataclass(frozen=True, eq=False)
class Nodule:
    """One nodule: the voxels its readers agree on, and their readings."""

    part: Part
    readings: tuple[Reading, ...]

    def lesion(self, grid: Grid, label: int | None = None) -> Lesion:
        """As a lesion; its diameter is that of the sphere of its volume, as in LIDC's own size list and in LUNA16."""
        voxel_mm3 = abs(float(_determinant(grid)))
        diameter = (6 * self.part.voxels * voxel_mm3 / math.pi) ** (1 / 3)
        return replace(
            lesion_of_part(self.part, grid.affine, kind="nodule", label=label),
            diameter_mm=round(diameter, 3),
            malignancy=tuple(reading.malignancy for reading in self.readings),
            ratings={name: tuple(reading.ratings[name] for reading in self.readings) for name in RATINGS},
        )


def find_nodules(
    readings: Sequence[Reading], grid: Grid, tolerance_mm: float
) -> tuple[list[Nodule], list[ReadingRefused]]:
    """The nodules of a scan, and what could not be taken; the other readings and nodules stand.

    Args:
        readings: of one scan.
        grid: the scan's.
        tolerance_mm: see :func:`group_readings`.
    """
    refused: list[ReadingRefused] = []
    placed: list[tuple[Reading, Part]] = []
    for reading in readings:
        try:
            placed.append((reading, region(reading, grid)))
        except ReadingRefused as refusal:
            refused.append(refusal)
    i, j, _ = (float((grid.affine[:3, axis] ** 2).sum() ** 0.5) for axis in range(3))
    nodules = []
    for group in group_readings([reading for reading, _ in placed], (i, j), tolerance_mm):
        own = [placed[index] for index in group]
        names = ", ".join(reading.name for reading, _ in own)
        part = consensus([part for _, part in own])
        if len(own) > READERS:
            found = f"{len(own)} outlines of {READERS} readers that touch ({names}): several nodules, or one's parts."
            refused.append(ReadingRefused(AMBIGUOUS_NODULES, found))
        elif part is None:
            found = f"{len(own)} outlines ({names}) within {tolerance_mm:g} mm that share no voxel by half of them."
            refused.append(ReadingRefused(NO_CONSENSUS, found))
        else:
            nodules.append(Nodule(part, tuple(reading for reading, _ in own)))
    return nodules, refused


def _determinant(grid: Grid) -> float:
    import numpy as np

    return float(np.linalg.det(grid.affine[:3, :3]))
