"""Augmentation of a batch of histology tiles, with their maps: turns, mirror images, more or less of a stain, noise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from monai_staging.errors import UsageError
from monai_staging.transforms.stain import REFERENCE, Stains, mix


class RandTiles:
    """Turns by quarters and mirrors tiles, each in its own way, stains them otherwise and adds noise.

    Stains vary as in :class:`~monai_staging.transforms.rand_stain.RandStain`: the concentration c of each becomes
    a c + b. Draws come from torch's global generator, so that a seed for it makes a training repeatable.

    Args:
        turn: whether tiles are turned and mirrored; tissue has no up and down.
        stain_scale: a is drawn from 1 - stain_scale to 1 + stain_scale.
        stain_shift: b is drawn from -stain_shift to stain_shift, as a part of the largest concentration.
        brightness: largest relative change of the light.
        noise: standard deviation, of 255.
        stains: whose colours are varied.

    Shape:
        (B, 3, H, W) uint8 and (B, 1, H, W), with square tiles where they are turned, to the same.

    Raises:
        UsageError: a scale outside 0 to below 1, or another strength below 0.
    """

    def __init__(
        self,
        turn: bool = True,
        stain_scale: float = 0.25,
        stain_shift: float = 0.05,
        brightness: float = 0.05,
        noise: float = 0.0,
        stains: Stains = REFERENCE,
    ) -> None:
        if not 0 <= stain_scale < 1 or min(stain_shift, brightness, noise) < 0 or brightness >= 1:
            raise UsageError(
                "RandTiles: stain_scale and brightness are 0 to below 1, the others at least 0; found stain_scale "
                f"{stain_scale}, stain_shift {stain_shift}, brightness {brightness}, noise {noise}"
            )
        self.turn = turn
        self.stain_scale = stain_scale
        self.stain_shift = stain_shift
        self.brightness = brightness
        self.noise = noise
        self.stains = stains
        self.inverse = np.linalg.inv(stains.matrix)

    def __call__(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The augmented tiles and their maps."""
        images, targets = [], []
        for tile, own in zip(image, target, strict=True):
            quarters, mirror = int(torch.randint(4, ())), bool(torch.rand(()) < 0.5)
            if self.turn:
                tile, own = (torch.rot90(each.flip(-1) if mirror else each, quarters, (-2, -1)) for each in (tile, own))
            images.append(self._recoloured(tile))
            targets.append(own)
        return torch.stack(images), torch.stack(targets)

    def _recoloured(self, tile: Tensor) -> Tensor:
        factors, offsets = 2 * torch.rand(2, 3, dtype=torch.float64).numpy() - 1
        light = float(2 * torch.rand(()) - 1)
        if self.stain_scale or self.stain_shift or self.brightness:
            matrix = self.stains.matrix
            mixed = matrix @ np.diag(1 + self.stain_scale * factors) @ self.inverse
            # More light is less density, in all colours.
            shift = matrix @ (self.stain_shift * offsets * self.stains.largest) - np.log1p(self.brightness * light)
            tile = mix(tile, mixed, shift)
        if self.noise:
            noise = self.noise * torch.randn(tile.shape, device=tile.device)
            tile = (tile + noise).round_().clamp_(0, 255).to(torch.uint8)
        return tile
