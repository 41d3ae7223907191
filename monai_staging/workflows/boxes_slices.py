"""Which slices of a case show its tumour, and the box around it on each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from monai_staging.cohort.case import Case, Lesion
from monai_staging.cohort.cohort import Cohort
from monai_staging.cohort.volume import Volume, read_mask
from monai_staging.errors import DataError

SliceBox = tuple[float, float, float, float]
"""Edges (xmin, ymin, xmax, ymax) in pixels: pixel (i, j) covers [i, i + 1] x [j, j + 1]."""


# Less of a slice than this is not reached.
_TOUCH = 0.01


def tumour(case: Case) -> Lesion | None:
    """The lesion that is looked for: the primary, or the largest lesion of a case that has none."""
    primaries = [lesion for lesion in case.lesions if lesion.kind == "primary"]
    return max(primaries or case.lesions, key=lambda lesion: np.prod(lesion.size_mm), default=None)


def tumour_boxes(cohort: Cohort, case: Case, volume: Volume) -> dict[int, SliceBox]:
    """The tumour's box on each slice that shows it, by slice index, ascending.

    A reader's box where the source has boxes, the largest where a slice has several of this lesion; else the box around
    the lesion's voxels in the case's mask. Empty for a case without a tumour, or with neither boxes nor a mask of it.

    Args:
        cohort: of the case.
        case: the case.
        volume: its volume.

    Raises:
        DataError: the mask cannot be read, or is of another shape than the volume.
    """
    lesion = tumour(case)
    if lesion is None:
        return {}
    if lesion.boxes:
        return dict(sorted(_readers(lesion).items()))
    path = cohort.mask_path(case)
    if path is None or lesion.label is None:
        return {}
    mask, _ = read_mask(path)
    if mask.shape != volume.shape:
        raise DataError(f"Mask {path.name}: the volume's shape {volume.shape} is needed, found {mask.shape}")
    found: dict[int, SliceBox] = {}
    for index in lesion_slices(lesion, volume):
        own = mask[:, :, index] == lesion.label
        columns, rows = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
        if len(columns):
            found[index] = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return found


def lesion_slices(lesion: Lesion, volume: Volume) -> range:
    """The slices of a volume that the box of a lesion reaches."""
    half = np.asarray(lesion.size_mm) / 2
    signs = np.stack(np.meshgrid(*[(-1, 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    corners = np.asarray(lesion.center_mm) + signs * half
    to_voxel = np.linalg.inv(volume.affine)
    places = corners @ to_voxel[2, :3] + to_voxel[2, 3]
    # A slice reaches half a voxel beyond its middle; positions are as exact as a file's affine.
    first, last = int(np.floor(places.min() + 0.5 + _TOUCH)), int(np.ceil(places.max() - 0.5 - _TOUCH))
    return range(max(0, first), min(volume.shape[2] - 1, last) + 1)


def empty_slices(case: Case, volume: Volume) -> list[int]:
    """The slices that no lesion of any kind reaches, ascending."""
    reached = {index for lesion in case.lesions for index in lesion_slices(lesion, volume)}
    return [index for index in range(volume.shape[2]) if index not in reached]


def _readers(lesion: Lesion) -> Mapping[int, SliceBox]:
    """The largest of the lesion's boxes on each slice."""
    largest: dict[int, SliceBox] = {}
    for index, *edges in lesion.boxes:
        box = (float(edges[0]), float(edges[1]), float(edges[2]), float(edges[3]))
        if index not in largest or _area(box) > _area(largest[index]):
            largest[index] = box
    return largest


def _area(box: SliceBox) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
