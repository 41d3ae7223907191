"""The encoder of MONAI's SegResNet."""

from __future__ import annotations

import torch
from monai.networks.nets.segresnet_ds import SegResEncoder

from monai_staging.errors import UsageError
from monai_staging.networks.alexnet import scaled

# As in CT-FM: 32 channels at first, twice as many on each of five levels.
FILTERS = 32
BLOCKS = (1, 2, 2, 4, 4)


class SegResNetFeatures(SegResEncoder):
    """MONAI's ``SegResEncoder`` (Myronenko 2018, arXiv:1810.11654) with the settings of CT-FM and its state-dict names.

    CT-FM (Pai et al. 2025, arXiv:2501.09001): ``init_filters=32``, ``blocks_down=(1, 2, 2, 4, 4)``, batch norm.

    Args:
        spatial_dims: 2 or 3; CT-FM's weights are for 3.
        in_channels: channels of the input; CT-FM has 1.
        width: factor on every channel count, see `monai_staging.networks.alexnet.scaled`.

    Shape:
        input ``(B, in_channels, *spatial)``; output ``(B, out_channels, *spatial / 16)``, rounded up.
    """

    def __init__(self, spatial_dims: int = 3, in_channels: int = 1, width: float = 1.0) -> None:
        if spatial_dims not in (2, 3):
            raise UsageError(f"SegResNet: spatial_dims must be 2 or 3, found {spatial_dims}")
        filters = scaled(FILTERS, width)
        super().__init__(spatial_dims, filters, in_channels, blocks_down=BLOCKS)
        self.out_channels = filters * 2 ** (len(BLOCKS) - 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """The last feature map, ``(B, out_channels, *small)``."""
        return self._forward(x)[-1]
