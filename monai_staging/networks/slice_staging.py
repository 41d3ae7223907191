"""A plain staging network: a backbone over the axial slices, gated attention over them, a linear layer per letter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from monai_staging.networks.attention import GatedAttentionPool
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.letter_classes import letter_classes
from monai_staging.networks.staging import LETTERS, StagingOutput


class SliceStagingNetwork(nn.Module):
    """T, N and M of a study as a classifier of images alone learns them.

    Each slice is an image for the backbone, whose map is averaged over space. As a label is a patient's, not a slice's,
    gated attention (Ilse et al., 2018, arXiv:1802.04712) weighs the slices once per letter. There is no lesion map, no
    size and no rule of the classification in it: what :class:`~monai_staging.networks.staging.StagingNetwork` has
    beyond this is what it is compared for.

    Args:
        network: name of the backbone, one of ``monai_staging.networks.backbones.NETWORKS``.
        classes: categories per letter, ``{"t": [...], "n": [...], "m": [...]}``.
        in_channels: HU windows per slice.
        width: scales the backbone's channels.
        hidden: units of the attention.
        dropout: before the linear layers.
        weights: where the backbone's initial weights come from, see
            :func:`monai_staging.networks.pretrained.load_pretrained`.
        channels_last: runs the backbone in channels-last memory, faster on most hardware.
        statistics: (mean, deviation) of each window, see :func:`monai_staging.networks.backbones.build_backbone`.

    Raises:
        UsageError: a letter without classes, a backbone that is not known, or statistics of other windows.
    """

    def __init__(
        self,
        network: str,
        classes: Mapping[str, Sequence[str]],
        in_channels: int = 3,
        width: float = 1.0,
        hidden: int = 64,
        dropout: float = 0.5,
        weights: str | None = None,
        channels_last: bool = True,
        statistics: Sequence[Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        self.classes = letter_classes(classes, "SliceStagingNetwork")
        self.backbone = build_backbone(
            network, in_channels=in_channels, width=width, weights=weights, statistics=statistics
        )
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        features = self.backbone.out_channels
        # The backbones' features differ in scale by what normalisation they have.
        self.norm = nn.LayerNorm(features)
        self.pool = GatedAttentionPool(features, hidden=hidden, heads=len(LETTERS))
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict({letter: nn.Linear(features, len(self.classes[letter])) for letter in LETTERS})

    def details(self, image: Tensor) -> StagingOutput:
        """Logits and attention; of a lesion map nothing: no groups, and either side as likely.

        Args:
            image: (B, C, X, Y, S) windowed HU in 0..1 on an RAS grid.
        """
        batch, slices = image.shape[0], image.shape[-1]
        maps = self.backbone(image.permute(0, 4, 1, 2, 3).flatten(0, 1))
        features = self.norm(maps.flatten(2).mean(dim=2)).reshape(batch, slices, -1)
        pooled, attention = self.pool(features)
        pooled = self.dropout(pooled)
        logits = [head(pooled[:, place]).float() for place, head in enumerate(self.heads.values())]
        nothing = image.new_zeros(batch, 0, 1, 1, slices)
        side = image.new_full((batch, 2), 0.5)
        return StagingOutput(torch.cat(logits, dim=1), attention, nothing, nothing, side)

    def forward(self, image: Tensor, clinical: Tensor | None = None, details: bool = False) -> Tensor | StagingOutput:
        """Logits (B, classes of T + N + M), or all of :class:`StagingOutput` where ``details`` is set.

        ``clinical`` is what other staging networks take beside the image, and plays no part.
        """
        output = self.details(image)
        return output if details else output.logits
