"""AlexNet in two or three dimensions; in two, with torchvision's state-dict names and shapes."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv, Pool
from torch import nn

from monai_staging.errors import UsageError

# The classifier sees a grid of this many cells per axis. Torchvision's 6 is kept in 2D, so that its weights fit; in 3D
# 6 x 6 x 6 would make the first linear layer alone 226 million weights, so the grid is coarser there.
GRID = {2: 6, 3: 2}
# Smallest input along each axis, in pixels, that leaves a feature map of one cell.
MIN_SIZE = 63


def scaled(channels: int, width: float) -> int:
    """``channels`` times ``width``, to the nearest multiple of eight and at least eight.

    Tensor cores and channels-last kernels want multiples of eight; every unscaled channel count here already is one.
    """
    if not width > 0:
        raise UsageError(f"Network width: a factor above 0 is needed, found {width}")
    return max(8, int(channels * width / 8 + 0.5) * 8)


def initialise(module: nn.Module) -> None:
    """Kaiming initialisation for networks that may have no normalisation (He et al. 2015, arXiv:1502.01852).

    ``fan_in`` keeps the activations' scale from layer to layer, so that a VGG19 without batch norm starts with features
    of the same scale as its input and can be trained from scratch.
    """
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Conv3d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, (nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def alexnet_features(spatial_dims: int, in_channels: int, width: float) -> tuple[nn.Sequential, int]:
    """AlexNet's convolutions, not yet initialised, and their output channels; arguments as in `AlexNet`."""
    if spatial_dims not in GRID:
        raise UsageError(f"AlexNet: spatial_dims must be 2 or 3, found {spatial_dims}")
    conv, pool = Conv[Conv.CONV, spatial_dims], Pool[Pool.MAX, spatial_dims]
    c1, c2, c3, c4, c5 = (scaled(c, width) for c in (64, 192, 384, 256, 256))
    layers = nn.Sequential(
        conv(in_channels, c1, kernel_size=11, stride=4, padding=2),
        nn.ReLU(inplace=True),
        pool(kernel_size=3, stride=2),
        conv(c1, c2, kernel_size=5, padding=2),
        nn.ReLU(inplace=True),
        pool(kernel_size=3, stride=2),
        conv(c2, c3, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        conv(c3, c4, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        conv(c4, c5, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        pool(kernel_size=3, stride=2),
    )
    return layers, c5


class PooledClassifier(nn.Module):
    """Convolutions, a grid of fixed size, linear layers: as in AlexNet and VGG, by torchvision's names."""

    features: nn.Module
    avgpool: nn.Module
    classifier: nn.Module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class scores ``(B, num_classes)`` of images ``(B, in_channels, *spatial)``."""
        x = torch.flatten(self.avgpool(self.features(x)), 1)
        scores: torch.Tensor = self.classifier(x)
        return scores


class AlexNet(PooledClassifier):
    """AlexNet as in "One weird trick" (Krizhevsky 2014, arXiv:1404.5997), the form that torchvision has.

    With ``spatial_dims=2``, ``in_channels=3`` and ``width=1`` the state dict has torchvision's names and shapes.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        num_classes: outputs.
        width: factor on every channel count, see `scaled`.
        dropout: probability of dropping a unit before each of the first two linear layers.

    Shape:
        input ``(B, in_channels, *spatial)`` of `MIN_SIZE` pixels or more an axis; output ``(B, num_classes)``.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int = 1000,
        width: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.features, self.out_channels = alexnet_features(spatial_dims, in_channels, width)
        hidden, grid = scaled(4096, width), GRID[spatial_dims]
        self.avgpool = Pool[Pool.ADAPTIVEAVG, spatial_dims]((grid,) * spatial_dims)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(self.out_channels * grid**spatial_dims, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, num_classes),
        )
        initialise(self)
