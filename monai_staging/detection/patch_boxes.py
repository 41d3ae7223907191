"""Boxes on an axis-aligned RAS grid, as MONAI's detectors count them, and back to the world.

MONAI's boxes run along the *edges* of voxels: voxel i covers [i, i + 1]. An affine gives the voxels' *centres*: that of
voxel i lies at edge coordinate i + 1/2.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform

from monai_staging.cohort.lesion_groups import check_groups, lesion_group
from monai_staging.detection.truth import GROUPS, lesion_box_mm
from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.transforms.grid import Affine


def boxes_to_grid(boxes_mm: FloatArray, affine: Affine) -> FloatArray:
    """Boxes of the world on a grid.

    Args:
        boxes_mm: (N, 6) corners, RAS mm.
        affine: (4, 4) of an axis-aligned grid, see :class:`monai_staging.transforms.grid.Grid`.

    Returns:
        (N, 6) corners in voxels, along the voxels' edges.

    Raises:
        UsageError: a grid that is not axis-aligned.
    """
    spacing, origin = _spacing_origin(affine)
    return (boxes_mm - np.tile(origin, 2)) / np.tile(spacing, 2) + 0.5


def boxes_to_world(boxes: FloatArray, affine: Affine) -> FloatArray:
    """Inverse of :func:`boxes_to_grid`."""
    spacing, origin = _spacing_origin(affine)
    return (boxes - 0.5) * np.tile(spacing, 2) + np.tile(origin, 2)


class LesionBoxesd(MapTransform):
    """The boxes of a patch's lesions, as a detector learns them.

    A lesion counts where its middle is in the patch; what reaches beyond is cut off. All of an item's lesions are
    learned: see :func:`only_groups`.

    Args:
        keys: the patch ``(1, X, Y, Z)`` with its affine, on an axis-aligned RAS grid.
        lesions_key: where an item has its lesions, each a mapping with ``center_mm`` and ``size_mm``.
        box_key: where the boxes go, (N, 6) float32 in voxels along their edges.
        label_key: where their class goes, (N) zeros: there is one.
    """

    def __init__(
        self,
        keys: str,
        lesions_key: str = "lesions",
        box_key: str = "boxes",
        label_key: str = "labels",
    ) -> None:
        super().__init__(keys)
        self.lesions_key = lesions_key
        self.box_key = box_key
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Adds boxes and classes.

        Raises:
            DataError: a patch without an affine.
            UsageError: a grid that is not axis-aligned.
        """
        item = dict(data)
        for key in self.key_iterator(item):
            patch = item[key]
            if not isinstance(patch, MetaTensor):
                raise DataError(f"LesionBoxesd: {key} must have an affine, found a {type(patch).__name__}")
            size = np.tile(np.asarray(patch.shape[1:], dtype=np.float64), 2)
            boxes_mm = [lesion_box_mm(lesion) for lesion in item[self.lesions_key]]
            boxes = boxes_to_grid(np.array(boxes_mm).reshape(-1, 6), np.asarray(patch.affine, dtype=np.float64))
            middle = (boxes[:, :3] + boxes[:, 3:]) / 2
            inside = ((middle > 0) & (middle < size[:3])).all(axis=1)
            item[self.box_key] = torch.from_numpy(np.clip(boxes[inside], 0, size)).float()
            item[self.label_key] = torch.zeros(int(inside.sum()), dtype=torch.long)
        return item


def only_groups(scans: Sequence[Mapping[str, Any]], groups: Sequence[str] = GROUPS) -> list[dict[str, Any]]:
    """A data list whose lesions are those of some groups: patches are then drawn around no others.

    Raises:
        DataError: not a scan has one.
    """
    wanted = check_groups(groups)
    kept = [
        {**scan, "lesions": [one for one in scan["lesions"] if lesion_group(one["kind"], one["site"]) in wanted]}
        for scan in scans
    ]
    if not any(scan["lesions"] for scan in kept):
        raise DataError(
            f"Detection: at least one lesion of the groups {', '.join(wanted)} is needed to learn from, found none "
            f"in {len(kept)} scans."
        )
    return kept


def _spacing_origin(affine: Affine) -> tuple[FloatArray, FloatArray]:
    spacing = np.diag(affine)[:3]
    if not np.array_equal(affine[:3, :3], np.diag(spacing)) or not (spacing > 0).all():
        raise UsageError(f"Boxes lie on an axis-aligned RAS grid, got the affine {affine.tolist()}.")
    return spacing, affine[:3, 3]
