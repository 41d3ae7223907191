"""Three planes through a point: a lesion as a radiologist looks at it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform

from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.grid import Affine, Grid
from monai_staging.transforms.meta import affine_of
from monai_staging.transforms.resample import Array, as_tensor, resample

PLANES: dict[str, tuple[int, int, int]] = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
"""World axes (0 = x, 1 = y, 2 = z) of each plane: its rows, its columns, and the one it is perpendicular to."""


class TriplanarPatches(Transform):
    """The axial, coronal and sagittal plane through a world point, at a scale in millimetres.

    Only the part of the volume that the planes cut is read.

    Args:
        size_mm: edge of a patch: the distance between the outer edges of its outermost pixels.
        pixels: along each edge.
        pad_value: of what lies outside the volume.

    Raises:
        UsageError: a size or number of pixels that is not positive.
    """

    def __init__(self, size_mm: float = 64.0, pixels: int = 64, pad_value: float = -1024.0) -> None:
        if not size_mm > 0 or pixels < 1:
            raise UsageError(f"TriplanarPatches: size and pixels must be positive, found {size_mm} mm, {pixels} pixels")
        self.spacing_mm = size_mm / pixels
        self.pixels = pixels
        self.pad_value = pad_value

    def __call__(  # type: ignore[override]  # a plane needs a point
        self,
        img: torch.Tensor | Array,
        center_mm: Sequence[float],
        affine: Affine | torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Patches around a point.

        Args:
            img: (C, I, J, K), of any orientation.
            center_mm: RAS world point in the middle of all three patches.
            affine: (4, 4), voxel index to RAS mm; a MetaTensor's own where it is left out.

        Returns:
            (3, C, pixels, pixels) float32: axial (x, y), coronal (x, z), sagittal (y, z), both axes in RAS direction.
        """
        given = affine_of(img) if affine is None else np.asarray(affine, dtype=np.float64)
        image = as_tensor(img)
        center = np.asarray(center_mm, dtype=np.float64)
        if image.ndim != 4 or center.shape != (3,) or not np.isfinite(center).all():
            raise DataError(
                f"TriplanarPatches: an image (C, I, J, K) and a point (x, y, z) are needed, "
                f"found shape {tuple(image.shape)} and {center_mm}"
            )
        return torch.stack([self._plane(image, given, center, axes) for axes in PLANES.values()])

    def _plane(
        self, image: torch.Tensor, affine: Affine, center: np.ndarray[Any, Any], axes: tuple[int, int, int]
    ) -> torch.Tensor:
        rows, columns, through = axes
        size = [self.pixels] * 3
        size[through] = 1
        origin = center - (np.asarray(size) - 1) / 2 * self.spacing_mm
        grid = Grid((size[0], size[1], size[2]), (self.spacing_mm,) * 3, (origin[0], origin[1], origin[2]))
        planes = [resample(channel, affine, grid, pad_value=self.pad_value) for channel in image]
        return torch.stack([plane.permute(rows, columns, through)[..., 0] for plane in planes])


class TriplanarPatchesd(MapTransform):
    """Dictionary twin of `TriplanarPatches`.

    Args:
        keys: images, (C, I, J, K) MetaTensors; each becomes its (3, C, pixels, pixels) patches.
        center_key: where an item has the RAS world point, mm.
        size_mm: as in the array transform.
        pixels: as in the array transform.
        pad_value: as in the array transform.
        allow_missing_keys: leave out keys that an item does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        center_key: str = "center_mm",
        size_mm: float = 64.0,
        pixels: int = 64,
        pad_value: float = -1024.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.center_key = center_key
        self.transform = TriplanarPatches(size_mm, pixels, pad_value)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The patches of every key."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key], result[self.center_key])
        return result
