"""Orientation, spacing and size in one interpolation."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import ensure_tuple_rep

from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.grid import Affine, Grid, plan_grid
from monai_staging.transforms.meta import affine_of, with_affine
from monai_staging.transforms.resample import Array, Interpolation, as_tensor, resample


class ResampleSpacing(Transform):
    """A volume of any orientation on an axis-aligned RAS grid of a given spacing, and size where one is given.

    Takes the place of MONAI's `Orientation`, `Spacing`, `CenterSpatialCrop` and `SpatialPad` with one interpolation.
    Without a size the grid is the one that `Orientation("RAS")` and `Spacing` give for volumes along the patient's
    axes: it starts at the centre of the first voxel.

    Args:
        spacing_mm: along x, y, z, or one for all.
        size: voxels along x, y, z: the grid is centred on the volume, or on the point given with it; what does not fit
            is cut off, what is missing padded.
        mode: ``"linear"``, or ``"nearest"`` for masks.
        antialias: where the grid is more than 1.5 times coarser than the voxels, average over its voxel (linear only).
        pad_value: of what lies outside the volume; HU of air by default.

    Raises:
        UsageError: a spacing or size that is not positive, or an unknown mode.
    """

    def __init__(
        self,
        spacing_mm: float | Sequence[float] = 1.0,
        size: Sequence[int] | None = None,
        mode: str = "linear",
        antialias: bool = True,
        pad_value: float = -1024.0,
    ) -> None:
        if mode not in [m.value for m in Interpolation]:
            raise UsageError(f"ResampleSpacing: mode must be linear or nearest, found {mode!r}")
        self.spacing_mm = tuple(float(s) for s in ensure_tuple_rep(spacing_mm, 3))
        self.size = None if size is None else tuple(int(n) for n in size)
        self.mode = Interpolation(mode)
        self.antialias = antialias
        self.pad_value = pad_value
        plan_grid((1, 1, 1), np.eye(4), self.spacing_mm, self.size)  # type: ignore[arg-type]

    def grid(self, shape: Sequence[int], affine: Affine, center_mm: Sequence[float] | None = None) -> Grid:
        """The grid that a volume of this shape (I, J, K) and affine is resampled to."""
        center = None if center_mm is None else tuple(float(c) for c in center_mm)
        return plan_grid(tuple(shape), affine, self.spacing_mm, self.size, center)  # type: ignore[arg-type]

    def __call__(
        self,
        img: torch.Tensor | Array,
        affine: Affine | torch.Tensor | None = None,
        center_mm: Sequence[float] | None = None,
        grid: Grid | None = None,
    ) -> MetaTensor:
        """Resamples an image.

        Args:
            img: (C, I, J, K).
            affine: (4, 4), voxel index to RAS mm; a MetaTensor's own where it is left out.
            center_mm: RAS world point that the grid is centred on; needs a size.
            grid: takes the place of spacing, size and centre; for a mask on its image's grid.

        Returns:
            (C, X, Y, Z) float32 with the grid's affine.

        Raises:
            DataError: no affine, or not four axes.
        """
        given = affine_of(img) if affine is None else np.asarray(affine, dtype=np.float64)
        image = as_tensor(img)
        if image.ndim != 4:
            raise DataError(f"ResampleSpacing: an image (C, I, J, K) is needed, found shape {tuple(image.shape)}")
        grid = grid or self.grid(image.shape[1:], given, center_mm)
        channels = [resample(c, given, grid, self.mode, self.antialias, self.pad_value) for c in image]
        # One channel is the rule, and stacking would copy it.
        output = channels[0][None] if len(channels) == 1 else torch.stack(channels)
        return with_affine(output, grid.affine, img)


class ResampleSpacingd(MapTransform):
    """Dictionary twin of `ResampleSpacing`: all keys on the grid planned for the first.

    Args:
        keys: images and masks, (C, I, J, K) MetaTensors.
        spacing_mm: as in the array transform.
        size: as in the array transform.
        mode: one for all keys, or one each.
        antialias: as in the array transform.
        pad_value: one for all keys, or one each (0 for a mask).
        center_key: where an item has the RAS world point (mm) to centre on; needs a size.
        allow_missing_keys: leave out keys that an item does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing_mm: float | Sequence[float] = 1.0,
        size: Sequence[int] | None = None,
        mode: str | Sequence[str] = "linear",
        antialias: bool = True,
        pad_value: float | Sequence[float] = -1024.0,
        center_key: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        modes, pads = ensure_tuple_rep(mode, len(self.keys)), ensure_tuple_rep(pad_value, len(self.keys))
        self.transforms: dict[Hashable, ResampleSpacing] = {
            key: ResampleSpacing(spacing_mm, size, m, antialias, p)
            for key, m, p in zip(self.keys, modes, pads, strict=True)
        }
        if center_key is not None and size is None:
            raise UsageError(
                "ResampleSpacingd: center_key says where a grid of a given size lies, but no size is given"
            )
        self.center_key = center_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resamples every key."""
        result = dict(data)
        center = result[self.center_key] if self.center_key is not None else None
        grid: Grid | None = None
        for key in self.key_iterator(result):
            transform, image = self.transforms[key], result[key]
            grid = grid or transform.grid(image.shape[1:], affine_of(image), center)
            result[key] = transform(image, grid=grid)
        return result
