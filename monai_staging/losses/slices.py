"""Loss of slices that are classified, and of the cells of their maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.errors import UsageError
from monai_staging.losses.counts import of_all
from monai_staging.networks.slice_selector import SliceOutput


class SliceLoss(nn.Module):
    """Cross entropy of slices, and focal loss (Lin et al., 2017, arXiv:1708.02002) of cells, over the nodules' cells.

    Every class of slices that a batch has counts the same, however many slices it has there: around the slices that
    are thinned to equal numbers most show nothing.

    Args:
        cells: weight of the cells; 0 where a network has no map.
        gamma: of the focal loss.
        ignored: class of slices and cells that do not count.

    Raises:
        UsageError: a negative weight.
    """

    def __init__(self, cells: float = 1.0, gamma: float = 2.0, ignored: int = -1) -> None:
        super().__init__()
        if cells < 0 or gamma < 0:
            raise UsageError(f"SliceLoss: weights from 0 on are needed, found cells {cells}, gamma {gamma}")
        self.cells, self.gamma, self.ignored = cells, gamma, ignored

    def forward(self, output: SliceOutput, target: tuple[Tensor, Tensor]) -> Tensor:
        """A scalar.

        Args:
            output: of the network.
            target: (B, S) classes of the slices and (B, S, h, w) of the cells.
        """
        classes, cells = target
        logits, truth = output.logits.float().flatten(0, 1), classes.flatten()
        entropy = functional.cross_entropy(logits, truth, ignore_index=self.ignored, reduction="none")
        there = functional.one_hot(truth.clamp(min=0), logits.shape[1]).to(entropy.dtype)
        there = there * (truth != self.ignored)[:, None]
        sums = (entropy[:, None] * there).sum(dim=0)
        counts = of_all(there.sum(dim=0), sums)
        means = sums / torch.where(counts > 0, counts, 1.0)
        loss: Tensor = means.sum() / (counts > 0).sum().clamp(min=1)
        if self.cells and output.cells.numel():
            loss = loss + self.cells * self._focal(output.cells.float().flatten(0, 1), cells.flatten(0, 1))
        return loss

    def _focal(self, logits: Tensor, target: Tensor) -> Tensor:
        entropy = functional.cross_entropy(logits, target, ignore_index=self.ignored, reduction="none")
        focal = (1 - (-entropy).exp()) ** self.gamma * entropy
        total = focal.sum()
        return total / of_all((target > 0).sum(), total, least=1)
