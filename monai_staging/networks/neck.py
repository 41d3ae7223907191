"""From a backbone's pyramid to one map: fine enough for small lesions, wide enough to know where it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.networks.backbones import Backbone

SCALES = 3


class PyramidNeck(nn.Module):
    """Brings the last three scales of a backbone to the finest of them and adds them up (after Lin et al., 2017).

    Args:
        backbone: gives the pyramid; its channel counts are read off a small example.
        spatial_dims: 2 or 3.
        in_channels: of the backbone's input.
        features: channels of the result.
    """

    def __init__(self, backbone: Backbone, spatial_dims: int, in_channels: int, features: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
        training = backbone.training
        with torch.no_grad():
            # In evaluation mode, so that batch norm's statistics stay as they are.
            example = torch.zeros(1, in_channels, *([max(32, backbone.min_size)] * spatial_dims))
            channels = [scale.shape[1] for scale in backbone.eval().pyramid(example)[-SCALES:]]
        backbone.train(training)
        self.lateral = nn.ModuleList([convolution(count, features, 1) for count in channels])
        self.norm = nn.GroupNorm(8, features)
        self.mix = convolution(features, features, 3, padding=1)
        self.mode = "bilinear" if spatial_dims == 2 else "trilinear"

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps the pyramid to (B, features, *spatial of its third-last scale)."""
        maps = maps[-SCALES:]
        size = maps[0].shape[2:]
        total: Tensor = self.lateral[0](maps[0])
        for lateral, scale in zip(list(self.lateral)[1:], maps[1:], strict=True):
            total = total + functional.interpolate(lateral(scale), size=size, mode=self.mode, align_corners=False)
        mixed: Tensor = self.mix(functional.gelu(self.norm(total)))
        return functional.gelu(mixed + total)
