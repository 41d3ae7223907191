"""Measured features on one scale, whatever their units and however skewed: by their place among the training values."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monai_staging.errors import UsageError

KNOTS = 17


class QuantileScale(nn.Module):
    """Maps each feature to -1 (least of the training values) to 1 (largest), linear between quantiles.

    As scikit-learn's ``QuantileTransformer`` does, but part of the network, so that weights never meet features of
    another scale. A value that several training values share lies in the middle of their places, here also at either
    end. A value that is missing (NaN) lies in the middle, 0; before `fit`, a feature is passed on as it is.

    Args:
        features: how many.

    Shape:
        (B, features) to the same.
    """

    low: Tensor
    step: Tensor
    fitted: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(KNOTS - 1, features))
        self.register_buffer("step", torch.ones(KNOTS - 1, features))
        self.register_buffer("fitted", torch.zeros(()))

    def fit(self, values: Tensor) -> None:
        """Takes the quantiles of (N, features) training values.

        Raises:
            UsageError: another number of features, or one without any value.
        """
        if values.dim() != 2 or values.shape[1] != self.low.shape[1]:
            raise UsageError(f"QuantileScale: values (N, {self.low.shape[1]}) are needed, found {tuple(values.shape)}")
        knots = torch.nanquantile(values.double(), torch.linspace(0, 1, KNOTS, dtype=torch.double), dim=0)
        without = [place for place, column in enumerate(knots.T) if not torch.isfinite(column).all()]
        if without:
            raise UsageError(f"QuantileScale: feature {without[0]} has no value in the training part")
        self.low.copy_(knots[:-1])
        self.step.copy_(knots[1:] - knots[:-1])
        self.fitted.fill_(1.0)

    def forward(self, values: Tensor) -> Tensor:
        """The scaled values."""
        missing = torch.isnan(values)
        filled = torch.where(missing, torch.zeros_like(values), values)[:, None]
        # Each interval gives the share of it that lies below the value; one of no width, half of it at equality.
        width = self.step.clamp(min=1e-12)
        share = ((filled - self.low) / width).clamp(0, 1)
        flat = self.step <= 1e-12
        above = (filled > self.low).to(values.dtype)
        level = 0.5 * (above + (filled >= self.low).to(values.dtype))
        place = torch.where(flat, level, share).mean(dim=1) * 2 - 1
        scaled = torch.where(self.fitted > 0, place, filled[:, 0])
        return torch.where(missing, torch.zeros_like(scaled), scaled)
