"""Where the lesions are and how large, as a coarse map: what a network that stages is shown besides the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from numpy.typing import NDArray

from monai_staging.errors import UsageError


class LesionMap(Transform):
    """In-plane diameters on a coarse grid, one channel per kind of lesion, from the lesions' boxes.

    A lesion is taken as the ellipsoid that fills its box. A cell whose centre lies in it (or within half a cell of it,
    so that no lesion falls between the cells) holds the largest in-plane extent of the ellipsoid's cut at the cell's
    slice, in mm; every other cell holds 0. Where lesions of a kind meet, the larger counts.

    Args:
        kinds: lesion kinds, one channel each; lesions of other kinds are left out.
        stride: voxels per cell along X and Y; slices are kept.
        merge: kinds to be counted as another, for example ``{"nodule": "metastasis"}``.
        largest_mm: diameters are cut off here: an effusion fills half a chest, and must not outweigh all nodules.

    Raises:
        UsageError: a stride below 1.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        stride: int = 8,
        merge: Mapping[str, str] | None = None,
        largest_mm: float = 100.0,
    ) -> None:
        if stride < 1:
            raise UsageError(f"LesionMap: stride must be at least 1, found {stride}")
        self.kinds = tuple(kinds)
        self.stride = stride
        self.merge = dict(merge or {})
        self.largest_mm = largest_mm

    def __call__(  # type: ignore[override]  # a box means nothing without the grid it is drawn on
        self, lesions: Sequence[Mapping[str, Any]], affine: NDArray[np.floating[Any]], shape: Sequence[int]
    ) -> torch.Tensor:
        """Computes the map.

        Args:
            lesions: with ``kind``, ``center_mm`` (RAS) and ``size_mm`` (box extents).
            affine: (4, 4) from voxel index to RAS mm; axis-aligned.
            shape: (X, Y, S) of the grid.

        Returns:
            (kinds, X / stride, Y / stride, S) float32, mm.
        """
        cells = (shape[0] // self.stride, shape[1] // self.stride, shape[2])
        result = np.zeros((len(self.kinds), *cells), dtype=np.float32)
        steps = (self.stride, self.stride, 1)
        axes = [
            affine[axis, 3] + affine[axis, axis] * (np.arange(count) * step + (step - 1) / 2)
            for axis, (count, step) in enumerate(zip(cells, steps, strict=True))
        ]
        cell_mm = [abs(affine[axis, axis]) * step for axis, step in enumerate(steps)]
        for lesion in lesions:
            kind = self.merge.get(lesion["kind"], lesion["kind"])
            if kind not in self.kinds:
                continue
            center, size = lesion["center_mm"], lesion["size_mm"]
            x, y, z = ((axis - middle) for axis, middle in zip(axes, center, strict=True))
            cut = 1 - (z / max(size[2] / 2, 0.51 * cell_mm[2])) ** 2
            scale = np.sqrt(np.clip(cut, 0, None))
            radius_x, radius_y = (np.maximum(scale * size[axis] / 2, 0.71 * cell_mm[axis]) for axis in (0, 1))
            inside = (x[:, None, None] / radius_x) ** 2 + (y[None, :, None] / radius_y) ** 2 <= 1
            diameter = np.minimum(scale * max(size[0], size[1]), self.largest_mm) * (cut > 0)
            channel = result[self.kinds.index(kind)]
            np.maximum(channel, inside * diameter.astype(np.float32), out=channel)
        return torch.from_numpy(result)


class LesionMapd(MapTransform):
    """Dictionary twin of :class:`LesionMap`: ``lesions`` and the image's grid to ``lesion_mm``.

    Args:
        keys: the image, (1, X, Y, S) with an ``affine``.
        kinds: as in the array transform.
        stride: as in the array transform.
        merge: as in the array transform.
        lesions_key: where the lesions are; the key is removed, since lists of unequal length do not collate.
        map_key: where the map goes.
    """

    def __init__(
        self,
        keys: KeysCollection,
        kinds: Sequence[str],
        stride: int = 8,
        merge: Mapping[str, str] | None = None,
        lesions_key: str = "lesions",
        map_key: str = "lesion_mm",
    ) -> None:
        super().__init__(keys)
        self.transform = LesionMap(kinds, stride, merge)
        self.lesions_key = lesions_key
        self.map_key = map_key

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Adds the map."""
        result = dict(data)
        image = result[self.first_key(result)]
        affine = np.asarray(image.affine, dtype=np.float64)
        result[self.map_key] = self.transform(result.pop(self.lesions_key), affine, tuple(image.shape[1:]))
        return result
