"""Networks that say of each slice of a study what it shows: one a sector as published, and one for the whole study."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.neck import PyramidNeck

CONTEXTS = ("recurrent", "attention", "none")


class SliceOutput(NamedTuple):
    """What is said of B studies or stretches of S slices each.

    Attributes:
        logits: (B, S, classes) of each slice.
        cells: (B, S, classes, h, w) of each cell of its map; of no cells where a network has no map.
    """

    logits: Tensor
    cells: Tensor


class SectorNetworks(nn.Module):
    """A network for each sector of the body, from foot to head (LeJeune et al.).

    With frozen features the backbones of all sectors are one and the same, and are kept once: what a sector has of its
    own is the linear layer over it. Otherwise each sector has a backbone too.

    Args:
        sectors: into how many parts of equal height the study is cut.
        classes: of a slice.
        network: name of the backbone, one of ``monai_staging.networks.backbones.NETWORKS``.
        in_channels: of the slices.
        width: scales the backbone's channels.
        weights: where the backbone's weights come from, see :func:`monai_staging.networks.pretrained.load_pretrained`.
        frozen: whether the backbone stays as it is.

    Raises:
        UsageError: no sector, or frozen features without weights: nothing would ever be learned by them.
    """

    def __init__(
        self,
        sectors: int = 1,
        classes: int = 3,
        network: str = "resnet50",
        in_channels: int = 1,
        width: float = 1.0,
        weights: str | None = None,
        frozen: bool = True,
    ) -> None:
        super().__init__()
        if sectors < 1:
            raise UsageError(f"SectorNetworks: at least 1 sector is needed, found {sectors}")
        if frozen and weights is None:
            raise UsageError(
                "SectorNetworks: frozen features need weights to start from, found none; give --backbone_weights a "
                "file, a published name or an MLflow URI, or --frozen false"
            )
        self.sectors, self.classes, self.frozen = sectors, classes, frozen
        backbones = [
            build_backbone(network, in_channels=in_channels, width=width, weights=weights)
            for _ in range(1 if frozen else sectors)
        ]
        self.backbones = nn.ModuleList(backbones)
        if frozen:
            self.backbones.requires_grad_(False)
        self.heads = nn.ModuleList(nn.Linear(backbones[0].out_channels, classes) for _ in range(sectors))

    def train(self, mode: bool = True) -> SectorNetworks:
        """Frozen features keep the statistics of their normalisation too."""
        super().train(mode)
        if self.frozen:
            self.backbones.eval()
        return self

    def forward(self, images: Tensor, height: Tensor | None = None, details: bool = False) -> Tensor | SliceOutput:
        """Logits (B, S, classes).

        Args:
            images: (B, S, C, H, W), 0 to 1.
            height: (B, S) from 0 at the study's foot to 1 at its head; of whole studies it may be left out.
            details: give all of :class:`SliceOutput`.
        """
        slices = images.flatten(0, 1)
        height = _whole(images) if height is None else height
        sector = (height.flatten() * self.sectors).long().clamp(0, self.sectors - 1)
        # Not len(): a traced network would keep the example's.
        logits = slices.new_zeros(slices.shape[0], self.classes, dtype=torch.float32)
        shared = self._features(self.backbones[0], slices) if self.frozen else None
        for index in sector.unique().tolist():
            own = sector == index
            features = shared[own] if shared is not None else self._features(self.backbones[index], slices[own])
            logits[own] = self.heads[index](features).float()
        found = logits.reshape(*images.shape[:2], self.classes)
        return SliceOutput(found, found.new_zeros(*images.shape[:2], self.classes, 0, 0)) if details else found

    def _features(self, backbone: nn.Module, slices: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features: Tensor = backbone(slices).flatten(2).mean(dim=2)
        return features


class SliceSelector(nn.Module):
    """One network for the whole study: looks at each slice, knows how high it lies, and listens to its neighbours.

    A small map of every slice says of each cell what it shows. Attention by how much a cell looks like a nodule pools
    the map, so that a nodule of three pixels is not averaged away; the height in the body is added; a recurrence along
    the study, or attention, or nothing, joins the slices. A nodule goes on for some slices, a vessel for many.

    Args:
        classes: of a slice, the first for what shows nothing.
        network: name of the backbone, one of ``monai_staging.networks.backbones.NETWORKS``.
        in_channels: of the slices.
        width: scales the backbone's channels.
        features: of the map and of a slice.
        context: ``recurrent`` (a gated recurrence in both directions), ``attention`` (a transformer's layer) or
            ``none``.
        dropout: of a slice's features, before the context and after it.
        weights: where the backbone's weights come from, see :func:`monai_staging.networks.pretrained.load_pretrained`.

    Raises:
        UsageError: another context, or features that cannot be halved into heads.
    """

    HEADS = 4
    # Log-odds of a cell to begin with: most show nothing.
    RARE = 4.0

    def __init__(
        self,
        classes: int = 3,
        network: str = "resnet10",
        in_channels: int = 2,
        width: float = 0.3125,
        features: int = 64,
        context: str = "recurrent",
        dropout: float = 0.2,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if context not in CONTEXTS or features % (2 * self.HEADS):
            raise UsageError(
                f"SliceSelector: one of {', '.join(CONTEXTS)} and features that are a multiple of {2 * self.HEADS} are "
                f"needed, found {context!r} and {features}"
            )
        self.classes, self.kind = classes, context
        self.backbone = build_backbone(network, in_channels=in_channels, width=width, weights=weights)
        self.neck = PyramidNeck(self.backbone, 2, in_channels, features)
        self.cell = nn.Conv2d(features, classes, 1)
        nn.init.zeros_(self.cell.weight)
        self.cell.bias = nn.Parameter(torch.tensor([self.RARE, *[0.0] * (classes - 1)]))
        self.token = nn.Linear(features + classes, features)
        self.place = nn.Sequential(nn.Linear(1, features), nn.GELU(), nn.Linear(features, features))
        self.norm = nn.LayerNorm(features)
        self.context: nn.Module | None = None
        if context == "recurrent":
            self.context = nn.GRU(features, features // 2, batch_first=True, bidirectional=True)
        elif context == "attention":
            self.context = nn.TransformerEncoderLayer(
                features, self.HEADS, 2 * features, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
            )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)

    def forward(self, images: Tensor, height: Tensor | None = None, details: bool = False) -> Tensor | SliceOutput:
        """Logits (B, S, classes).

        Args:
            images: (B, S, C, H, W), 0 to 1: neighbouring slices from foot to head.
            height: (B, S) from 0 at the study's foot to 1 at its head; of whole studies it may be left out.
            details: give all of :class:`SliceOutput`.
        """
        maps = self.neck(self.backbone.pyramid(images.flatten(0, 1)))
        cells = self.cell(maps).float()
        shape = (*images.shape[:2], self.classes, *cells.shape[2:])
        with torch.autocast(images.device.type, enabled=False):
            flat = cells.flatten(2)
            odds = torch.logsumexp(flat[:, 1:], dim=1) - flat[:, 0]
            weights = torch.softmax(odds, dim=1)
            pooled = (maps.float().flatten(2) * weights[:, None]).sum(dim=2)
            # The evidence of the worst cells: what a class's best cell says against nothing.
            evidence = torch.cat([odds.amax(dim=1, keepdim=True), (flat[:, 1:] - flat[:, :1]).amax(dim=2)], dim=1)
            tokens = self.token(torch.cat([pooled, evidence / self.RARE], dim=1)).reshape(*images.shape[:2], -1)
            height = _whole(images) if height is None else height
            # From -2 to 2, about the spread of the features.
            tokens = self.norm(tokens + self.place(4 * height[..., None].float() - 2))
            logits = self.head(self.dropout(self._joined(self.dropout(tokens))))
        return SliceOutput(logits, cells.reshape(shape)) if details else logits

    def _joined(self, tokens: Tensor) -> Tensor:
        if self.context is None:
            return tokens
        if self.kind == "recurrent":
            joined: Tensor = tokens + self.context(tokens)[0]
            return joined
        place = torch.arange(tokens.shape[1], device=tokens.device)[:, None]
        rates = torch.exp(
            -math.log(100.0) * torch.arange(0, tokens.shape[2], 2, device=tokens.device) / tokens.shape[2]
        )
        waves = torch.cat([torch.sin(place * rates), torch.cos(place * rates)], dim=1)
        attended: Tensor = self.context(tokens + 0.5 * waves)
        return attended


def _whole(images: Tensor) -> Tensor:
    """(B, S) heights of slices that are spread over whole studies."""
    count = images.shape[1]
    return ((torch.arange(count, device=images.device) + 0.5) / count).expand(images.shape[:2])
