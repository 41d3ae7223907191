"""A backbone, its map averaged over space, and a head on that: a classifier or a projection."""

from __future__ import annotations

from torch import Tensor, nn

from monai_staging.networks.backbones import Backbone


class PooledNetwork(nn.Module):
    """One vector an image.

    Args:
        backbone: gives the feature map.
        outputs: length of the vector.
        hidden: features of a layer in between with ReLU, as in SimCLR's projection head; ``None`` for a linear head.
        dropout: probability, before the head.
    """

    def __init__(self, backbone: Backbone, outputs: int, hidden: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        layers: list[nn.Module] = [nn.Dropout(dropout)] if dropout else []
        if hidden is not None:
            layers += [nn.Linear(backbone.out_channels, hidden), nn.ReLU(inplace=True)]
        self.head = nn.Sequential(*layers, nn.Linear(hidden or backbone.out_channels, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, *spatial)`` to ``(B, outputs)``."""
        vector: Tensor = self.head(self.backbone(x).flatten(2).mean(dim=2))
        return vector
