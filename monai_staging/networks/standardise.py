"""What a network without normalisation wants of its input: every channel around 0, and of one scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_staging.errors import UsageError


class Standardise(nn.Module):
    """``(x - mean) / std``, channel by channel; a setting, which no state dict holds.

    Args:
        statistics: (mean, standard deviation) of each channel, or of all where there is one.
        channels: of the image.

    Raises:
        UsageError: neither one pair nor one a channel, or a deviation that is not above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, statistics: Sequence[Sequence[float]], channels: int) -> None:
        super().__init__()
        pairs = [tuple(float(value) for value in pair) for pair in statistics]
        if len(pairs) not in (1, channels) or any(len(pair) != 2 or not pair[1] > 0 for pair in pairs):
            raise UsageError(
                f"Image statistics: (mean, deviation above 0) for each of {channels} channels is needed, found {pairs}"
            )
        for name, values in zip(("mean", "std"), zip(*pairs, strict=True), strict=True):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, *spatial)`` to the same shape."""
        shape = (1, -1, *[1] * (x.dim() - 2))
        return (x - self.mean.view(shape)) / self.std.view(shape)
