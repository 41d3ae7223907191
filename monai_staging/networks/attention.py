"""Attention over the instances of a bag: which slices a patient's stage was read from."""

from __future__ import annotations

import torch
from torch import nn

from monai_staging.errors import UsageError


class GatedAttentionPool(nn.Module):
    r"""Gated attention pooling (Ilse, Tomczak and Welling 2018, arXiv:1802.04712, equation 9), with several heads.

    .. math::  a_{hs} = \mathrm{softmax}_s\; w_h^\top (\tanh(V x_s) \odot \sigma(U x_s)), \qquad z_h = \sum_s a_{hs} x_s

    The softmax and the sum are taken in float32 at least, whatever precision the features come in. Traces and exports
    to ONNX.

    Args:
        in_features: features per instance, F.
        hidden: size of the attention's hidden layer.
        heads: how many sets of weights; T, N and M may look at different slices.

    Shape:
        features ``(B, S, F)``, mask ``(B, S)``, true where there is an instance, prior ``(B, heads, S)``, added to the
        scores before the softmax: what is known of an instance from elsewhere; output: pooled ``(B, heads, F)`` in
        the features' precision and weights ``(B, heads, S)``, not negative, summing to 1 over S and exactly 0 where
        masked. In a bag without any instance all weights and the pooled features are 0.
    """

    def __init__(self, in_features: int, hidden: int = 128, heads: int = 1) -> None:
        super().__init__()
        for what, value in (("in_features", in_features), ("hidden", hidden), ("heads", heads)):
            if value < 1:
                raise UsageError(f"GatedAttentionPool: {what} must be at least 1, found {value}")
        self.value = nn.Linear(in_features, hidden)
        self.gate = nn.Linear(in_features, hidden)
        self.score = nn.Linear(hidden, heads)
        for layer in (self.value, self.gate, self.score):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, features: torch.Tensor, mask: torch.Tensor | None = None, prior: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pooled features ``(B, heads, F)`` and weights ``(B, heads, S)`` of features ``(B, S, F)``."""
        scores = self.score(torch.tanh(self.value(features)) * torch.sigmoid(self.gate(features))).transpose(1, 2)
        exact = torch.promote_types(scores.dtype, torch.float32)
        scores = scores.to(exact)
        if prior is not None:
            scores = scores + prior.to(exact)
        if mask is None:
            weights = torch.softmax(scores, dim=-1)
        else:
            present = mask.to(torch.bool).unsqueeze(1)
            # The lowest finite number, not minus infinity: a bag without instances would turn into NaN.
            scores = scores.masked_fill(~present, torch.finfo(exact).min)
            weights = torch.softmax(scores, dim=-1) * present.to(exact)
            # What stands in a padded place may be anything, even NaN, and 0 times NaN is NaN.
            features = features.masked_fill(~mask.to(torch.bool).unsqueeze(-1), 0.0)
        # A product and a sum rather than a matrix product, which autocast would take to half precision.
        pooled = (weights.unsqueeze(-1) * features.unsqueeze(1)).sum(dim=2)
        return pooled.to(features.dtype), weights
