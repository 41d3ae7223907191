"""Augmentation of a whole batch of views at once: a picture costs microseconds, not milliseconds."""

from __future__ import annotations

import math

import torch
from monai.transforms import Transform
from torch import Tensor
from torch.nn import functional

from monai_staging.errors import UsageError


class RandViews(Transform):
    """Turns, mirrors, shifts and recolours views, each nodule and view in its own way; sizes stay true to a tenth.

    Draws from torch's global generator, so that a seed for it makes a training repeatable.

    Args:
        image_channels: of a view's channels, so many are image; the rest (outlines) are moved but not recoloured.
        rotate: whether 2D views are turned by any angle; 3D ones are turned by quarters in plane.
        mirror: whether each axis is mirrored half of the time.
        shift_pixels: largest shift along each axis.
        scale: largest relative change of size, a factor of 1 / (1 + scale) to 1 + scale; small, since size is a sign.
        gamma: largest absolute log of the exponent.
        contrast: largest relative change.
        brightness: largest change.
        noise: standard deviation.

    Shape:
        (B, V, C, *spatial) float, image 0 to 1, to the same.
    """

    def __init__(
        self,
        image_channels: int = 1,
        rotate: bool = True,
        mirror: bool = True,
        shift_pixels: float = 3.0,
        scale: float = 0.1,
        gamma: float = 0.25,
        contrast: float = 0.2,
        brightness: float = 0.1,
        noise: float = 0.02,
    ) -> None:
        if image_channels < 1 or min(shift_pixels, scale, gamma, contrast, brightness, noise) < 0:
            raise UsageError(
                "RandViews: image_channels is at least 1 and no strength is negative; found image_channels "
                f"{image_channels}, shift_pixels {shift_pixels}, scale {scale}, gamma {gamma}, contrast {contrast}, "
                f"brightness {brightness}, noise {noise}"
            )
        self.image_channels = image_channels
        self.rotate = rotate
        self.mirror = mirror
        self.shift_pixels = shift_pixels
        self.scale = scale
        self.gamma = gamma
        self.contrast = contrast
        self.brightness = brightness
        self.noise = noise

    def __call__(self, data: Tensor) -> Tensor:
        """The augmented batch."""
        batch, views = data.shape[:2]
        flat = data.flatten(0, 1)
        matrix = self._matrices(len(flat), flat.dim() - 2, flat.shape[-1], flat.device)
        grid = functional.affine_grid(matrix, list(flat.shape), align_corners=False)
        moved = functional.grid_sample(flat, grid, padding_mode="border", align_corners=False)
        return self._recolour(moved.view(batch, views, *moved.shape[1:]))

    def _matrices(self, count: int, dims: int, size: int, device: torch.device) -> Tensor:
        """(count, dims, dims + 1) affine maps; the last two array axes are turned in."""
        angle = torch.zeros(count, device=device)
        if self.rotate:
            quarters = torch.randint(0, 4, (count,), device=device) * (math.pi / 2)
            angle = (torch.rand(count, device=device) * 2 * math.pi) if dims == 2 else quarters
        zoom = (1 + self.scale) ** _signed(count, device=device)
        mirror = torch.ones(count, dims, device=device)
        if self.mirror:
            mirror = torch.where(torch.rand(count, dims, device=device) < 0.5, -1.0, 1.0)
        matrix = torch.zeros(count, dims, dims + 1, device=device)
        matrix[:, range(dims), range(dims)] = zoom[:, None] * mirror
        cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
        matrix[:, 0, 0], matrix[:, 0, 1] = cosine * mirror[:, 0], -sine * mirror[:, 1]
        matrix[:, 1, 0], matrix[:, 1, 1] = sine * mirror[:, 0], cosine * mirror[:, 1]
        matrix[:, :, dims] = 2 * self.shift_pixels / size * _signed(count, dims, device=device)
        return matrix

    def _recolour(self, views: Tensor) -> Tensor:
        image, rest = views[:, :, : self.image_channels], views[:, :, self.image_channels :]
        shape = (len(views), *([1] * (views.dim() - 1)))
        device = views.device
        image = image.clamp(0, 1) ** torch.exp(self.gamma * _signed(*shape, device=device))
        image = image * (1 + self.contrast * _signed(*shape, device=device))
        image = image + self.brightness * _signed(*shape, device=device) + self.noise * torch.randn_like(image)
        return torch.cat([image, rest], dim=2)


def _signed(*shape: int, device: torch.device) -> Tensor:
    """Uniform in -1 to 1."""
    return torch.rand(*shape, device=device) * 2 - 1
