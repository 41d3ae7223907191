"""From image to map against a discriminator of patches (pix2pix, Isola et al. 2017, arXiv:1611.07004)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.engines import IterationEvents
from monai.losses import PatchAdversarialLoss
from monai.networks.nets import PatchDiscriminator
from monai.utils.enums import CommonKeys as Keys
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.errors import UsageError


class Pix2PixStep:
    """One step of a trainer: first the discriminator's, then the generator's.

    The discriminator (MONAI's) sees an image, at the map's resolution, beside a map, and says of each patch whether the
    map is the true one. The generator is to deceive it, and to be near the true map as well. Give it to a
    ``SupervisedTrainer`` as ``iteration_update``. It has a state for a checkpoint.

    Args:
        discriminator: (B, C + 1, H, W) to a list whose last is (B, 1, h, w) log-odds.
        learning_rate: of the discriminator.
        distance_weight: of the mean absolute difference of maps beside the adversarial loss.
        spread: of the difference, cells of a mitosis count so many times more, by the true map; they are few.

    Raises:
        UsageError: a weight that is not above 0, or a negative spread.
    """

    def __init__(
        self,
        discriminator: PatchDiscriminator,
        learning_rate: float = 2e-4,
        distance_weight: float = 100.0,
        spread: float = 0.0,
    ) -> None:
        if learning_rate <= 0 or distance_weight <= 0 or spread < 0:
            raise UsageError(
                "Pix2PixStep: a learning rate and a distance weight above 0 and a spread of at least 0 are needed; "
                f"found {learning_rate}, {distance_weight} and {spread}"
            )
        self.discriminator = discriminator
        self.optimizer = torch.optim.Adam(discriminator.parameters(), lr=learning_rate, betas=(0.5, 0.999))
        self.adversarial = PatchAdversarialLoss(criterion="least_squares")
        self.distance_weight = distance_weight
        self.spread = spread

    def __call__(self, engine: Any, batchdata: Mapping[str, Any]) -> dict[str, Any]:
        """Takes both steps; the output holds the generator's loss and its parts."""
        image, target = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking, **engine.to_kwargs)
        engine.state.output = {Keys.IMAGE: image, Keys.LABEL: target}
        engine.network.train()
        self.discriminator.train()
        logits = engine.inferer(image, engine.network)
        engine.state.output[Keys.PRED] = logits
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        made = logits.float().sigmoid()
        seen = functional.adaptive_avg_pool2d(image, made.shape[2:])
        deceived = self._learn_to_tell(seen, target, made.detach())
        # The discriminator's weights are no part of this step.
        with frozen(self.discriminator):
            fooled = self.adversarial(self._judged(seen, made), target_is_real=True, for_discriminator=False)
            weight = 1 + self.spread * target
            distance = ((made - target).abs() * weight).sum() / weight.sum()
            loss = fooled + self.distance_weight * distance
            parts = {Keys.LOSS: loss, "loss_adversarial": fooled.detach(), "loss_distance": distance.detach()}
            engine.state.output |= parts | {"loss_discriminator": deceived}
            engine.fire_event(IterationEvents.LOSS_COMPLETED)
            engine.optimizer.zero_grad(set_to_none=True)
            loss.backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.optimizer.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        output: dict[str, Any] = engine.state.output
        return output

    def _learn_to_tell(self, image: Tensor, true: Tensor, made: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        losses = [
            self.adversarial(self._judged(image, own), target_is_real=real, for_discriminator=True)
            for own, real in ((true, True), (made, False))
        ]
        loss: Tensor = sum(losses, start=torch.zeros((), device=image.device)) / 2
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _judged(self, image: Tensor, own: Tensor) -> Tensor:
        judged: Tensor = self.discriminator(torch.cat([image, own], dim=1))[-1]
        return judged

    def state_dict(self) -> dict[str, Any]:
        """The discriminator and its optimizer."""
        return {"discriminator": self.discriminator.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes back what ``state_dict`` gave."""
        self.discriminator.load_state_dict(state_dict["discriminator"])
        self.optimizer.load_state_dict(state_dict["optimizer"])


class frozen:  # noqa: N801  # used as a statement
    """Within it a network's weights get no gradient."""

    def __init__(self, network: nn.Module) -> None:
        self.weights = [own for own in network.parameters() if own.requires_grad]

    def __enter__(self) -> None:
        for own in self.weights:
            own.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for own in self.weights:
            own.requires_grad_(True)
