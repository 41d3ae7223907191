"""Networks for mitoses that give a map of log-odds: the three-layer one of tiles (Pearce 2017), and ours on a pyramid.

Both go over any part of a slide in one pass, see :class:`monai_staging.histology.slide_pass.SlidePass`. What it needs
to know of a network is how its cells lie on the image: cell (i, j) is what it says of a tile of ``tile`` pixels along
each side whose upper left corner is (``stride`` i, ``stride`` j).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.large_kernel import LargeKernelConv2d
from monai_staging.networks.pooled import PooledNetwork
from monai_staging.networks.retinanet import FPNExtractor, pyramid_shapes

FINEST = 4
"""Pixels to a cell of the map, at least: a micrometre, of which a mitosis has ten."""
RARE_LOGIT = -math.log(99)
"""What a map says before it has learned anything: one cell in a hundred."""


class TileMap(nn.Module):
    """A network that gives a map.

    Attributes:
        tile: pixels along each side that a cell is about.
        stride: pixels from one cell to the next.
        halo: cells at the edge of a map that would be others if more of the image were there.
        multiple: what an image's sides are multiples of.
    """

    tile: int
    stride: int
    halo: int
    multiple: int


class TileClassifier(TileMap):
    """Blocks of two convolutions and a pooling, one affine layer with dropout, and one logit.

    As published a block is two convolutions with batch norm and ReLU and a max pooling; two blocks of 128 and 64
    filters of 3 x 3, and 512 affine units were the best of the table. The affine layer is written as a convolution as
    large as what is left of a tile, which is the same for a tile; on a larger image it gives a logit every
    ``stride`` pixels, each that of the tile there but for the convolutions' zeros at the tile's edge.

    Args:
        tile: pixels along each side of the tiles it is trained on.
        in_channels: of the image.
        filters: of each block.
        kernel: of the convolutions, odd.
        affine: units of the affine layer.
        dropout: before and after it.

    Raises:
        UsageError: an even kernel, no block, or a tile that cannot be halved once a block.
    """

    def __init__(
        self,
        tile: int = 64,
        in_channels: int = 3,
        filters: Sequence[int] = (128, 64),
        kernel: int = 3,
        affine: int = 512,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.stride = 2 ** len(filters)
        if kernel < 1 or kernel % 2 == 0 or not filters or tile < self.stride or tile % self.stride:
            raise UsageError(
                "TileClassifier: an odd kernel, a block and a tile that can be halved once a block are needed; "
                f"found {kernel}, {list(filters)} and {tile}"
            )
        self.tile, self.multiple = tile, self.stride
        # Of the convolutions' zeros, in pixels of the image: two a block, each of which is twice as large as before.
        reach = sum(2 * (kernel // 2) * 2**block for block in range(len(filters)))
        self.halo = math.ceil(reach / self.stride)
        layers: list[nn.Module] = []
        before = in_channels
        for count in filters:
            for _ in range(2):
                layers += [
                    nn.Conv2d(before, count, kernel, padding=kernel // 2, bias=False),
                    nn.BatchNorm2d(count),
                    nn.ReLU(inplace=True),
                ]
                before = count
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Dropout(dropout),
            LargeKernelConv2d(before, affine, tile // self.stride),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(affine, 1, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, 1, H', W') with H' = (H - tile) / stride + 1: (B, 1, 1, 1) for tiles."""
        logits: Tensor = self.head(self.features(image))
        return logits


class PyramidMap(TileMap):
    """Our network: a backbone's pyramid, merged, and log-odds on its finest map that a mitosis is there.

    Args:
        network: backbone, see `monai_staging.networks.backbones.NETWORKS`.
        in_channels: of the image.
        width: factor on the backbone's channel counts.
        channels: of the merged pyramid, a multiple of 8.
        level: of the pyramid that the map is on, finest first; ``None`` for the first of at most a cell in 4 pixels.
        halo_pixels: so far from an edge of what it sees the map is not to be trusted: as far as the coarsest map looks.
        weights: of the backbone, see `monai_staging.networks.pretrained.load_pretrained`.

    Raises:
        UsageError: an argument out of range.
        DataError: weights that are not there or do not fit.
    """

    def __init__(
        self,
        network: str = "resnet18",
        in_channels: int = 3,
        width: float = 0.5,
        channels: int = 64,
        level: int | None = None,
        halo_pixels: int = 128,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        if halo_pixels < 0:
            raise UsageError(f"PyramidMap: a halo of at least 0 pixels is needed, found {halo_pixels}")
        backbone = build_backbone(network, spatial_dims=2, in_channels=in_channels, width=width, weights=weights)
        strides = [stride for _, stride in pyramid_shapes(backbone, in_channels, spatial_dims=2)]
        if level is None:
            level = next((place for place, stride in enumerate(strides) if stride >= FINEST), len(strides) - 1)
        self.extractor = FPNExtractor(backbone, in_channels, [level], channels, spatial_dims=2)
        self.stride = self.tile = self.extractor.strides[0]
        # Of the coarsest map, so that all maps lie on one another.
        self.multiple = strides[-1]
        side = 2 * self.multiple
        with torch.no_grad():
            found = self.extractor.eval()(torch.zeros(1, in_channels, side, side))[0].shape[-1]
        self.extractor.train()
        if found * self.stride != side:
            raise UsageError(
                f"PyramidMap: a backbone whose cells lie side by side on the image is needed; {network} gives "
                f"{found} for {side} pixels"
            )
        self.halo = math.ceil(halo_pixels / self.stride)
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(channels, 1, 1)
        )
        nn.init.constant_(self.head[-1].bias, RARE_LOGIT)  # type: ignore[arg-type]  # a convolution with bias

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, 1, H / stride, W / stride)."""
        logits: Tensor = self.head(self.extractor(image)[0])
        return logits


class VerifiedMap(TileMap):
    """Two stages as one, so that they are one file of weights; each is trained, and runs, by itself.

    Args:
        finder: gives the map.
        judge: backbone of the classifier of tiles, see `monai_staging.networks.backbones.NETWORKS`.
        in_channels: of the image.
        width: factor on that backbone's channel counts.
        weights: of that backbone, see `monai_staging.networks.pretrained.load_pretrained`.

    Attributes:
        finder: (B, C, H, W) to log-odds (B, 1, H', W').
        judge: (B, C, size, size) to log-odds (B, 1).

    Raises:
        UsageError: an argument out of range.
        DataError: weights that are not there or do not fit.
    """

    def __init__(
        self,
        finder: TileMap,
        judge: str = "resnet10",
        in_channels: int = 3,
        width: float = 0.5,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.finder = finder
        self.tile, self.stride, self.halo, self.multiple = finder.tile, finder.stride, finder.halo, finder.multiple
        backbone = build_backbone(judge, spatial_dims=2, in_channels=in_channels, width=width, weights=weights)
        self.judge = PooledNetwork(backbone, 1)

    def forward(self, image: Tensor) -> Tensor:
        """The finder's map."""
        logits: Tensor = self.finder(image)
        return logits


def build_mitosis_network(
    name: str,
    *,
    in_channels: int = 3,
    width: float = 0.5,
    channels: int = 64,
    tile: int = 64,
    filters: Sequence[int] = (128, 64),
    kernel: int = 3,
    affine: int = 512,
    dropout: float = 0.5,
    weights: str | Path | None = None,
) -> TileMap:
    """A network for mitoses by name: ``tiles``, the published one, or a backbone's.

    Args:
        name: ``tiles`` or one of `monai_staging.networks.backbones.NETWORKS`.
        in_channels: of the image.
        width: of a backbone.
        channels: of its merged pyramid.
        tile: of the published network, likewise the following.
        filters: see :class:`TileClassifier`.
        kernel: likewise.
        affine: likewise.
        dropout: likewise.
        weights: of a backbone.

    Raises:
        UsageError: no such network, or an argument out of range.
        DataError: weights that are not there or do not fit.
    """
    if name == "tiles":
        return TileClassifier(tile, in_channels, filters, kernel, affine, dropout)
    return PyramidMap(name, in_channels, width, channels, weights=weights)
