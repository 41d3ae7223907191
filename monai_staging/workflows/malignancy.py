"""What the malignancy bundle's engines need beyond MONAI's: batch, loss, turns at test time, curriculum."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import PrepareBatch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Sampler

from monai_staging.errors import UsageError
from monai_staging.losses.counts import of_all
from monai_staging.networks.nodule import NoduleNetwork, NoduleOutput
from monai_staging.workflows.inferers import AutocastInferer
from monai_staging.workflows.nodule_data import NoduleExamples

TARGETS = ("label", "soft", "attributes")


class NodulePrepareBatch(PrepareBatch):
    """Batch to views in 0..1, measured features and targets.

    Args:
        augment: of the views, on their device; for training.
    """

    def __init__(self, augment: Callable[[Tensor], Tensor] | None = None) -> None:
        self.augment = augment

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, dict[str, Tensor], tuple[()], dict[str, Any]]:
        """Moves what the network and the loss need to ``device``."""

        def move(name: str) -> Tensor:
            moved: Tensor = batchdata[name].to(device=device, non_blocking=non_blocking)
            return moved

        views = move("views").float() / 255
        if self.augment is not None:
            views = self.augment(views)
        return views, {name: move(name) for name in TARGETS}, (), {"features": move("features"), "details": True}


class NoduleLoss(nn.Module):
    """Loss of the classes, and of the readers' other ratings beside them.

    Args:
        task: ``binary``, ``multi-class`` or ``multi-label``.
        soft: learn the readers' opinions (each rating's odds, averaged) rather than the class they come to: a nodule
            that four readers agree on teaches more than one that a single reader was unsure of.
        attribute_weight: of the readers' other ratings, on the scale of the training part (smooth L1).
        attributes: (N, A) those of the training part, for that scale.
        label_smoothing: of the classes, where ``soft`` is off or there are no ratings.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        task: str = "binary",
        soft: bool = True,
        attribute_weight: float = 0.5,
        attributes: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.task = task
        self.soft = soft
        self.attribute_weight = attribute_weight
        self.label_smoothing = label_smoothing
        values = torch.zeros(1, 0) if attributes is None else attributes
        mean = torch.nanmean(values, dim=0)
        deviation = torch.nanmean((values - mean) ** 2, dim=0).sqrt()
        self.register_buffer("mean", mean)
        # Ratings that hardly differ must not weigh more than those that do.
        self.register_buffer("deviation", deviation.clamp(min=0.1))

    def forward(self, prediction: NoduleOutput, targets: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss of a batch."""
        logits = prediction.logits.float()
        if self.task == "multi-class":
            label = targets["label"][:, 0].long()
            loss = functional.cross_entropy(logits, label, label_smoothing=self.label_smoothing)
        else:
            truth = targets["soft" if self.soft else "label"]
            truth = truth * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
            loss = functional.binary_cross_entropy_with_logits(logits, truth)
        if self.attribute_weight and prediction.attributes.shape[1]:
            scale = [buffer.to(logits.device) for buffer in (self.mean, self.deviation)]
            wanted = (targets["attributes"] - scale[0]) / scale[1]
            rated = ~torch.isnan(wanted)
            found = prediction.attributes.float()[rated]
            error = functional.smooth_l1_loss(found, wanted[rated], reduction="sum")
            loss = loss + self.attribute_weight * error / of_all(rated.sum(), error, least=1)
        return loss


def probabilities(logits: Tensor, task: str) -> Tensor:
    """(B, K) probabilities of logits: of each class or finding; of the second class alone for ``binary``."""
    return logits.float().softmax(dim=1) if task == "multi-class" else logits.float().sigmoid()


class TurningInferer(AutocastInferer):
    """Averages the outputs over quarter turns of the views in plane: a nodule has no up and down.

    Args:
        device: see :class:`~monai_staging.workflows.inferers.AutocastInferer`.
        amp: likewise.
        turns: 1 for none, 2 or 4.
    """

    def __init__(self, device: str | torch.device, amp: bool | str = "auto", turns: int = 4) -> None:
        super().__init__(device, amp)
        if turns not in (1, 2, 4):
            raise UsageError(f"TurningInferer: turns must be 1, 2 or 4; found {turns}")
        self.turns = turns

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The network's named tuple, of means: `NoduleOutput` or :class:`~monai_staging.networks.nodule_bag.BagOutput`.

        The last two axes are those in plane, of cubes too.
        """
        outputs = [
            super(TurningInferer, self).__call__(inputs.rot90(turn, (-2, -1)), network, *args, **kwargs)
            for turn in range(0, 4, 4 // self.turns)
        ]
        return type(outputs[0])(*(torch.stack(parts).float().mean(0) for parts in zip(*outputs, strict=True)))


class CurriculumSampler(Sampler[int]):
    """From easy to hard: the easiest nodules first, all of them after some epochs (Bengio et al. 2009).

    Easy is a nodule whose readers agree on an extreme rating (``ease`` of
    :class:`~monai_staging.workflows.nodule_data.NoduleData`). An epoch always has as many draws as there are nodules,
    so that a curriculum changes the order of a training and not its length. Attach it to the trainer, which tells it
    the epoch; the order within an epoch comes from torch's generator, seeded by
    :class:`~monai_staging.workflows.determinism.EpochSeeder`.

    Args:
        examples: of the training part.
        epochs: after so many, all nodules are drawn alike; 0 for no curriculum.
        start: share of the nodules in the first epoch.
    """

    def __init__(self, examples: NoduleExamples, epochs: int = 0, start: float = 0.4) -> None:
        if epochs < 0 or not 0 < start <= 1:
            raise UsageError(f"Curriculum: epochs 0 or more, start above 0 to 1; found {epochs} and {start}")
        ease = examples.arrays["ease"]
        assert isinstance(ease, Tensor)
        self.order = torch.argsort(ease[examples.indices], descending=True, stable=True)
        self.epochs = epochs
        self.start = start
        self.epoch = 1

    def attach(self, engine: Engine) -> None:
        """Registers with the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda one: self.set_epoch(one.state.epoch))

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch comes, counted from 1."""
        self.epoch = epoch

    @property
    def available(self) -> int:
        """How many nodules, the easiest, this epoch draws from."""
        done = 1.0 if not self.epochs else min(1.0, (self.epoch - 1) / self.epochs)
        return max(1, round((self.start + (1 - self.start) * done) * len(self.order)) if done < 1 else len(self.order))

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        count = self.available
        # Each of those available once before any comes again.
        rounds = -(-len(self.order) // count)
        drawn = torch.cat([torch.randperm(count) for _ in range(rounds)])[: len(self.order)]
        return iter(self.order[drawn].tolist())


def drop_last(examples: Sized, batch_size: int) -> bool:
    """Whether a last, smaller batch is left out: batch norm cannot learn from one nodule."""
    return len(examples) % batch_size == 1 and len(examples) > 1


def fitted(network: NoduleNetwork, examples: NoduleExamples, seed: int = 0) -> NoduleNetwork:
    """The network, what its measured features pass through fitted to the training part."""
    if network.scale is not None:
        network.fit_features(examples.values("features"), examples.values("label")[:, 0], seed)
    return network
