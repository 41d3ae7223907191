"""A backbone whose last feature map has to hold the whole image: an autoencoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.networks.backbones import Backbone

NARROWEST = 16
"""Channels of the decoder's finest level at least."""


class AutoencoderNetwork(nn.Module):
    """A backbone, a narrow code, and a decoder that sees nothing but the code.

    The last feature map is brought to ``code`` channels, a few numbers for each of its cells; from these the image is
    built up again by doubling (nearest neighbour, then a convolution), each level with half of the channels before.
    Unlike in restoration no finer map helps: where the image itself is shown, it could be handed through.

    Args:
        backbone: gives the feature map; its size is read off a small example.
        spatial_dims: 2 or 3.
        in_channels: of the image.
        code: channels of the code.
        features: channels of the decoder's coarsest level, a multiple of 8.
    """

    def __init__(
        self, backbone: Backbone, spatial_dims: int, in_channels: int, code: int = 32, features: int = 128
    ) -> None:
        super().__init__()
        convolution = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
        training = backbone.training
        side = max(64, 2 ** math.ceil(math.log2(max(1, backbone.min_size))))
        with torch.no_grad():
            # In evaluation mode, so that batch norm's statistics stay as they are.
            cells = backbone.eval()(torch.zeros(1, in_channels, *([side] * spatial_dims))).shape[-1]
        backbone.train(training)
        self.backbone = backbone
        self.code = convolution(backbone.out_channels, code, 1)
        levels: list[nn.Module] = []
        before, after = code, features
        for _ in range(math.ceil(math.log2(side / cells))):
            levels.append(
                nn.Sequential(
                    convolution(before, after, 3, padding=1),
                    nn.GroupNorm(math.gcd(8, after), after),
                    nn.ReLU(inplace=True),
                )
            )
            before, after = after, max(NARROWEST, after // 2)
        self.levels = nn.ModuleList(levels)
        self.image = convolution(before, in_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, *spatial)`` to the same shape; nothing keeps the values in [0, 1]."""
        found: Tensor = self.code(self.backbone(x))
        count = len(self.levels)
        for place, level in enumerate(self.levels, start=1):
            # The last level has the image's size, whatever the backbone's padding makes of it.
            goal = [-(-length // 2 ** (count - place)) for length in x.shape[2:]]
            size = [max(pair) for pair in zip(found.shape[2:], goal, strict=True)]
            found = level(functional.interpolate(found, size=size, mode="nearest"))
        decoded: Tensor = self.image(found)
        return decoded
