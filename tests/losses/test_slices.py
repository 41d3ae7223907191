"""The loss of slices against PyTorch's and MONAI's own."""

from __future__ import annotations

import pytest
import torch
from monai.losses import FocalLoss
from torch.nn import functional

from monai_staging.errors import UsageError
from monai_staging.losses.slices import SliceLoss
from monai_staging.networks.slice_selector import SliceOutput


def test_slices_are_cross_entropy_in_which_classes_count_the_same() -> None:
    logits, classes = torch.randn(2, 5, 3), torch.tensor([[0, 0, -1, 0, 0], [0, 1, 2, 2, 0]])
    output = SliceOutput(logits, logits.new_zeros(2, 5, 3, 0, 0))
    weights = 1 / torch.tensor([6.0, 1.0, 2.0])
    expected = functional.cross_entropy(logits.flatten(0, 1), classes.flatten(), weights, ignore_index=-1)
    cells = torch.zeros(2, 5, 4, 4, dtype=torch.long)
    assert torch.isclose(SliceLoss()(output, (classes, cells)), expected)
    # A class that is not there is no class.
    classes[1, 1] = 0
    weights = 1 / torch.tensor([7.0, 1.0, 2.0])
    expected = functional.cross_entropy(logits.flatten(0, 1), classes.flatten(), weights, ignore_index=-1)
    assert torch.isclose(SliceLoss()(output, (classes, cells)), expected)


def test_cells_are_focal_over_the_nodules_cells() -> None:
    logits, cells = torch.randn(2, 5, 3, 4, 4), torch.randint(0, 3, (2, 5, 4, 4))
    output = SliceOutput(torch.zeros(2, 5, 3), logits)
    classes = torch.zeros(2, 5, dtype=torch.long)
    focal = FocalLoss(include_background=True, to_onehot_y=True, use_softmax=True, gamma=2.0, reduction="none")
    own = focal(logits.flatten(0, 1), cells.flatten(0, 1)[:, None]).sum() / (cells > 0).sum()
    plain = functional.cross_entropy(torch.zeros(1, 3), torch.zeros(1, dtype=torch.long))
    assert torch.isclose(SliceLoss(cells=0.5)(output, (classes, cells)), plain + 0.5 * own)


def test_nothing_known_and_no_nodule_is_no_loss_of_slices() -> None:
    output = SliceOutput(torch.randn(1, 3, 3, requires_grad=True), torch.zeros(1, 3, 3, 2, 2))
    target = (torch.full((1, 3), -1), torch.full((1, 3, 2, 2), -1))
    loss = SliceLoss()(output, target)
    loss.backward()
    assert float(loss) == 0.0


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(UsageError, match="weights from 0 on"):
        SliceLoss(cells=-1)
