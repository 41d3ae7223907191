"""Random rotation and shift of a whole study within the axial plane."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.utils import ensure_tuple_rep
from torch.nn import functional


class RandInPlaned(Randomizable, MapTransform):
    """Rotates and shifts every axial slice of a study alike, at true scale.

    Size is information in staging (T is a diameter), so nothing is zoomed. All slices share one 2-D map, which makes
    this far cheaper than a 3-D resampling.

    Args:
        keys: images, (C, X, Y, S); coarser maps of the same study may follow, shifts are in voxels of the first.
        rotate_degrees: largest rotation, either way.
        shift_voxels: largest shift along X and Y, either way.
        prob: how often.
        pad_value: what fills the corners, in the image's unit (HU of air), for all keys or for each.
        mode: ``bilinear``, or ``nearest`` for labels and lesion maps, whose values must not be mixed; for all keys or
            for each.
    """

    def __init__(
        self,
        keys: KeysCollection,
        rotate_degrees: float = 8.0,
        shift_voxels: float = 6.0,
        prob: float = 0.8,
        pad_value: float | Sequence[float] = -1024.0,
        mode: str | Sequence[str] = "bilinear",
    ) -> None:
        MapTransform.__init__(self, keys)
        self.rotate_degrees = rotate_degrees
        self.shift_voxels = shift_voxels
        self.prob = prob
        self.pad_value = ensure_tuple_rep(pad_value, len(self.keys))
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        self.parameters: tuple[float, float, float] | None = None

    def randomize(self, data: Any = None) -> None:
        """Draws angle (radian) and shifts (voxels), or leaves the study as it is."""
        # Always the same number of draws, so that the random state does not depend on earlier outcomes.
        chance, angle, shift_x, shift_y = self.R.random(), *self.R.uniform(-1, 1, 3)
        self.parameters = None
        if chance < self.prob:
            self.parameters = (
                float(np.deg2rad(angle * self.rotate_degrees)),
                float(shift_x * self.shift_voxels),
                float(shift_y * self.shift_voxels),
            )

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Moves all images alike."""
        result = dict(data)
        self.randomize()
        if self.parameters is None:
            return result
        angle, shift_x, shift_y = self.parameters
        size_x, size_y = result[self.first_key(result)].shape[1:3]
        cos, sin = np.cos(angle), np.sin(angle)
        for key, pad_value, mode in self.key_iterator(result, self.pad_value, self.mode):
            image = result[key]
            # affine_grid speaks of (width, height) = (Y, X) in units of half the size.
            theta = torch.tensor(
                [
                    [cos, -sin * size_x / size_y, 2 * shift_y / size_y],
                    [sin * size_y / size_x, cos, 2 * shift_x / size_x],
                ],
                dtype=torch.float32,
            )
            # Slices as channels, so that one grid serves them all.
            stack = image.permute(0, 3, 1, 2).float() - pad_value
            grid = functional.affine_grid(theta[None], [1, 1, *image.shape[1:3]], align_corners=False)
            grid = grid.expand(stack.shape[0], -1, -1, -1)
            moved = functional.grid_sample(stack, grid, mode=mode, padding_mode="zeros", align_corners=False)
            result[key] = (moved + pad_value).permute(0, 2, 3, 1).to(image.dtype)
        return result
