"""Batches of a pretraining: bytes to what a task's network is given."""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import PrepareBatch
from torch import Tensor

from monai_staging.workflows.pretrain import PretrainTask


class PretrainPrepareBatch(PrepareBatch):
    """Bytes to the network's input and target, on the device: all that is random happens there, to whole batches.

    In training torch's generator is drawn from, which `EpochSeeder` seeds. Otherwise a batch is always damaged, or
    seen, in the same way, so that epochs and trainings can be compared.

    Args:
        task: what becomes of the images.
        in_channels: of the network; images of one channel are repeated.
        training: whether the batches are trained on.
        channels_last: of 2-D images, in memory.
        seed: of validation and test.
    """

    def __init__(
        self, task: PretrainTask, in_channels: int, training: bool, channels_last: bool = True, seed: int = 0
    ) -> None:
        self.task = task
        self.in_channels = in_channels
        self.training = training
        self.channels_last = channels_last
        self.seed = seed

    def __call__(
        self,
        batchdata: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Input and target on ``device``."""
        images = batchdata["image"].to(device=device, non_blocking=non_blocking).float().div_(255)
        labels = batchdata["label"].to(device=device, non_blocking=non_blocking)
        if images.shape[1] != self.in_channels:
            images = images.expand(-1, self.in_channels, *images.shape[2:])
        generator = None
        if not self.training:
            generator = torch.Generator(images.device).manual_seed(self.seed + int(batchdata["index"][0]))
        inputs, targets = self.task.batch(images, labels, self.training, generator)
        last = self.channels_last and inputs.dim() == 4
        return inputs.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format), targets
