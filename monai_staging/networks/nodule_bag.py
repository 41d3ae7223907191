"""From a patient's nodules to the patient: noisy-or, the worst nodule, or attention over all of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.errors import UsageError
from monai_staging.networks.attention import GatedAttentionPool
from monai_staging.networks.backbones import Backbone

POOLS = ("noisy_or", "max", "attention")
UNLIKELY = -2.0
"""Log-odds of a cause of a noisy-or before anything is learned: five of them make about even odds."""


class BagOutput(NamedTuple):
    """What is said of B patients.

    Attributes:
        logits: (B, 1) log-odds of the patient.
        nodules: (B, N) log-odds of each nodule for ``noisy_or`` and ``max``, weights of each for ``attention``.
    """

    logits: Tensor
    nodules: Tensor


def noisy_or(logits: Tensor, mask: Tensor, leak: Tensor) -> Tensor:
    """Log-odds that any of several independent causes holds, or the leak, in log space: nothing is rounded to 0 or 1.

    1 - (1 - leak) * prod(1 - p). The leak is what there is without any cause that is seen: a patient may have a cancer
    where no nodule was found (Liao et al. 2019, 10.1109/TNNLS.2019.2892409).

    Args:
        logits: (B, N) log-odds of each cause.
        mask: (B, N) bool, which of them there are.
        leak: log-odds, of any shape that goes with (B,).

    Returns:
        (B) log-odds.
    """
    none = functional.logsigmoid(-logits).masked_fill(~mask, 0.0).sum(dim=1) + functional.logsigmoid(-leak)
    # log(1 - e^none) - none, where none is the logarithm of the chance that there is no cause; in two branches, neither
    # of which may see the other's values: their gradients are not finite there.
    half = -math.log(2)
    likely, unlikely = none.clamp(max=half), none.clamp(min=half)
    some = torch.where(none > half, torch.log(-torch.expm1(unlikely)), torch.log1p(-torch.exp(likely)))
    return some - none


class NoduleBag(nn.Module):
    """Looks at each nodule of a patient by itself, and says what it means for the patient.

    Args:
        backbone: sees a nodule.
        pool: ``noisy_or``: any nodule can make the patient one with cancer; ``max``: the worst one does; ``attention``:
            features are averaged with weights that are learned (Ilse et al. 2018, arXiv:1802.04712).
        hidden: units of the attention.
        dropout: of a nodule's features.
        measured: numbers known of each nodule beside its picture; 0 for none.

    Shape:
        nodules ``(B, N, C, *spatial)``, mask (B, N) bool; a patient may have none. What stands in places without a
        nodule means nothing. Measured (B, N, M), of about unit scale.

    Raises:
        UsageError: another pool, or a number below 0.
    """

    def __init__(
        self, backbone: Backbone, pool: str = "noisy_or", hidden: int = 64, dropout: float = 0.3, measured: int = 0
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise UsageError(f"NoduleBag: one of {', '.join(POOLS)} is needed, found {pool!r}")
        if measured < 0:
            raise UsageError(f"NoduleBag: measured numbers are 0 or more, found {measured}")
        self.pool = pool
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.measured = measured
        features = backbone.out_channels + measured
        self.head = nn.Linear(features, 1)
        if pool == "noisy_or":
            nn.init.constant_(self.head.bias, UNLIKELY)
        # Of a patient without a nodule; low to begin with.
        self.leak = nn.Parameter(torch.tensor(-3.0))
        self.attention = GatedAttentionPool(features, hidden) if pool == "attention" else None

    def forward(
        self, nodules: Tensor, mask: Tensor, measured: Tensor | None = None, details: bool = False
    ) -> Tensor | BagOutput:
        """Log-odds (B, 1); with ``details`` what was said of each nodule as well.

        Raises:
            UsageError: not as many measured numbers as the network was made for.
        """
        mask = mask.bool()
        given = 0 if measured is None else measured.shape[-1]
        if given != self.measured:
            raise UsageError(f"NoduleBag: {self.measured} measured numbers a nodule are needed, found {given}")
        features = self._seen(nodules, mask)
        if measured is not None and given:
            known = torch.where(mask[..., None], measured.to(features.dtype), torch.zeros_like(features[..., :given]))
            features = torch.cat([features, known], dim=2)
        found = self._pooled(features, mask)
        return found if details else found.logits

    def _seen(self, nodules: Tensor, mask: Tensor) -> Tensor:
        """(B, N, channels) float32 features of the pictures; 0 without a nodule."""
        shape = (*mask.shape, self.backbone.out_channels)
        if self.training:
            # Batch norm must not learn from places without a nodule.
            features = nodules.new_zeros(shape, dtype=torch.float32)
            if bool(mask.any()):
                features[mask] = self.dropout(self._embed(nodules[mask])).float()
            return features
        # Nothing depends on how many there are, so that the network can be exported.
        there = mask.view(*mask.shape, *([1] * (nodules.dim() - 2)))
        seen = self._embed(nodules.masked_fill(~there, 0.0).flatten(0, 1)).float().view(shape)
        return seen.masked_fill(~mask[..., None], 0.0)

    def _embed(self, pictures: Tensor) -> Tensor:
        embedded: Tensor = self.backbone(pictures).flatten(2).mean(dim=2)
        return embedded

    def _pooled(self, features: Tensor, mask: Tensor) -> BagOutput:
        with torch.autocast(features.device.type, enabled=False):
            if self.attention is not None:
                pooled, weights = self.attention(features, mask)
                some = self.head(pooled[:, 0])[:, 0]
                logits = torch.where(mask.any(dim=1), some, self.leak)
                return BagOutput(logits[:, None], weights[:, 0])
            own = self.head(features)[..., 0]
            if self.pool == "noisy_or":
                return BagOutput(noisy_or(own, mask, self.leak)[:, None], own)
            worst = own.masked_fill(~mask, -math.inf).amax(dim=1)
            return BagOutput(torch.where(mask.any(dim=1), worst, self.leak)[:, None], own)
