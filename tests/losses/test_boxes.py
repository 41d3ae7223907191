"""The loss of a slice's box, against its parts computed otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from monai_staging.errors import UsageError
from monai_staging.losses.boxes import BoxLoss
from monai_staging.metrics.boxes import box_pair_giou
from monai_staging.networks.box_regressor import BoxOutput

SIZE = 80


def example(seed: int = 0) -> tuple[BoxOutput, torch.Tensor]:
    torch.manual_seed(seed)

    def boxes(count: int) -> torch.Tensor:
        return torch.rand(count, 2, 2).sort(dim=1).values.flatten(1) * SIZE

    attention = torch.rand(5, 10, 10).flatten(1).softmax(dim=1).view(5, 10, 10)
    found = boxes(5).requires_grad_()
    return BoxOutput(found, attention.requires_grad_(), torch.randn(5), found), boxes(5)


def test_overlap_and_edges_are_those_of_the_metrics() -> None:
    output, truth = example()
    found = output.boxes.detach().double().numpy()
    giou = 1 - box_pair_giou(found, truth.double().numpy()).mean()
    l1 = np.abs(found - truth.numpy()).sum(axis=1).mean() / SIZE
    loss = BoxLoss(SIZE, giou=2, l1=5, attention=0, presence=0)(output, truth)
    assert float(loss.detach()) == pytest.approx(2 * giou + 5 * l1, rel=1e-5)


def test_attention_counts_by_its_mass_on_the_cells_of_the_box() -> None:
    output, truth = example()
    loss = BoxLoss(SIZE, giou=0, l1=0, attention=1, presence=0)(output, truth)
    cell = SIZE / 10
    parts = []
    for attention, (x0, y0, x1, y1) in zip(output.attention.detach().numpy(), truth.tolist(), strict=True):
        rows = [row for row in range(10) if row * cell < y1 and (row + 1) * cell > y0]
        columns = [column for column in range(10) if column * cell < x1 and (column + 1) * cell > x0]
        parts.append(-np.log(attention[np.ix_(rows, columns)].sum()))
    assert float(loss.detach()) == pytest.approx(np.mean(parts), rel=1e-5)


def test_slices_without_a_tumour_count_for_presence_alone() -> None:
    output, truth = example()
    truth[[1, 3]] = torch.nan
    whole = BoxLoss(SIZE)(output, truth)
    there = torch.tensor([1.0, 0, 1, 0, 1])
    presence = functional.binary_cross_entropy_with_logits(output.presence, there)
    found, attention, logits = (part[[0, 2, 4]] for part in output[:3])
    kept = BoxOutput(found, attention, logits, found)
    others = BoxLoss(SIZE, presence=0)(kept, truth[[0, 2, 4]])
    torch.testing.assert_close(whole, 0.5 * presence + others)
    whole.backward()
    assert output.boxes.grad is not None and torch.isfinite(output.boxes.grad).all()
    assert output.boxes.grad[[1, 3]].abs().sum() == 0
    none = BoxLoss(SIZE)(output, torch.full_like(truth, torch.nan))
    torch.testing.assert_close(none, 0.5 * functional.softplus(output.presence).mean())


def test_both_looks_count_alike() -> None:
    output, truth = example()
    other, _ = example(1)
    loss = BoxLoss(SIZE, attention=0, presence=0)
    both = loss(output._replace(first=other.boxes), truth)
    torch.testing.assert_close(both, (loss(output, truth) + loss(other, truth)) / 2)


def test_it_is_least_where_everything_is_right() -> None:
    output, truth = example()
    attention = torch.zeros(5, 10, 10)
    for place, (x0, y0, x1, y1) in enumerate((truth / SIZE * 10).tolist()):
        attention[place, int((y0 + y1) / 2), int((x0 + x1) / 2)] = 1
    right = BoxOutput(truth, attention, torch.full((5,), 20.0), truth)
    assert float(BoxLoss(SIZE)(right, truth)) == pytest.approx(0, abs=1e-5)
    with pytest.raises(UsageError, match="giou -1"):
        BoxLoss(SIZE, giou=-1)
