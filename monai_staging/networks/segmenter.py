"""What every segmentation network is: an image goes in, log-odds of the foreground come out, voxel by voxel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class SegmentationOutput(NamedTuple):
    """What a network says of a batch of B images.

    Attributes:
        logits: ``(B, 1, *spatial)`` log-odds of the foreground.
        deep: ``(B, S, 1, *spatial)`` log-odds of S coarser levels of the decoder, finest first, for deep supervision; S
            may be 0, and is in evaluation mode.
        gates: ``(B, G, *spatial)`` of G attention gates, 0 to 1, finest first; G may be 0.
    """

    logits: Tensor
    deep: Tensor
    gates: Tensor


class Segmenter(nn.Module, ABC):
    """Takes images of any size: the edge is repeated up to a multiple of ``stride``, and cut off again.

    Attributes:
        network: its name, one of `monai_staging.networks.segmentation.NETWORKS`.
        spatial_dims: 2 or 3.
        stride: by how much the coarsest level is smaller.

    Shape:
        ``(B, in_channels, *spatial)`` to ``(B, 1, *spatial)``.
    """

    network: str = ""
    spatial_dims: int
    stride: int

    @abstractmethod
    def compute(self, x: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Log-odds, those of coarser levels, and the gates' maps, of an image whose sizes ``stride`` divides.

        A gate's map may be a power of two smaller; everything else is of the image's size.
        """

    def forward(self, x: Tensor, details: bool = False) -> Tensor | SegmentationOutput:
        """Log-odds; with ``details`` the levels for deep supervision and the gates as well."""
        size = x.shape[2:]
        padded = [-length % self.stride for length in size]
        if any(padded):
            # Pairs of (before, after), the last axis first.
            pairs = [amount for length in reversed(padded) for amount in (length // 2, length - length // 2)]
            x = functional.pad(x, pairs, mode="replicate")

        def cropped(found: Tensor) -> Tensor:
            for axis, (length, kept) in enumerate(zip(padded, size, strict=True), start=-len(size)):
                found = found.narrow(axis, length // 2, kept)
            return found

        logits, deep, gates = self.compute(x)
        logits = cropped(logits)
        if not details:
            return logits
        maps = [_enlarged(gate, x.shape[2] // gate.shape[2]) for gate in gates]
        return SegmentationOutput(
            logits,
            torch.stack([cropped(level) for level in deep], dim=1) if deep else logits[:, None][:, :0],
            cropped(torch.cat(maps, dim=1)) if maps else logits[:, :0],
        )


def _enlarged(gate: Tensor, step: int) -> Tensor:
    """A gate's map (B, 1, *spatial) ``step`` times as large, its cells where the network's convolutions are centred.

    Odd kernels, padded by half and moved by two pixels, are centred on every second pixel, the first on the first;
    interpolation that takes cells for squares of pixels would draw them half a cell further on.
    """
    size = [step * (length - 1) + 1 for length in gate.shape[2:]]
    mode = "bilinear" if len(size) == 2 else "trilinear"
    between = functional.interpolate(gate, size=size, mode=mode, align_corners=True)
    return functional.pad(between, [0, step - 1] * len(size), mode="replicate")
