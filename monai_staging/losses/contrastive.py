"""The loss that pulls two views of one image together and all others apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.errors import UsageError


class NTXentLoss(nn.Module):
    """Normalised temperature-scaled cross entropy (SimCLR, Chen et al. 2020, arXiv:2002.05709).

    For each of the 2B views: the cross entropy of finding its partner among the 2B - 1 others by cosine similarity over
    the temperature. The same number as ``monai.losses.ContrastiveLoss``, through one matrix product instead of a
    (2B, 2B, F) array, and through log-sum-exp, so that no small temperature overflows.

    Args:
        temperature: above 0.

    Raises:
        UsageError: a temperature that is not above 0.
    """

    def __init__(self, temperature: float = 0.2) -> None:
        super().__init__()
        if not temperature > 0:
            raise UsageError(f"NTXentLoss: the temperature must be above 0, found {temperature}")
        self.temperature = float(temperature)

    def forward(self, features: Tensor, target: Tensor | None = None) -> Tensor:
        """Mean loss of the views.

        Args:
            features: ``(2B, F)``: first views, then second views in the same order.
            target: not looked at.
        """
        return self.each(features).mean()

    def each(self, features: Tensor) -> Tensor:
        """Loss of every view, ``(2B,)``."""
        similarity = self.similarity(features)
        return functional.cross_entropy(
            similarity / self.temperature, partners(len(features), features.device), reduction="none"
        )

    @staticmethod
    def similarity(features: Tensor) -> Tensor:
        """Cosine similarities ``(2B, 2B)``, minus infinity of each with itself.

        Raises:
            UsageError: an odd number of views, or less than two images.
        """
        if features.dim() != 2 or len(features) % 2 or len(features) < 4:
            raise UsageError(
                f"NTXentLoss: (2B, F) features of two views of at least 2 images are needed, found shape "
                f"{tuple(features.shape)}"
            )
        # bfloat16 has two digits: too few for similarities that differ by a hundredth.
        unit = functional.normalize(features.float(), dim=1)
        with torch.autocast(features.device.type, enabled=False):
            similarity = unit @ unit.T
        return similarity.masked_fill(torch.eye(len(unit), dtype=torch.bool, device=unit.device), -torch.inf)


def partners(views: int, device: torch.device | str = "cpu") -> Tensor:
    """For each of ``views`` views the place of the other view of the same image, ``(views,)``."""
    return torch.arange(views, device=device).roll(views // 2)
