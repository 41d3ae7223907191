"""Pyramid attention: a map of where to look, made at several scales."""

from __future__ import annotations

import torch
from monai.networks.blocks.convolutions import Convolution
from monai.networks.layers.factories import Conv, Pool
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.errors import UsageError

KERNELS = (7, 5, 3)
"""Of the three scales, finest first; the coarser, the smaller."""


class PyramidAttention(nn.Module):
    """Feature pyramid attention (Li, Xiong, An and Wang 2018, arXiv:1805.10180), between an encoder and a decoder.

    The features are halved three times; what is found at each scale is enlarged and added to the next finer one, and
    the sum weighs the features, voxel by voxel. Their mean over all positions is added.

    Args:
        spatial_dims: 2 or 3.
        channels: of the features, which do not change.

    Shape:
        ``(B, channels, *spatial)``, of any size, to the same.

    Raises:
        UsageError: dimensions other than 2 and 3, or fewer than 4 channels.
    """

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        if spatial_dims not in (2, 3) or channels < 4:
            raise UsageError(
                f"PyramidAttention: 2 or 3 dimensions and at least 4 channels; found {spatial_dims} and {channels}"
            )
        inner = channels // 4
        self.linear = "bilinear" if spatial_dims == 2 else "trilinear"
        self.features = Convolution(spatial_dims, channels, channels, kernel_size=1, act="relu", norm="batch")
        # The scales pass through few channels: theirs are the widest kernels.
        inputs = (channels, inner, inner)
        self.down = nn.ModuleList(
            Convolution(spatial_dims, wide, inner, kernel_size=kernel, act="relu", norm="batch")
            for wide, kernel in zip(inputs, KERNELS, strict=True)
        )
        self.refine = nn.ModuleList(
            Convolution(spatial_dims, inner, inner, kernel_size=kernel, act="relu", norm="batch") for kernel in KERNELS
        )
        self.halve = Pool[Pool.MAX, spatial_dims](kernel_size=2, ceil_mode=True)
        self.weigh = Conv[Conv.CONV, spatial_dims](inner, channels, kernel_size=1)
        self.whole = nn.Sequential(
            Pool[Pool.ADAPTIVEAVG, spatial_dims](1), Conv[Conv.CONV, spatial_dims](channels, channels, kernel_size=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The weighed features."""
        scales, sizes = [], []
        coarser = x
        for down in self.down:
            sizes.append(coarser.shape[2:])
            coarser = down(self.halve(coarser))
            scales.append(coarser)
        attention: Tensor | None = None
        for refine, scale, size in reversed(list(zip(self.refine, scales, sizes, strict=True))):
            found = refine(scale)
            attention = found if attention is None else attention + found
            attention = functional.interpolate(attention, size=size, mode=self.linear, align_corners=False)
        weighed: Tensor = self.features(x) * torch.sigmoid(self.weigh(attention)) + self.whole(x)
        return weighed
