"""Every epoch's randomness as a function of seed, epoch and rank, so that an epoch can be done again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import set_rnd

from monai_staging.errors import UsageError
from monai_staging.workflows.rank import rank


def epoch_seed(seed: int, epoch: int, process: int = 0) -> int:
    """A seed of 31 bits for an epoch of a process, far from its neighbours' (``numpy.random.SeedSequence``)."""
    return int(np.random.SeedSequence([seed, epoch, process]).generate_state(1)[0] >> 1)


class EpochSeeder:
    """Seeds everything that is random at the start of each epoch of the trainer it is attached to.

    Seeded: Python, NumPy, torch (all GPUs), the random transforms of the data set, and the generators of data loader
    and sampler. The loader is then started afresh, so that also its workers (MONAI seeds their transforms from torch's
    seed) begin from there. A training that is killed and resumed at an epoch therefore sees the same data in the same
    order, and draws the same dropout, as one that was not.

    An epoch that is shorter than the loader (``epoch_length``) begins with a new shuffle too. Data sets that change of
    themselves from epoch to epoch (``SmartCacheDataset``) are beyond this.

    Args:
        seed: the training's seed.

    Raises:
        UsageError: at the first epoch, if the loader's workers are persistent: their random states live on.
    """

    def __init__(self, seed: int) -> None:
        self.seed = int(seed)

    def attach(self, engine: Engine) -> None:
        """Attaches to the trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._epoch_started)

    def _epoch_started(self, engine: Any) -> None:
        loader = engine.state.dataloader
        if getattr(loader, "persistent_workers", False):
            raise UsageError(
                "EpochSeeder: persistent_workers=true keeps the workers' random states from epoch to epoch, so that a "
                "resumed training would see other data; set it to false."
            )
        seed = epoch_seed(self.seed, engine.state.epoch, rank())
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        set_rnd(getattr(loader, "dataset", None), seed=seed)
        # A DistributedSampler takes its order from the epoch (MONAI's engines tell it); it has no generator.
        for owner in (loader, *_samplers(getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None))):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator):
                generator.manual_seed(seed)
        engine.set_data(loader)


def _samplers(*outer: Any) -> Iterator[Any]:
    """Samplers, and those that they draw from: of batches, of a process's share."""
    for sampler in outer:
        while sampler is not None:
            yield sampler
            sampler = getattr(sampler, "sampler", None)
