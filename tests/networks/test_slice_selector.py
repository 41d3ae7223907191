"""Networks of slices: sectors that mind their own, and one network that listens to neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.pretrained import write_checkpoint
from monai_staging.networks.slice_selector import CONTEXTS, SectorNetworks, SliceOutput, SliceSelector

SMALL = {"network": "resnet10", "width": 0.125}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("weights") / "backbone.pt"
    torch.manual_seed(3)
    write_checkpoint(path, build_backbone("resnet10", in_channels=1, width=0.125), {"network": "resnet10"})
    return str(path)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_slice_is_judged_by_its_own_sector_alone(frozen: bool, weights: str) -> None:
    network = SectorNetworks(3, weights=weights, frozen=frozen, **SMALL).eval()
    images = torch.rand(2, 9, 1, 64, 64)
    before = network(images)
    assert before.shape == (2, 9, 3)
    with torch.no_grad():
        network.heads[1].bias += 1
    changed = (network(images) - before).abs().amax(dim=(0, 2)) > 0.5
    assert changed.tolist() == [False] * 3 + [True] * 3 + [False] * 3
    # Order and company do not matter, the height does.
    alone = network(images[:, 4:5], torch.full((2, 1), 4.5 / 9))
    assert torch.allclose(alone[:, 0], network(images)[:, 4], atol=1e-5)


def test_frozen_features_stay_as_they_are_and_are_kept_once(weights: str) -> None:
    network = SectorNetworks(13, weights=weights, **SMALL).train()
    assert len(network.backbones) == 1 and len(network.heads) == 13
    before = {name: value.clone() for name, value in network.backbones.state_dict().items()}
    network(torch.rand(1, 26, 1, 64, 64)).sum().backward()
    assert all(parameter.grad is None for parameter in network.backbones.parameters())
    assert all(head.weight.grad is not None for head in network.heads)
    after = network.backbones.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_sectors_that_learn_have_a_backbone_each() -> None:
    network = SectorNetworks(5, frozen=False, **SMALL)
    assert len(network.backbones) == 5
    network(torch.rand(1, 5, 1, 64, 64)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.backbones[4].parameters())


def test_frozen_features_from_nowhere_and_no_sector_are_refused() -> None:
    with pytest.raises(UsageError, match="need weights to start from"):
        SectorNetworks(1, **SMALL)
    with pytest.raises(UsageError, match="at least 1 sector"):
        SectorNetworks(0, frozen=False, **SMALL)


@pytest.mark.parametrize("context", CONTEXTS)
def test_neighbours_are_listened_to_where_there_is_a_context(context: str) -> None:
    torch.manual_seed(0)
    network = SliceSelector(context=context, features=32, **SMALL).eval()
    torch.nn.init.normal_(network.cell.weight)
    images = torch.rand(1, 7, 2, 64, 64)
    output = network(images, details=True)
    assert (
        isinstance(output, SliceOutput) and output.logits.shape == (1, 7, 3) and output.cells.shape == (1, 7, 3, 8, 8)
    )
    other = images.clone()
    other[:, 6] = torch.rand(2, 64, 64)
    moved = (network(other) - output.logits).abs().amax(dim=(0, 2)) > 1e-6
    assert moved[6] and bool(moved[:6].any()) == (context != "none")
    # What a cell shows is its own slice's affair.
    assert torch.allclose(network(other, details=True).cells[:, :6], output.cells[:, :6], atol=1e-5)


def test_the_same_slice_is_judged_by_its_height_too() -> None:
    network = SliceSelector(context="none", features=32, **SMALL).eval()
    images = torch.rand(1, 1, 2, 64, 64)
    low, high = (network(images, torch.tensor([[height]])) for height in (0.05, 0.95))
    assert not torch.allclose(low, high, atol=1e-4)


def test_to_begin_with_most_cells_show_nothing() -> None:
    cells = SliceSelector(features=32, **SMALL).eval()(torch.rand(1, 2, 2, 64, 64), details=True).cells
    assert float(cells.softmax(dim=2)[:, :, 0].mean()) > 0.95


def test_all_of_it_learns() -> None:
    network = SliceSelector(features=32, **SMALL).train()
    output = network(torch.rand(2, 4, 2, 64, 64), details=True)
    (output.logits.sum() + output.cells.sum()).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_another_context_is_refused() -> None:
    with pytest.raises(UsageError, match="recurrent, attention, none"):
        SliceSelector(context="telepathy", **SMALL)
