"""The lesion map's start: learns thickness from few studies, is the same for the same seed, stays away where asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.inferers import SimpleInferer
from torch import Tensor

from monai_staging.errors import DataError, UsageError
from monai_staging.networks.staging import StagingNetwork
from monai_staging.workflows.map_start import MapStart
from monai_staging.workflows.staging import cell_losses, lesion_cells, lesion_loss

GROUPS = ("primary", "liver metastasis")
CLASSES = {"t": ["T1", "T2"], "n": ["N0", "N1"], "m": ["M0", "M1"]}
CELLS = (16, 8, 8)


def network() -> StagingNetwork:
    torch.manual_seed(0)
    return StagingNetwork("resnet10", CLASSES, in_channels=1, width=0.125, features=16, groups=GROUPS)


def study(seed: int, known: tuple[float, float] = (1, 1)) -> dict[str, Any]:
    """Thin bright rods everywhere, and a thick cube that is the primary: (1, 64, 64, 16), 8 x 8 x 1 voxels a cell."""
    generator = torch.Generator().manual_seed(seed)
    image = 0.2 * torch.rand(1, 64, 64, 16, generator=generator)
    for x, y in torch.randint(0, 63, (12, 2), generator=generator).tolist():
        image[:, x : x + 2, y : y + 2] = 1
    x, y, s = (int(torch.randint(1, most, (1,), generator=generator)) for most in (5, 5, 9))
    image[:, 8 * x : 8 * x + 16, 8 * y : 8 * y + 16, s : s + 6] = 1
    lesion_mm = torch.zeros(len(GROUPS), 8, 8, 16)
    lesion_mm[0, x : x + 2, y : y + 2, s : s + 6] = 40
    return {"image": image, "lesion_mm": lesion_mm, "lesion_known": torch.tensor(known)}


def start(net: StagingNetwork, data: list[dict[str, Any]], **options: Any) -> MapStart:
    settings = {"steps": 60, "passes": 1, "studies": 4, "cells": 256, **options}
    return MapStart(net, data, SimpleInferer(), **settings)


def seen(net: StagingNetwork, image: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        output = net.eval().details(image[None])
    return output.presence[0, 0], output.diameter_mm[0, 0]


def test_it_finds_and_measures_what_is_thick_in_studies_it_never_saw() -> None:
    net = network()
    loss = start(net, [study(seed) for seed in range(8)]).fit()
    assert loss < 0.3
    for seed in range(100, 104):
        item = study(seed)
        presence, diameter = seen(net, item["image"])
        inside = item["lesion_mm"][0] > 0
        assert float(presence[inside].mean()) > float(presence[~inside].mean()) + 2
        assert bool(inside.flatten()[presence.argmax()])
        assert float(diameter[inside].median()) == pytest.approx(40, rel=0.3)


def test_the_same_seed_gives_the_same_start() -> None:
    states = []
    for seed in (3, 3, 4):
        net = network()
        torch.manual_seed(0)
        start(net, [study(seed) for seed in range(4)], steps=5, seed=seed).fit()
        states.append(net.direct.weight.detach())
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_what_nobody_looked_for_is_not_learned() -> None:
    studies = [study(seed, known=(1, 0)) for seed in range(4)]
    for item in studies:
        item["lesion_mm"][1] = 30
    net, before = network(), network().direct.weight.clone()
    start(net, studies, steps=3, weight_decay=0.0).fit()
    moved = (net.direct.weight - before).abs().amax(dim=1)
    assert moved[[1, 3]].tolist() == [0, 0] and float(moved[[0, 2]].min()) > 0


@pytest.mark.parametrize("epoch", [0, 3])
def test_without_annotated_lesions_the_map_is_left_to_the_training(epoch: int) -> None:
    net, before = network(), network().direct.weight.clone()
    trainer = Engine(lambda *_: None)
    nothing = start(net, [study(0, known=(0, 0))])
    nothing.attach(trainer)
    trainer.state.epoch = epoch
    trainer.run([0], max_epochs=4)
    assert torch.equal(net.direct.weight, before) and net.direct.weight.requires_grad
    with pytest.raises(DataError, match="found none"):
        nothing.fit()


def test_cells_left_out_are_counted_by_those_kept() -> None:
    item, net = study(5), network()
    every, *shares = (
        cells for n in (10**6, 100) for cells in start(net, [item], cells=n)._collect(torch.Generator().manual_seed(0))
    )
    assert len(every.bands) == 1024 and [len(share.bands) for share in shares] == [100 + 24] * 4
    assert len(torch.cat([share.bands[24:] for share in shares]).unique(dim=0)) > 390
    for share in shares:
        assert float(share.weight.sum()) == pytest.approx(float(every.weight.sum()), rel=1e-5)
    # With all cells, the loss is that of the training.
    presence, diameter = net.map_of_bands(every.bands)
    own = (cell_losses(presence, diameter, every.truth_mm) * every.weight).sum(dim=0).mean()
    maps = net.eval().details(item["image"][None])
    whole = lesion_loss(maps, item["lesion_mm"][None], item["lesion_known"][None])
    assert float(own) == pytest.approx(float(whole), rel=1e-2)
    assert lesion_cells(item["lesion_mm"], (1, 2, 3)).tolist() == [24, 4]


@pytest.mark.parametrize(("epoch", "steps", "done"), [(0, 2, True), (3, 2, False), (0, 0, False)])
def test_it_comes_before_the_first_epoch_only(epoch: int, steps: int, done: bool) -> None:
    net, before = network(), network().direct.weight.clone()
    trainer = Engine(lambda *_: None)
    start(net, [study(0)], steps=steps, studies=1).attach(trainer)
    trainer.state.epoch = epoch
    trainer.state.max_epochs = 4
    trainer.run([0], max_epochs=4)
    assert torch.equal(net.direct.weight, before) != done
    # Fitted now or in the run that is resumed, it stays.
    frozen = steps > 0
    assert net.direct.weight.requires_grad != frozen and net.granulometry is not None
    assert net.granulometry.settled == frozen
    mean = net.granulometry.mean.clone()
    net.train()(study(3)["image"][None])
    assert torch.equal(net.granulometry.mean, mean) == frozen


def test_a_network_without_granulometry_starts_without() -> None:
    net = StagingNetwork("resnet10", CLASSES, in_channels=1, width=0.125, features=16, groups=GROUPS, cubes=())
    trainer = Engine(lambda *_: None)
    start(net, [study(0)]).attach(trainer)
    trainer.run([0], max_epochs=1)
    with pytest.raises(UsageError, match="no granulometry"):
        net.map_of_bands(torch.zeros(1, 36))


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"passes": 0}, {"studies": 0}, {"cells": 0}])
def test_refusals(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least"):
        start(network(), [], **wrong)
