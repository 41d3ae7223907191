"""Axial slices as square grey images with one box each: cut, mapped there and back, and augmented together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.transforms import Transform
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional

from monai_staging.cohort.volume import AIR_HU
from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.transforms.windows import HUWindows

LEVELS = 255
"""The highest grey level of a slice: 8 bits a pixel, as a display shows."""


class SliceImage(Transform):
    """A slice in HU as a square image of so many pixels, 8 bits a channel.

    What is not square gets air on both sides, then the square is scaled (in HU, with antialiasing), then windowed. A
    square slice of ``size`` stays as it is.

    Args:
        size: pixels along each side.
        windows: see :class:`~monai_staging.transforms.windows.HUWindows`; a channel each.

    Raises:
        UsageError: a size below 4 pixels, or a window that is not known.
    """

    def __init__(self, size: int, windows: Sequence[str | Sequence[float]] = ("lung",)) -> None:
        if size < 4:
            raise UsageError(f"SliceImage: a size of at least 4 pixels is needed, found {size}")
        self.size = size
        self.windows = HUWindows(windows)

    @property
    def channels(self) -> int:
        """Of the image: one a window."""
        return len(self.windows.windows)

    def __call__(self, hu: NDArray[np.int16]) -> Tensor:
        """A slice as an image.

        Args:
            hu: (I, J): columns and rows, HU.

        Returns:
            (channels, size, size) uint8, rows first.

        Raises:
            DataError: the slice is not 2-D.
        """
        if hu.ndim != 2:
            raise DataError(f"SliceImage: a slice (columns, rows) is needed, found shape {hu.shape}")
        image = torch.from_numpy(np.ascontiguousarray(hu.T, dtype=np.float32))[None, None]
        left, top, side = _square(hu.shape)
        columns, rows = hu.shape
        image = functional.pad(image, (left, side - columns - left, top, side - rows - top), value=float(AIR_HU))
        if side != self.size:
            image = functional.interpolate(image, size=(self.size, self.size), mode="bilinear", antialias=True)
        shown: Tensor = self.windows(image[0])
        return (shown * LEVELS).round_().to(torch.uint8)

    def to_image(self, boxes: ArrayLike, shape: Sequence[int]) -> FloatArray:
        """Boxes (N, 4) in pixels of a slice of ``shape`` (columns, rows), in pixels of its image."""
        left, top, side = _square(shape)
        return (np.asarray(boxes, dtype=np.float64) + (left, top, left, top)) * (self.size / side)

    def to_slice(self, boxes: ArrayLike, shape: Sequence[int]) -> FloatArray:
        """The way back of :meth:`to_image`; what lies outside the slice is cut off."""
        left, top, side = _square(shape)
        found = np.asarray(boxes, dtype=np.float64) * (side / self.size) - (left, top, left, top)
        return np.clip(found, 0, [*shape, *shape])


class RandSliceBoxes:
    """Mirrors, zooms, shifts and recolours a batch of slices, each in its own way, and moves their boxes alike.

    A box stays within its image. Nothing is turned: a turned box is no box. Draws from torch's global generator, so
    that a seed for it makes a training repeatable.

    Args:
        mirror: whether left and right change places half of the time.
        zoom: largest relative change of size.
        shift: largest shift along each axis, of the image's side.
        contrast: largest relative change.
        brightness: largest change.

    Raises:
        UsageError: a strength is negative.
    """

    def __init__(
        self,
        mirror: bool = True,
        zoom: float = 0.15,
        shift: float = 0.08,
        contrast: float = 0.15,
        brightness: float = 0.05,
    ) -> None:
        strengths = {"zoom": zoom, "shift": shift, "contrast": contrast, "brightness": brightness}
        if min(strengths.values()) < 0:
            raise UsageError(f"RandSliceBoxes: no strength is negative; found {strengths}")
        self.mirror = mirror
        self.zoom, self.shift = zoom, shift
        self.contrast, self.brightness = contrast, brightness

    def __call__(self, images: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The augmented batch.

        Args:
            images: (B, C, size, size), 0 to 1.
            boxes: (B, 4) in pixels of the images; NaN where a slice has none.

        Returns:
            Both, of the same shapes.
        """
        count, size = len(images), images.shape[-1]
        device = images.device
        # In the coordinates of affine_grid: -1 and 1 are the image's edges, (x, y) of what comes out is looked up at
        # zoom * (x, y) + shift of what goes in.
        edges = (2 / size * boxes - 1).view(count, 2, 2)
        zoom = (1 + self.zoom) ** _signed(count, 1, device=device)
        shift = 2 * self.shift * _signed(count, 2, device=device)
        lowest, highest = edges[:, 1] - zoom, edges[:, 0] + zoom
        middle = edges.mean(dim=1)
        kept = torch.where(lowest <= highest, torch.minimum(torch.maximum(shift, lowest), highest), middle)
        shift = torch.where(torch.isnan(edges).any(dim=1), shift, kept)
        sign = torch.ones(count, 2, device=device)
        if self.mirror:
            sign[:, 0] = torch.where(torch.rand(count, device=device) < 0.5, -1.0, 1.0)
        matrix = torch.zeros(count, 2, 3, device=device)
        matrix[:, range(2), range(2)] = zoom * sign
        matrix[:, :, 2] = shift
        grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
        moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
        corners = (edges - shift[:, None]) / (zoom * sign)[:, None]
        corners = torch.stack([corners.amin(dim=1), corners.amax(dim=1)], dim=1).clamp(-1, 1)
        shape = (count, 1, 1, 1)
        moved.mul_(1 + self.contrast * _signed(*shape, device=device))
        moved.add_(self.brightness * _signed(*shape, device=device))
        return moved, (corners.flatten(1) + 1) * (size / 2)


def _square(shape: Sequence[int]) -> tuple[int, int, int]:
    """Air to the left and above, and the side of the square around a slice of so many columns and rows."""
    side = max(shape)
    return (side - shape[0]) // 2, (side - shape[1]) // 2, side


def _signed(*shape: int, device: torch.device) -> Tensor:
    """Uniform in -1 to 1."""
    return torch.rand(*shape, device=device) * 2 - 1
