"""VGG 11, 13, 16 and 19, with and without batch norm, in two or three dimensions; in two, with torchvision's names."""

from __future__ import annotations

from monai.networks.layers.factories import Conv, Norm, Pool
from torch import nn

from monai_staging.errors import UsageError
from monai_staging.networks.alexnet import PooledClassifier, initialise, scaled

# Convolutions per stage; a max pooling that halves the map ends each (Simonyan and Zisserman 2014, table 1).
STAGES: dict[int, tuple[int, int, int, int, int]] = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
CHANNELS = (64, 128, 256, 512, 512)
# As in AlexNet: torchvision's grid in 2D, a coarser one in 3D (7 x 7 x 7 would make one layer of 719 million weights).
GRID = {2: 7, 3: 2}
# Smallest input along each axis, in pixels, that leaves a feature map of one cell.
MIN_SIZE = 32


def vgg_features(
    depth: int, batch_norm: bool, spatial_dims: int, in_channels: int, width: float
) -> tuple[nn.Sequential, int]:
    """VGG's convolutions, not yet initialised, and the number of channels that come out; arguments as in `VGG`."""
    if depth not in STAGES:
        raise UsageError(f"VGG: depth must be one of {sorted(STAGES)}, found {depth}")
    if spatial_dims not in GRID:
        raise UsageError(f"VGG: spatial_dims must be 2 or 3, found {spatial_dims}")
    conv, pool = Conv[Conv.CONV, spatial_dims], Pool[Pool.MAX, spatial_dims]
    norm = Norm[Norm.BATCH, spatial_dims]
    layers: list[nn.Module] = []
    before = in_channels
    for repeats, channels in zip(STAGES[depth], CHANNELS, strict=True):
        after = scaled(channels, width)
        for _ in range(repeats):
            layers.append(conv(before, after, kernel_size=3, padding=1))
            if batch_norm:
                layers.append(norm(after))
            layers.append(nn.ReLU(inplace=True))
            before = after
        layers.append(pool(kernel_size=2, stride=2))
    return nn.Sequential(*layers), before


class VGG(PooledClassifier):
    """VGG (Simonyan and Zisserman 2014, arXiv:1409.1556), the form that torchvision has.

    With ``spatial_dims=2``, ``in_channels=3`` and ``width=1`` the state dict has torchvision's names and shapes.

    Args:
        depth: 11, 13, 16 or 19: layers with weights.
        batch_norm: a batch norm after every convolution.
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        num_classes: outputs.
        width: factor on every channel count, see `monai_staging.networks.alexnet.scaled`.
        dropout: probability of dropping a unit after each of the first two linear layers.

    Shape:
        input ``(B, in_channels, *spatial)`` of `MIN_SIZE` pixels or more an axis; output ``(B, num_classes)``.
    """

    def __init__(
        self,
        depth: int = 16,
        batch_norm: bool = False,
        spatial_dims: int = 2,
        in_channels: int = 3,
        num_classes: int = 1000,
        width: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.features, self.out_channels = vgg_features(depth, batch_norm, spatial_dims, in_channels, width)
        hidden, grid = scaled(4096, width), GRID[spatial_dims]
        self.avgpool = Pool[Pool.ADAPTIVEAVG, spatial_dims]((grid,) * spatial_dims)
        self.classifier = nn.Sequential(
            nn.Linear(self.out_channels * grid**spatial_dims, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        initialise(self)
