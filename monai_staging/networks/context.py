"""What lies above and below: mixing of tokens and map cells along the slice axis."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SliceContext(nn.Module):
    """Lets a slice see its neighbours: residual depthwise convolution along the slice axis, then a pointwise mixing.

    Args:
        features: size F of a slice's token.
        kernel: how many slices are seen together, odd.
    """

    def __init__(self, features: int, kernel: int = 5) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.depthwise = nn.Conv1d(features, features, kernel, padding=kernel // 2, groups=features)
        self.pointwise = nn.Linear(features, features)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps (B, S, F) to (B, S, F)."""
        mixed = self.depthwise(self.norm(tokens).transpose(1, 2)).transpose(1, 2)
        return tokens + self.pointwise(functional.gelu(mixed))


class MapContext(nn.Module):
    """Lets a cell know where in the scan it lies and see the same place in neighbouring slices.

    A vessel goes on there, a nodule ends; and a dark spot is a metastasis in the liver, nothing in the stomach. A
    convolution alone knows no place, so that a learned embedding of the cell's place is added first (Liu et al., 2018,
    CoordConv, arXiv:1807.03247).

    Args:
        features: channels F of the map.
        kernel: how many slices are seen together, odd.
    """

    def __init__(self, features: int, kernel: int = 5) -> None:
        super().__init__()
        self.place = nn.Sequential(nn.Linear(3, features), nn.GELU(), nn.Linear(features, features))
        self.norm = nn.LayerNorm(features)
        # Over the (slices, cells of a slice) plane: depthwise 3-D convolutions have no fast CPU implementation.
        self.depthwise = nn.Conv2d(features, features, (kernel, 1), padding=(kernel // 2, 0), groups=features)
        self.widen = nn.Linear(features, 2 * features)
        self.pointwise = nn.Linear(2 * features, features)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, S, X, Y, F) to (B, S, X, Y, F)."""
        slices, columns, rows = maps.shape[1:4]
        # From -2 to 2, about the spread of the features; one cell alone lies in the middle.
        axes = [torch.linspace(-2, 2, n, device=maps.device) * (n > 1) for n in (slices, columns, rows)]
        maps = maps + self.place(torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1))
        mixed = self.depthwise(self.norm(maps).flatten(2, 3).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return maps + self.pointwise(functional.gelu(self.widen(mixed))).reshape(maps.shape)
