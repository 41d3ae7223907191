"""What a tumour's size alone says of its T category, as log-probabilities that a network can build on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from monai_staging.tnm import category_of_size, main_category

# Sizes in mm for which the edition's rule is asked; fine enough for limits in whole millimetres.
_SIZES_MM = np.exp(np.linspace(np.log(2.0), np.log(160.0), 256))


class SizePrior(nn.Module):
    r"""Log-probability of each T class given an uncertain measurement of the tumour's diameter.

    With a log-normal error of width :math:`\sigma` around the measurement :math:`d`, the probability of a class is the
    mass of the sizes that the edition's rule gives this class:
    :math:`p(c \mid d) \propto \sum_s [T(s) = c] \exp(-(\ln s - \ln d)^2 / 2 \sigma^2)`, mixed with a share for what
    size does not know (descriptors raise T, ground glass lowers it). Width, share and calibration of d are learned.

    Args:
        classes: T classes, categories or main categories of the edition.
        edition: of the TNM.
    """

    def __init__(self, classes: Sequence[str], edition: str = "8") -> None:
        super().__init__()
        names = list(classes)
        rule = torch.zeros(len(_SIZES_MM), len(names))
        for row, size_mm in enumerate(_SIZES_MM):
            category = category_of_size(float(size_mm), edition)
            for candidate in (category, main_category(category)):
                if candidate in names:
                    rule[row, names.index(candidate)] = 1
                    break
        self.register_buffer("rule", rule, persistent=False)
        self.register_buffer("log_size", torch.from_numpy(np.log(_SIZES_MM)).float(), persistent=False)
        # A network's measurement is off by a power and a factor: the first are few cells, the last many.
        self.power = nn.Parameter(torch.tensor(1.0))
        self.log_factor = nn.Parameter(torch.tensor(0.0))
        self.log_width = nn.Parameter(torch.tensor(-1.6))
        self.unknown = nn.Parameter(torch.tensor(-1.5))

    def forward(self, diameter_mm: Tensor) -> Tensor:
        """Maps diameters (B) in mm to log-probabilities (B, classes)."""
        rule, log_size = self.rule, self.log_size
        assert isinstance(rule, Tensor) and isinstance(log_size, Tensor)
        log_diameter = self.power * diameter_mm.float().clamp(min=1).log() + self.log_factor
        distance = (log_size - log_diameter[:, None]) / self.log_width.exp()
        probability = torch.softmax(-(distance**2) / 2, dim=1) @ rule
        share = torch.sigmoid(self.unknown)
        return ((1 - share) * probability + share / rule.shape[1]).log()
