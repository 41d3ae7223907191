"""The ResNet-50 of twice the width that cancer-imaging foundation models are."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from monai_staging.networks.resnet import ResNetFeatures


class WideResNetFeatures(ResNetFeatures):
    """ResNet-50 with twice the channels in every layer, and biases in its shortcuts.

    The form of FMCIB (Pai et al. 2024, doi:10.1038/s42256-024-00807-9): MONAI's ``resnet50`` with ``widen_factor=2``,
    ``conv1_t_stride=2``, ``bias_downsample=True`` and no head, under the same state-dict names. Not torchvision's
    ``wide_resnet50_2``, which is wider inside the bottlenecks only.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        width: further factor on every channel count, see `monai_staging.networks.alexnet.scaled`.

    Shape:
        input ``(B, in_channels, *spatial)``; output ``(B, 4096, *spatial / 32)``, rounded up.
    """

    def __init__(self, spatial_dims: int = 3, in_channels: int = 1, width: float = 1.0) -> None:
        super().__init__(50, spatial_dims, in_channels, 2 * width)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            # ResNetFeatures goes by MedicalNet, whose shortcuts of this depth have none.
            shortcut: Any = stage[0].downsample
            shortcut[0].bias = nn.Parameter(torch.zeros(shortcut[0].out_channels))
