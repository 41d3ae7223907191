"""Mean losses of an epoch."""

from __future__ import annotations

import torch
from ignite.engine import Engine

from monai_staging.tracking.losses import EpochMeans


def test_means_over_the_epoch_of_every_loss() -> None:
    engine = Engine(lambda e, b: None)
    means = EpochMeans()
    for value in (1.0, 2.0, 6.0):
        loss = torch.tensor(value, requires_grad=True)
        engine.state.output = {"loss": loss, "loss_t": value * 2, "pred": torch.ones(3), "losses": torch.ones(2)}
        means.update(engine)
    assert means.take() == {"loss": 3.0, "loss_t": 6.0}
    means.reset()
    assert means.take() == {}


def test_decollated_and_other_outputs() -> None:
    assert EpochMeans.losses([{"loss": 1.0}, {"loss": 1.0}]) == {"loss": 1.0}
    assert EpochMeans.losses(torch.ones(1)) == {}
    assert EpochMeans.losses(None) == {}
    assert EpochMeans.losses([]) == {}
