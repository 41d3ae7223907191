"""MONAI's ResNet without its head: the last feature map comes out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.networks.nets.resnet import ResNet
from torch import nn
from torch.nn import functional

from monai_staging.errors import UsageError
from monai_staging.networks.alexnet import scaled


@dataclass(frozen=True)
class ResNetLayout:
    """What tells one ResNet from another.

    Attributes:
        block: ``"basic"`` (two convolutions) or ``"bottleneck"`` (three, four times the channels out).
        layers: blocks per stage.
        shortcut: MedicalNet's shortcut in 3D: ``"A"`` (subsample and pad with zeros) or ``"B"`` (1x1 convolution).
        bias_downsample: MedicalNet's flag for that convolution; of no effect with ``"A"``.
    """

    block: str
    layers: tuple[int, int, int, int]
    shortcut: str
    bias_downsample: bool


LAYOUTS = {
    10: ResNetLayout("basic", (1, 1, 1, 1), "B", False),
    18: ResNetLayout("basic", (2, 2, 2, 2), "A", True),
    34: ResNetLayout("basic", (3, 4, 6, 3), "A", True),
    50: ResNetLayout("bottleneck", (3, 4, 6, 3), "B", False),
}
CHANNELS = (64, 128, 256, 512)
EXPANSION = {"basic": 1, "bottleneck": 4}


class PadShortcut(nn.Module):
    """Shortcut A (He et al. 2015, arXiv:1512.03385): subsampled, new channels filled with zeros; no weights.

    MONAI's own is a closure over ``x.data``: no gradient passes through it, tracing freezes the example's values in its
    place (the traced network is then wrong for every other input), and scripting refuses it. The output is the same.

    Args:
        channels: channels out, not fewer than in.
        stride: along every axis.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels = channels
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, *spatial) to (B, channels, *spatial / stride), rounded up."""
        if x.dim() == 4:
            x = x[:, :, :: self.stride, :: self.stride]
        else:
            x = x[:, :, :: self.stride, :: self.stride, :: self.stride]
        new = [0, 0] * (x.dim() - 2) + [0, self.channels - x.shape[1]]
        return functional.pad(x, new)


class ResNetFeatures(ResNet):
    """MONAI's ResNet with a stride of 2 in the first convolution and no head; returns the last feature map.

    In 3D the shortcuts are MedicalNet's (Chen et al. 2019, arXiv:1904.00625), so that its weights fit: kind A for 18
    and 34 (`PadShortcut`), kind B for 10 and 50. MedicalNet has nothing in 2D, so there every shortcut is kind B
    without bias, which gives 18, 34 and 50 the state-dict names and shapes that torchvision's have.

    Args:
        depth: 10, 18, 34 or 50.
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        width: factor on every channel count, see `monai_staging.networks.alexnet.scaled`.

    Shape:
        input ``(B, in_channels, *spatial)``; output ``(B, out_channels, *spatial / 32)``, rounded up.
    """

    def __init__(self, depth: int, spatial_dims: int = 2, in_channels: int = 3, width: float = 1.0) -> None:
        if depth not in LAYOUTS:
            raise UsageError(f"ResNet: depth must be one of {sorted(LAYOUTS)}, found {depth}")
        if spatial_dims not in (2, 3):
            raise UsageError(f"ResNet: spatial_dims must be 2 or 3, found {spatial_dims}")
        layout = LAYOUTS[depth]
        channels = [scaled(c, width) for c in CHANNELS]
        shortcut = layout.shortcut if spatial_dims == 3 else "B"
        super().__init__(
            block=layout.block,
            layers=list(layout.layers),
            block_inplanes=channels,
            spatial_dims=spatial_dims,
            n_input_channels=in_channels,
            conv1_t_stride=2,
            shortcut_type=shortcut,
            feed_forward=False,
            bias_downsample=layout.bias_downsample if spatial_dims == 3 else False,
        )
        self.out_channels = channels[-1] * EXPANSION[layout.block]
        if shortcut == "A":
            stages = ((self.layer2, channels[1]), (self.layer3, channels[2]), (self.layer4, channels[3]))
            for stage, after in stages:
                stage[0].downsample = PadShortcut(after * EXPANSION[layout.block], stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last feature map, ``(B, out_channels, *small)``."""
        x = self.maxpool(self.act(self.bn1(self.conv1(x))))
        features: torch.Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return features
