"""The three-layer network for mitosis tiles (Pearce 2017), which also goes over a whole slide in one pass."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from monai_staging.errors import UsageError


class TileClassifier(nn.Module):
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

    Attributes:
        stride: pixels of the image to one logit.

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
            nn.Conv2d(before, affine, tile // self.stride),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(affine, 1, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to logits (B, 1, H', W') with H' = (H - tile) / stride + 1: (B, 1, 1, 1) for tiles."""
        logits: Tensor = self.head(self.features(image))
        return logits
