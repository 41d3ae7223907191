"""Where the lesions are and how large, as a coarse map: what a network that stages is shown besides the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from numpy.typing import NDArray

from monai_staging.cohort.lesion_groups import check_groups, lesion_group
from monai_staging.cohort.volume import read_mask
from monai_staging.errors import UsageError

Array = NDArray[np.floating[Any]]
# A cell belongs to a lesion that fills it to this part of its fullest cell in the slice.
_PART = 0.25


class LesionMap(Transform):
    """In-plane diameters on a coarse grid, one channel per lesion group.

    A cell that a lesion fills to a quarter holds the largest extent, along X or Y in mm, of the lesion's cut in the
    cell's slice: what a reader would measure there, and what a network that sees slices can see. Every other cell holds
    0. T is read from the solid component: where its diameter is known, every cut is scaled by its part of the whole
    diameter. Where lesions of a group meet, the larger counts.

    A lesion's cuts come from its voxels where the case has a mask. Without one it is taken as the ellipsoid that fills
    its box: cells whose centre lies in it, or within half a cell of it, so that no lesion falls between the cells.

    Args:
        groups: see :data:`monai_staging.cohort.lesion_groups.LESION_GROUPS`, one channel each; other lesions are left
            out.
        stride: voxels per cell along X and Y; slices are kept.
        smallest_mm: smaller diameters, such as those of ground glass without a solid component or of a lesion's ends,
            become this: 0 would say that there is nothing.
        largest_mm: diameters are cut off here: an effusion fills half a chest, and must not outweigh all nodules.

    Raises:
        UsageError: a stride below 1, or groups that are not known.
    """

    def __init__(
        self, groups: Sequence[str], stride: int = 8, smallest_mm: float = 4.0, largest_mm: float = 100.0
    ) -> None:
        if stride < 1:
            raise UsageError(f"LesionMap: stride must be at least 1, found {stride}")
        self.groups = check_groups(groups)
        self.stride = stride
        self.smallest_mm = smallest_mm
        self.largest_mm = largest_mm

    def __call__(  # type: ignore[override]  # a box means nothing without the grid it is drawn on
        self,
        lesions: Sequence[Mapping[str, Any]],
        affine: Array,
        shape: Sequence[int],
        mask: NDArray[np.integer[Any]] | None = None,
        mask_affine: Array | None = None,
    ) -> torch.Tensor:
        """Computes the map.

        Args:
            lesions: with ``kind``, ``site``, ``center_mm`` (RAS), ``size_mm`` (box extents), the diameters and, where
                there is a mask, ``label``.
            affine: (4, 4) from voxel index to RAS mm; axis-aligned.
            shape: (X, Y, S) of the grid.
            mask: (I, J, K), each lesion's label in its voxels, on a grid of its own.
            mask_affine: of the mask, to RAS mm.

        Returns:
            (groups, X / stride, Y / stride, S) float32, mm.
        """
        cells = (shape[0] // self.stride, shape[1] // self.stride, shape[2])
        result = np.zeros((len(self.groups), *cells), dtype=np.float32)
        steps = np.array([self.stride, self.stride, 1])
        cell_mm = np.diag(affine)[:3] * steps
        first_mm = affine[:3, 3] + np.diag(affine)[:3] * (steps - 1) / 2
        voxels = {} if mask is None or mask_affine is None else _voxels(mask, mask_affine)
        for lesion in lesions:
            group = lesion_group(lesion["kind"], lesion.get("site"))
            if group not in self.groups:
                continue
            points = voxels.get(lesion.get("label") or 0)
            if points is None:
                inside, cut_mm = _ellipsoid(lesion["center_mm"], lesion["size_mm"], first_mm, cell_mm, cells)
            else:
                # Half a voxel beyond the outermost centres, on either side.
                voxel_mm = float(np.abs(mask_affine[:2, :3]).max()) if mask_affine is not None else 0.0
                inside, cut_mm = _filled(points, first_mm, cell_mm, cells)
                cut_mm = cut_mm + voxel_mm
            diameter = np.clip(cut_mm * _solid_part(lesion), self.smallest_mm, self.largest_mm)
            channel = result[self.groups.index(group)]
            np.maximum(channel, inside * diameter.astype(np.float32), out=channel)
        return torch.from_numpy(result)


def _solid_part(lesion: Mapping[str, Any]) -> float:
    """The solid component's part of the diameter; 1 where one of them is not known."""
    solid, whole = lesion.get("solid_diameter_mm"), lesion.get("diameter_mm")
    return 1.0 if solid is None or not whole else min(1.0, float(solid) / float(whole))


def _voxels(mask: NDArray[np.integer[Any]], affine: Array) -> dict[int, Array]:
    """World points (N, 3) of each label's voxels."""
    index = np.argwhere(mask)
    labels = mask[tuple(index.T)]
    points = index @ affine[:3, :3].T + affine[:3, 3]
    return {int(label): points[labels == label] for label in np.unique(labels)}


def _filled(
    points: Array, first_mm: Array, cell_mm: Array, cells: tuple[int, ...]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Cells that the points fill, compared with the fullest of their slice, and the points' extent in each slice."""
    where = np.rint((points - first_mm) / cell_mm).astype(np.int64)
    within = ((where >= 0) & (where < cells)).all(axis=1)
    where, points = where[within], points[within]
    count = np.zeros(cells, dtype=np.int64)
    np.add.at(count, tuple(where.T), 1)
    low, high = np.full((2, cells[2]), np.inf), np.full((2, cells[2]), -np.inf)
    for axis in (0, 1):
        np.minimum.at(low[axis], where[:, 2], points[:, axis])
        np.maximum.at(high[axis], where[:, 2], points[:, axis])
    extent = np.where(np.isfinite(low), high - low, 0).max(axis=0)
    return count > _PART * np.maximum(count.max(axis=(0, 1)), 1), extent


def _ellipsoid(
    center_mm: Sequence[float], size_mm: Sequence[float], first_mm: Array, cell_mm: Array, cells: tuple[int, ...]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Cells in the ellipsoid that fills a box, or within half a cell of it, and its extent in each slice."""
    axes = [first_mm[axis] + cell_mm[axis] * np.arange(cells[axis]) - center_mm[axis] for axis in range(3)]
    cut = 1 - (axes[2] / max(size_mm[2] / 2, 0.51 * abs(cell_mm[2]))) ** 2
    scale = np.sqrt(np.clip(cut, 0, None))
    radius_x, radius_y = (np.maximum(scale * size_mm[axis] / 2, 0.71 * abs(cell_mm[axis])) for axis in (0, 1))
    x, y = axes[0][:, None, None], axes[1][None, :, None]
    inside = ((x / radius_x) ** 2 + (y / radius_y) ** 2 <= 1) & (cut > 0)
    return inside, scale * max(size_mm[0], size_mm[1])


class LesionMapd(MapTransform):
    """Dictionary twin of :class:`LesionMap`: ``lesions`` and the image's grid to ``lesion_mm``.

    Args:
        keys: the image, (1, X, Y, S) with an ``affine``.
        groups: as in the array transform.
        stride: as in the array transform.
        lesions_key: where the lesions are; the key is removed, since lists of unequal length do not collate.
        mask_key: where the mask's path is, if the case has one; the key is removed too.
        map_key: where the map goes.
    """

    def __init__(
        self,
        keys: KeysCollection,
        groups: Sequence[str],
        stride: int = 8,
        lesions_key: str = "lesions",
        mask_key: str = "mask",
        map_key: str = "lesion_mm",
    ) -> None:
        super().__init__(keys)
        self.transform = LesionMap(groups, stride)
        self.lesions_key = lesions_key
        self.mask_key = mask_key
        self.map_key = map_key

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Adds the map."""
        result = dict(data)
        image = result[self.first_key(result)]
        affine = np.asarray(image.affine, dtype=np.float64)
        path = result.pop(self.mask_key, None)
        mask, mask_affine = (None, None) if path is None else read_mask(Path(path))
        result[self.map_key] = self.transform(
            result.pop(self.lesions_key), affine, tuple(image.shape[1:]), mask, mask_affine
        )
        return result
