"""What the staging bundle's engines need beyond MONAI's: batch and loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.engines import PrepareBatch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.cohort.lesion_groups import EVIDENCE, without_side
from monai_staging.losses.counts import of_all
from monai_staging.networks.staging import StagingOutput


class StagingPrepareBatch(PrepareBatch):
    """Batch to network input, targets and clinical vector; asks the network for everything it knows.

    Targets are a dictionary: ``tnm`` (B, classes) sets as multi-hot, ``lesion_mm`` (B, groups, X', Y', S) and
    ``lesion_known`` (B, groups).
    """

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor], tuple[()], dict[str, Any]]:
        """Moves what the network and the loss need to ``device``."""

        def move(name: str) -> Tensor:
            return torch.as_tensor(batchdata[name]).to(device=device, non_blocking=non_blocking)

        names: tuple[str, ...] = ("tnm", "lesion_mm", "lesion_known")
        targets = {name: move(name) for name in names if name in batchdata}
        clinical = move("clinical") if "clinical" in batchdata else None
        return move("image"), targets, (), {"clinical": clinical, "details": True}


class StagingLoss(nn.Module):
    """Letters' loss plus, where a cohort has lesions, the lesion map's and the attention's.

    Args:
        letters: loss of the logits and the multi-hot sets, for example
            :class:`monai_staging.losses.masked.MaskedTNMLoss`.
        lesion_weight: weight of the lesion map; 0 trains without.
        attention_weight: weight of where each letter looks; 0 leaves that to the letters.
        groups: of the lesion map, needed with an ``attention_weight``.
    """

    evidence: Tensor

    def __init__(
        self,
        letters: nn.Module,
        lesion_weight: float = 1.0,
        attention_weight: float = 0.0,
        groups: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.letters = letters
        self.lesion_weight = lesion_weight
        self.attention_weight = attention_weight
        read_from = [[without_side(group) in EVIDENCE[letter] for group in groups] for letter in EVIDENCE]
        self.register_buffer("evidence", torch.tensor(read_from), persistent=False)

    def forward(self, prediction: StagingOutput, targets: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss of a batch."""
        loss: Tensor = self.letters(prediction.logits, targets["tnm"])
        if self.lesion_weight and "lesion_mm" in targets:
            loss = loss + self.lesion_weight * lesion_loss(prediction, targets["lesion_mm"], targets["lesion_known"])
        if self.attention_weight and "lesion_mm" in targets:
            evidence = self.evidence.to(prediction.attention.device)
            loss = loss + self.attention_weight * attention_loss(prediction.attention, targets["lesion_mm"], evidence)
        return loss


def attention_loss(attention: Tensor, lesion_mm: Tensor, evidence: Tensor) -> Tensor:
    """How little a letter looks at the slices with what it is read from: minus the log of their part of its attention.

    The mean over those letters of the batch's patients of which there is anything to see: N0 is read from nothing.

    Args:
        attention: (B, letters, S), each row of which sums to 1.
        lesion_mm: (B, groups, X, Y, S) true diameters in mm, 0 where there is no lesion.
        evidence: (letters, groups), true where the letter is read from the group.
    """
    slices = (lesion_mm.amax(dim=(2, 3)) > 0).float()
    shown = (torch.einsum("lg,bgs->bls", evidence.float(), slices) > 0).float()
    there = shown.amax(dim=2)
    seen = (attention.float() * shown).sum(dim=2).clamp(min=1e-6)
    total = -(seen.log() * there).sum()
    return total / of_all(there.sum(), total, least=1)


def lesion_loss(prediction: StagingOutput, lesion_mm: Tensor, known: Tensor) -> Tensor:
    """How far the lesion map is from the truth: focal loss of presence plus error of the log-diameter in lesions.

    The focal loss (Lin et al., 2017, gamma 2) is summed and divided by the cells with a lesion, for each study and
    group by itself: a handful of cells hold a lesion, tens of thousands none, and a tumour of a hundred cells must not
    drown another patient's of two.

    Args:
        prediction: with ``presence`` and ``diameter_mm``, (B, groups, X', Y', S').
        lesion_mm: (B, groups, X, Y, S) true diameters in mm, 0 where there is no lesion.
        known: (B, groups), 1 where lesions of the group are annotated; others do not count.
    """
    truth = lesion_mm.float()
    if truth.shape != prediction.presence.shape:
        # Another stride, or a 3-D backbone with coarser slices: the largest lesion a cell covers counts.
        truth = functional.adaptive_max_pool3d(truth, prediction.presence.shape[2:])
    axes = (2, 3, 4)
    losses = cell_losses(prediction.presence, prediction.diameter_mm, truth).sum(axes)
    return (losses / lesion_cells(truth, axes) * known.to(losses.dtype)).mean()


def cell_losses(presence: Tensor, diameter_mm: Tensor, truth_mm: Tensor) -> Tensor:
    """Loss of every cell by itself, all three of the same shape; see :func:`lesion_loss`."""
    present = (truth_mm > 0).float()
    surprise = functional.binary_cross_entropy_with_logits(presence.float(), present, reduction="none")
    focal = surprise * (1 - torch.exp(-surprise)) ** 2
    ratio = (diameter_mm.float().clamp(min=1).log() - truth_mm.clamp(min=1).log()) * present
    return focal + functional.smooth_l1_loss(ratio, torch.zeros_like(ratio), reduction="none", beta=0.2)


def lesion_cells(truth_mm: Tensor, axes: int | tuple[int, ...]) -> Tensor:
    """How many cells hold a lesion, 4 at least: one in a single cell is as likely an error of the grid as a finding."""
    return (truth_mm > 0).float().sum(axes).clamp(min=4)
