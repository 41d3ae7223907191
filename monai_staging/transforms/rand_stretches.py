"""Stretches of neighbouring slices, mirrored, shifted and recoloured, with the cells of their maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from monai_staging.errors import UsageError


class RandStretches:
    """Changes each stretch of a batch in its own way, and its slices alike.

    Shifts are of whole cells, so that what a cell shows stays what it is. Draws from torch's global generator.

    Args:
        mirror: whether left and right change places half of the time.
        shift: cells by which it is shifted at most, along each axis; what comes in from outside is black.
        contrast: largest relative change.
        brightness: largest change.
        noise: largest standard deviation; each stretch has another.

    Raises:
        UsageError: a strength is negative.
    """

    def __init__(
        self, mirror: bool = True, shift: int = 2, contrast: float = 0.15, brightness: float = 0.05, noise: float = 0.03
    ) -> None:
        if min(shift, contrast, brightness, noise) < 0:
            raise UsageError(
                f"RandStretches: no strength is negative; found shift {shift}, contrast {contrast}, "
                f"brightness {brightness}, noise {noise}"
            )
        self.mirror, self.shift = mirror, shift
        self.contrast, self.brightness, self.noise = contrast, brightness, noise

    def __call__(self, images: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """The changed batch.

        Args:
            images: (B, L, C, size, size), 0 to 1.
            cells: (B, L, h, w).

        Returns:
            Both, of the same shapes.
        """
        stride = images.shape[-1] // cells.shape[-1]
        found, classes = [], []
        for image, own in zip(images, cells, strict=True):
            if self.mirror and bool(torch.rand(()) < 0.5):
                image, own = image.flip(-1), own.flip(-1)
            x, y = torch.randint(-self.shift, self.shift + 1, (2,)).tolist()
            found.append(_shifted(image, x * stride, y * stride))
            classes.append(_shifted(own, x, y))
        shape = (len(images), 1, 1, 1, 1)
        contrast, brightness = (
            strength * (2 * torch.rand(shape) - 1).to(images.device) for strength in (self.contrast, self.brightness)
        )
        changed = torch.stack(found) * (1 + contrast) + brightness
        if self.noise:
            deviation = (self.noise * torch.rand(shape)).to(images.device)
            changed = changed + deviation * torch.randn_like(changed)
        return changed.clamp(0, 1), torch.stack(classes)


def _shifted(values: Tensor, x: int, y: int) -> Tensor:
    """Shifted along the last two axes; zeros come in."""
    height, width = values.shape[-2:]
    padded = functional.pad(values, (abs(x), abs(x), abs(y), abs(y)))
    return padded[..., abs(y) - y : abs(y) - y + height, abs(x) - x : abs(x) - x + width]
