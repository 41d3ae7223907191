"""Random views of a batch of images: placed, cut, mirrored, made brighter or darker, on the device they lie on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.utils import ensure_tuple_rep
from torch import Tensor
from torch.nn import functional

from monai_staging.errors import UsageError


@dataclass(frozen=True)
class RandView:
    """One random view of every image of a batch, by one resampling (after SimCLR, arXiv:2002.05709).

    Attributes:
        smallest: a view shows a cube of this share of the image's edge or more, up to ``largest``; anywhere in it.
        largest: above 1 the image is made smaller, with black around it.
        rotate_degrees: largest angle; in 3-D about the third axis alone.
        flip: probability of a mirrored view, along each axis by itself; one number, or one an axis.
        contrast: contrast is multiplied by up to ``1 + contrast`` or divided by it.
        brightness: largest value added or taken away.
        noise: largest standard deviation of the noise added.

    Raises:
        UsageError: a share of the edge that is not above 0 or above the largest, or a negative strength.
    """

    smallest: float = 0.5
    largest: float = 1.0
    rotate_degrees: float = 0.0
    flip: float | Sequence[float] = 0.0
    contrast: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest:
            raise UsageError(
                f"RandView: 0 < smallest <= largest is needed, found smallest {self.smallest}, largest {self.largest}"
            )
        for name in ("rotate_degrees", "contrast", "brightness", "noise"):
            if getattr(self, name) < 0:
                raise UsageError(f"RandView: {name} must not be negative, found {getattr(self, name)}")

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The views.

        Args:
            images: ``(B, C, *spatial)`` of float in [0, 1], two or three spatial axes.
            generator: on the images' device; torch's own of that device where it is left out.

        Returns:
            ``(B, C, *spatial)`` in [0, 1].
        """
        batch, dims = len(images), images.dim() - 2

        def uniform(*shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
            drawn = torch.rand(batch, *shape, generator=generator, device=images.device)
            return low + (high - low) * drawn

        scale = uniform(1, low=self.smallest, high=self.largest)
        shift = uniform(dims) * (1 - scale).abs()
        # torch names axes from the last one.
        flip = torch.tensor(ensure_tuple_rep(self.flip, dims)[::-1], device=images.device)
        mirror = torch.where(uniform(dims, low=0.0) < flip, -1.0, 1.0)
        angle = uniform() * math.radians(self.rotate_degrees)
        theta = torch.zeros(batch, dims, dims + 1, device=images.device)
        theta[:, range(dims), range(dims)] = 1.0
        # The plane of rotation is that of the image's first two axes.
        a, b = dims - 1, dims - 2
        theta[:, a, a] = theta[:, b, b] = angle.cos()
        theta[:, a, b], theta[:, b, a] = -angle.sin(), angle.sin()
        theta[:, :, :dims] *= scale[:, None] * mirror[:, None]
        theta[:, :, dims] = shift
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        views = functional.grid_sample(images, grid.to(images.dtype), mode="bilinear", align_corners=False)
        one = [1] * (dims + 1)
        contrast = (uniform(*one) * math.log1p(self.contrast)).exp()
        brightness, noise = uniform(*one) * self.brightness, uniform(*one, low=0.0) * self.noise
        if self.contrast or self.brightness:
            mean = views.mean(dim=tuple(range(1, views.dim())), keepdim=True)
            views = (views - mean) * contrast + mean + brightness
        if self.noise:
            views = views + noise * torch.randn(views.shape, generator=generator, device=images.device)
        return views.clamp(0, 1)
