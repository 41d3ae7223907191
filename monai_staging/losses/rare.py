"""Losses for a class that is seldom there: hinges that weigh its errors more."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from monai_staging.errors import UsageError


class RareHingeLoss(nn.Module):
    """The SVM's hinge, times e to the power of some weight where the rare class is true (Pearce 2017).

    Of one logit s the two classes' scores are s/2 and -s/2, so that max(0, s_other - s_true + margin) is
    max(0, margin - s) for the rare class and max(0, margin + s) for the common one. A weight of 0 is the SVM's hinge
    itself. (The thesis writes the factor exp(a s_y); it is read as a weight of the class, as its text has it.)

    Args:
        weight: a; an error on the rare class counts e^a times.
        margin: by which a score should be right.

    Raises:
        UsageError: a margin that is not above 0, or a weight that is not finite.
    """

    def __init__(self, weight: float = 2.0, margin: float = 1.0) -> None:
        super().__init__()
        if not margin > 0 or not math.isfinite(weight):
            raise UsageError(f"RareHingeLoss: a margin above 0 and a finite weight, found {margin} and {weight}")
        self.factor = math.exp(weight)
        self.margin = margin

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean over all.

        Args:
            logits: any shape.
            target: the same shape, 1 where the rare class is true, else 0.

        Raises:
            UsageError: shapes that differ.
        """
        if logits.shape != target.shape:
            raise UsageError(
                f"RareHingeLoss: shapes are the same, found {tuple(logits.shape)} and {tuple(target.shape)}"
            )
        rare = target > 0.5
        hinge = torch.relu(self.margin - torch.where(rare, logits, -logits))
        return torch.where(rare, self.factor * hinge, hinge).mean()
