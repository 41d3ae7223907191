"""pix2pix: both networks learn, the generator's step leaves the discriminator alone, and its state comes back."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.networks.nets import PatchDiscriminator
from torch import nn

from monai_staging.errors import UsageError
from monai_staging.workflows.pix2pix import Pix2PixStep


def test_the_generator_learns_the_map_and_the_discriminator_to_tell() -> None:
    torch.manual_seed(0)
    image = torch.rand(8, 3, 32, 32)
    target = (image[:, :1] > 0.7).float()
    generator = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 1, 1))
    step = Pix2PixStep(
        PatchDiscriminator(spatial_dims=2, channels=8, in_channels=4, num_layers_d=1), learning_rate=2e-3
    )
    seen: list[dict[str, float]] = []
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=60,
        train_data_loader=[{"image": image, "label": target}],
        network=generator,
        optimizer=torch.optim.Adam(generator.parameters(), lr=0.02),
        loss_function=nn.Identity(),
        iteration_update=step,
        decollate=False,
    )

    def keep(engine: SupervisedTrainer) -> None:
        seen.append(
            {name: float(engine.state.output[name]) for name in ("loss", "loss_distance", "loss_discriminator")}
        )

    trainer.add_event_handler(Events.ITERATION_COMPLETED, keep)
    trainer.run()
    assert seen[-1]["loss_distance"] < 0.7 * seen[0]["loss_distance"] and seen[-1]["loss"] < seen[0]["loss"]
    assert seen[-1]["loss_discriminator"] < seen[0]["loss_discriminator"]
    assert all(weight.requires_grad for weight in step.discriminator.parameters())
    other = Pix2PixStep(PatchDiscriminator(spatial_dims=2, channels=8, in_channels=4, num_layers_d=1))
    other.load_state_dict(step.state_dict())
    for one, again in zip(step.discriminator.parameters(), other.discriminator.parameters(), strict=True):
        assert torch.equal(one, again)
    assert other.optimizer.param_groups[0]["lr"] == 2e-3


def test_settings_that_cannot_be_are_refused() -> None:
    discriminator = PatchDiscriminator(spatial_dims=2, channels=8, in_channels=4, num_layers_d=1)
    for wrong in ({"learning_rate": 0.0}, {"distance_weight": 0.0}, {"spread": -1.0}):
        with pytest.raises(UsageError, match="Pix2PixStep"):
            Pix2PixStep(discriminator, **wrong)
