"""Attention U-Net, with its gates' maps at hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks.convolutions import Convolution
from monai.networks.layers.factories import Conv
from monai.networks.nets.attentionunet import AttentionBlock, ConvBlock, UpConv
from torch import Tensor, nn

from monai_staging.networks.pyramid_attention import PyramidAttention
from monai_staging.networks.segmenter import Segmenter


class AttentionGate(AttentionBlock):
    """MONAI's gate, which also says what it let through."""

    def forward(self, g: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # the map as well
        """The gated features of ``x`` (B, C, *spatial), and the gate (B, 1, *spatial), by the coarser level's ``g``."""
        gate = self.psi(self.relu(self.W_g(g) + self.W_x(x)))
        return x * gate, gate


class AttentionUNet(Segmenter):
    """The Attention U-Net (Oktay et al. 2018, arXiv:1804.03999) of MONAI's blocks, without its recursion.

    Computes what MONAI's ``AttentionUnet`` does.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        channels: of each level, finest first; each level is half as large as the one before.
        pyramid: weigh the coarsest features by :class:`~monai_staging.networks.pyramid_attention.PyramidAttention`.
        dropout: within the blocks.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        channels: Sequence[int],
        pyramid: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.stride = 2 ** (len(channels) - 1)
        pairs = list(zip(channels[:-1], channels[1:], strict=True))
        self.head = ConvBlock(spatial_dims, in_channels, channels[0], dropout=dropout)
        self.encoder = nn.ModuleList(
            ConvBlock(spatial_dims, fine, coarse, strides=2, dropout=dropout) for fine, coarse in pairs
        )
        self.neck = PyramidAttention(spatial_dims, channels[-1]) if pyramid else nn.Identity()
        self.up = nn.ModuleList(UpConv(spatial_dims, coarse, fine) for fine, coarse in pairs)
        self.gates = nn.ModuleList(AttentionGate(spatial_dims, fine // 2, fine, fine) for fine, _ in pairs)
        self.merge = nn.ModuleList(Convolution(spatial_dims, 2 * fine, fine, dropout=dropout) for fine, _ in pairs)
        self.last = Conv[Conv.CONV, spatial_dims](channels[0], 1, kernel_size=1)

    def compute(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Log-odds and the gates of all levels, finest first."""
        levels = [self.head(x)]
        for block in self.encoder:
            levels.append(block(levels[-1]))
        found = self.neck(levels.pop())
        maps: list[Tensor] = []
        for up, gate, merge in reversed(list(zip(self.up, self.gates, self.merge, strict=True))):
            found = up(found)
            passed, shown = gate(found, levels.pop())
            maps.append(shown)
            found = merge(torch.cat((passed, found), dim=1))
        return self.last(found), [], maps[::-1]
