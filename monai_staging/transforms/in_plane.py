"""Random rotation and shift of a whole study within the axial plane."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable, RandomizableTransform
from monai.utils import ensure_tuple_rep
from torch.nn import functional

from monai_staging.transforms.meta import affine_of, with_affine
from monai_staging.transforms.resample import Array, as_tensor


class RandInPlane(RandomizableTransform):
    """Rotates and shifts every axial slice of a study alike, at true scale.

    Size is information in staging (T is a diameter), so nothing is zoomed. All slices share one 2-D map, which makes
    this far cheaper than a 3-D resampling.

    Args:
        rotate_degrees: largest rotation, either way.
        shift_voxels: largest shift along X and Y, either way.
        prob: how often.
        pad_value: what fills the corners, in the image's unit (HU of air).
        mode: ``bilinear``, or ``nearest`` for labels and lesion maps, whose values must not be mixed.
    """

    def __init__(
        self,
        rotate_degrees: float = 8.0,
        shift_voxels: float = 6.0,
        prob: float = 0.8,
        pad_value: float = -1024.0,
        mode: str = "bilinear",
    ) -> None:
        super().__init__(prob)
        self.rotate_degrees = rotate_degrees
        self.shift_voxels = shift_voxels
        self.pad_value = pad_value
        self.mode = mode
        self.parameters: tuple[float, float, float] | None = None

    def randomize(self, data: Any = None) -> None:
        """Draws angle (radian) and shifts (voxels), or leaves the study as it is."""
        super().randomize(data)
        # Always the same number of draws, so that the random state does not depend on earlier outcomes.
        angle, shift_x, shift_y = self.R.uniform(-1, 1, 3)
        self.parameters = None
        if self._do_transform:
            self.parameters = (
                float(np.deg2rad(angle * self.rotate_degrees)),
                float(shift_x * self.shift_voxels),
                float(shift_y * self.shift_voxels),
            )

    def __call__(
        self,
        img: torch.Tensor | Array,
        mode: str | None = None,
        pad_value: float | None = None,
        size_xy: Sequence[int] | None = None,
        randomize: bool = True,
    ) -> torch.Tensor:
        """Moves an image, or not.

        Args:
            img: (C, X, Y, S).
            mode: instead of the transform's.
            pad_value: instead of the transform's.
            size_xy: for a coarser map of a study: voxels along X and Y of the study, in whose voxels the shifts are.
            randomize: draw anew; without, what was drawn last happens again.

        Returns:
            As ``img``, of the same type. A moved MetaTensor's affine is moved along, so that what a voxel shows keeps
            its world position.
        """
        if randomize:
            self.randomize()
        image = as_tensor(img)
        if self.parameters is None:
            return img if isinstance(img, torch.Tensor) else image
        pad_value = self.pad_value if pad_value is None else pad_value
        angle, shift_x, shift_y = self.parameters
        size_x, size_y = image.shape[1:3] if size_xy is None else size_xy
        cos, sin = np.cos(angle), np.sin(angle)
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
        moved = functional.grid_sample(stack, grid, mode=mode or self.mode, padding_mode="zeros", align_corners=False)
        result = (moved + pad_value).permute(0, 2, 3, 1).to(image.dtype)
        if not isinstance(img, MetaTensor):
            return result
        # The same map in voxels: theta's coordinates are 2 / size per voxel, from the middle of the image.
        x, y = image.shape[1] / size_x, image.shape[2] / size_y
        change = np.eye(4)
        change[:2, :2] = [[cos, sin * x / y], [-sin * y / x, cos]]
        middle = (np.array(image.shape[1:3]) - 1) / 2
        change[:2, 3] = middle - change[:2, :2] @ middle + (shift_x * x, shift_y * y)
        return with_affine(result, affine_of(img) @ change, img)


class RandInPlaned(Randomizable, MapTransform):
    """Dictionary twin of `RandInPlane`: all keys are moved alike.

    Args:
        keys: images, (C, X, Y, S); coarser maps of the same study may follow, shifts are in voxels of the first.
        rotate_degrees: as in the array transform.
        shift_voxels: as in the array transform.
        prob: as in the array transform.
        pad_value: as in the array transform, for all keys or for each.
        mode: as in the array transform, for all keys or for each.
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
        self.transform = RandInPlane(rotate_degrees, shift_voxels, prob)
        self.pad_value = ensure_tuple_rep(pad_value, len(self.keys))
        self.mode = ensure_tuple_rep(mode, len(self.keys))

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandInPlaned:
        """Seeds the draws."""
        super().set_random_state(seed, state)
        self.transform.set_random_state(state=self.R)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draws angle and shifts, once for all keys."""
        self.transform.randomize(data)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Moves all images alike."""
        result = dict(data)
        self.randomize()
        size_xy = result[self.first_key(result)].shape[1:3]
        for key, pad_value, mode in self.key_iterator(result, self.pad_value, self.mode):
            result[key] = self.transform(result[key], mode, pad_value, size_xy, randomize=False)
        return result
