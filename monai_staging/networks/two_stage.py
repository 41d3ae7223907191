"""Both networks of the two-stage detector as one, so that they are one file of weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from monai_staging.networks.nodule import NoduleNetwork
from monai_staging.networks.segmentation import build_segmenter

RARE = -5.0
"""Log-odds of a pixel before anything is learned: lesions are rare, and training need not begin with finding that out
(Lin et al. 2017, arXiv:1708.02002, section 3.3)."""


class TwoStageNetwork(nn.Module):
    """A segmentation network for slices and a classifier for cubes; each is trained, and runs, by itself.

    Args:
        network: of the slices, a name of :data:`monai_staging.networks.segmentation.NETWORKS`.
        width: factor on its channels.
        slices: it sees at once.
        colours: channels of a slice or cube.
        classifier: backbone of the cubes, a name of :data:`monai_staging.networks.backbones.NETWORKS`.
        classifier_width: factor on its channels.
        weights: where the backbone's weights come from, see `monai_staging.networks.pretrained.load_pretrained`.

    Attributes:
        segmenter: (B, colours * slices, X, Y) to log-odds (B, 1, X, Y).
        classifier: (B, 1, colours, Z, Y, X) to log-odds (B, 1).
    """

    def __init__(
        self,
        network: str = "attention_unet",
        width: float = 0.5,
        slices: int = 3,
        colours: int = 1,
        classifier: str = "resnet10",
        classifier_width: float = 0.5,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.segmenter = build_segmenter(network, spatial_dims=2, in_channels=colours * slices, width=width)
        # Two dimensions and few channels: convolutions are about a third faster this way.
        self.segmenter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in self.segmenter.modules():
            # Of attention gates too, where a batch norm takes it away again.
            if isinstance(module, nn.Conv2d) and module.out_channels == 1 and module.bias is not None:
                nn.init.constant_(module.bias, RARE)
        self.classifier = NoduleNetwork(
            classifier,
            in_channels=colours,
            spatial_dims=3,
            width=classifier_width,
            weights=None if weights is None else str(weights),
        )

    def forward(self, slices: Tensor) -> Tensor:
        """The segmenter's log-odds."""
        logits: Tensor = self.segmenter(slices)
        return logits
