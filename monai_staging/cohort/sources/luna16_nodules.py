"""LUNA16's nodules, and the ratings that LIDC's readers gave them.

LUNA16 (Setio et al., Medical Image Analysis 42, 2017) keeps the nodules that three of LIDC's four readers or more
outlined, as centre and diameter, without ratings. A nodule's ratings are those of the nearest nodule of LIDC's readers
in the same series, if its centre lies within the radius.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from monai_staging.cohort.case import Lesion
from monai_staging.cohort.dicom import Rejection, Series
from monai_staging.cohort.readers import Grid
from monai_staging.cohort.sources.base import Annotation
from monai_staging.cohort.sources.lidc_idri import MarksFile
from monai_staging.cohort.sources.lidc_idri_readings import find_nodules
from monai_staging.cohort.volume import Volume
from monai_staging.errors import DataError
from monai_staging.tnm.reading import open_table

ANNOTATION_OUTSIDE_IMAGE = "annotation-outside-image"


def read_nodules(path: Path) -> dict[str, tuple[Lesion, ...]]:
    """The nodules of ``annotations.csv`` (seriesuid, coordX, coordY, coordZ in LPS mm, diameter_mm) by series.

    Raises:
        DataError: a column is missing, or a row is no nodule.
    """
    table = open_table(path)
    found: dict[str, list[Lesion]] = defaultdict(list)
    for row in table.rows:
        values = dict(zip(map(str.strip, table.header), row.cells, strict=False))
        try:
            x, y, z, diameter = (float(values[name]) for name in ("coordX", "coordY", "coordZ", "diameter_mm"))
            if not diameter > 0:
                raise ValueError(f"diameter_mm must be above 0; found {diameter:g}")
            # LPS to RAS; + 0.0 makes a plain zero of a negative one.
            center, size = (-x + 0.0, -y + 0.0, z), (diameter, diameter, diameter)
            lesion = Lesion(kind="nodule", center_mm=center, size_mm=size, diameter_mm=diameter)
        except KeyError as error:
            raise DataError(f"{path.name} has no column {error}") from None
        except (ValueError, DataError) as error:
            raise DataError(f"{path.name}, line {row.line}: not a nodule ({error})") from None
        found[values.get("seriesuid", "").strip()].append(lesion)
    return {series: tuple(own) for series, own in found.items()}


def rate(lesions: Sequence[Lesion], file: MarksFile, grid: Grid) -> tuple[Lesion, ...]:
    """The lesions with the ratings of LIDC's readers; without any where no nodule of theirs is near enough.

    Args:
        lesions: of one series.
        file: the readings of that series.
        grid: of its volume.

    Raises:
        DataError: the readings cannot be read.
    """
    spacing_mm = float(np.linalg.norm(grid.affine[:3, 2]))
    tolerance_mm = spacing_mm if file.scan is None else file.scan.slice_thickness_mm
    nodules, _ = find_nodules(file.read().readings, grid, tolerance_mm)
    if not nodules:
        return tuple(lesions)
    # Of the voxels, not of the box around them: LUNA16's centre is the mean of the readers' centres of mass.
    indices = np.array([np.argwhere(own.part.mask).mean(axis=0) + own.part.corner for own in nodules])
    centers = indices @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    rated = []
    for lesion in lesions:
        apart = np.linalg.norm(centers - lesion.center_mm, axis=1)
        nearest = int(apart.argmin())
        if lesion.diameter_mm is not None and apart[nearest] <= lesion.diameter_mm / 2:
            own = nodules[nearest].lesion(grid)
            lesion = replace(lesion, malignancy=own.malignancy, ratings=own.ratings)
        rated.append(lesion)
    return tuple(rated)


@dataclass(frozen=True)
class CenterAnnotator:
    """Takes a series' lesions as they are, but for those outside the volume."""

    lesions: tuple[Lesion, ...]
    table: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """None: the lesions were read with the plan."""
        return ()

    def fingerprint(self) -> Any:
        """The lesions."""
        return [lesion.to_json() for lesion in self.lesions]

    def annotate(self, series: Series, volume: Volume) -> Annotation:
        """The lesions whose centres lie in the volume; another is refused alone."""
        to_index = np.linalg.inv(volume.affine)
        lesions, rejections = [], []
        for lesion in self.lesions:
            index = to_index[:3, :3] @ lesion.center_mm + to_index[:3, 3]
            if ((index >= -0.5) & (index <= np.array(volume.shape) - 0.5)).all():
                lesions.append(lesion)
                continue
            voxel = ", ".join(f"{value:.1f}" for value in index)
            found = (
                f"the nodule at {lesion.center_mm} mm RAS lies at voxel ({voxel}); the volume is {list(volume.shape)}."
            )
            files = (str(self.table),)
            rejections.append(
                Rejection(series.patient, series.study, series.series, ANNOTATION_OUTSIDE_IMAGE, found, files)
            )
        return Annotation(tuple(lesions), None, tuple(rejections))
