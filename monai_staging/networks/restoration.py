"""A light decoder on a backbone: the image comes out again."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.networks.backbones import Backbone


class RestorationNetwork(nn.Module):
    """A backbone with a feature-pyramid decoder (after Lin et al. 2017) that gives an image like its input.

    Light, and without a path around the backbone, so that the backbone is what has to learn: every scale is brought to
    ``features`` channels and added to the coarser ones, the finest sum is put to half and then to all of the input's
    size.

    Args:
        backbone: gives the pyramid; its channel counts are read off a small example.
        spatial_dims: 2 or 3.
        in_channels: of the image.
        features: channels of the decoder, a multiple of 8.
    """

    def __init__(self, backbone: Backbone, spatial_dims: int, in_channels: int, features: int = 32) -> None:
        super().__init__()
        convolution = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
        training = backbone.training
        with torch.no_grad():
            # In evaluation mode, so that batch norm's statistics stay as they are.
            example = torch.zeros(1, in_channels, *([max(32, backbone.min_size)] * spatial_dims))
            channels = [scale.shape[1] for scale in backbone.eval().pyramid(example)]
        backbone.train(training)
        self.backbone = backbone
        self.lateral = nn.ModuleList([convolution(count, features, 1) for count in channels])
        self.mix = nn.Sequential(
            convolution(features, features, 3, padding=1), nn.GroupNorm(8, features), nn.ReLU(inplace=True)
        )
        self.refine = nn.Sequential(
            convolution(features, features // 2, 3, padding=1), nn.GroupNorm(4, features // 2), nn.ReLU(inplace=True)
        )
        self.image = convolution(features // 2, in_channels, 3, padding=1)
        self.mode = "bilinear" if spatial_dims == 2 else "trilinear"

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, *spatial)`` to the same shape; nothing keeps the values in [0, 1]."""
        maps = self.backbone.pyramid(x)
        total: Tensor = self.lateral[-1](maps[-1])
        for lateral, scale in zip(list(self.lateral)[-2::-1], maps[-2::-1], strict=True):
            total = lateral(scale) + self._resize(total, list(scale.shape[2:]))
        half = self._resize(self.mix(total), [-(-size // 2) for size in x.shape[2:]])
        restored: Tensor = self.image(self._resize(self.refine(half), list(x.shape[2:])))
        return restored

    def _resize(self, x: Tensor, size: list[int]) -> Tensor:
        return functional.interpolate(x, size=size, mode=self.mode, align_corners=False)
