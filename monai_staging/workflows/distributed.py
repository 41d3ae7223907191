"""A training in many processes, on one machine or several, that equals one in a single process."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from typing import Any

import ignite.distributed as idist
import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from monai_staging.errors import UsageError
from monai_staging.tracking.losses import EpochMeans
from monai_staging.workflows.exchange import all_here, open_exchange
from monai_staging.workflows.rank import is_main_process
from monai_staging.workflows.saved_state import bare
from monai_staging.workflows.shares import evaluation_share, training_share
from monai_staging.workflows.synced_norm import sync_batch_norm, unsync_batch_norm

__all__ = ["DistributedTraining", "evaluation_share", "processes", "start", "training_share"]


def start() -> torch.device:
    """Joins the processes that ``torchrun`` has started, if it has, and gives this one's device.

    NCCL where there are GPUs, of which each process of a machine has its own; gloo on CPUs. Processes other than the
    main one print nothing from then on but warnings and errors. Without ``torchrun`` this is the one process.

    Raises:
        UsageError: more processes on this machine than it has GPUs.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    place = int(os.environ.get("LOCAL_RANK", "0"))
    if gpus and place >= gpus:
        raise UsageError(
            f"torchrun: every process of a machine needs a GPU of its own; found {gpus} and a process number {place}, "
            f"counted from 0. Start it with --nproc_per_node={gpus}."
        )
    device = torch.device("cuda", place) if gpus else torch.device("cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or idist.get_world_size() > 1:
        return device
    idist.initialize("nccl" if gpus else "gloo")
    atexit.register(idist.finalize)
    open_exchange()
    if not is_main_process():
        logging.disable(logging.INFO)
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - to the end of the process
    return device


def processes() -> int:
    """How many processes train."""
    return int(idist.get_world_size())


class DistributedTraining:
    """Lets a trainer learn from what all processes see: gradients, batch norms and the losses told are of all of them.

    The network is given to torch's ``DistributedDataParallel`` when the first batch comes, when weights are loaded and
    stages frozen, and again when other parameters learn than before; evaluators and checkpoints keep the network
    itself. Averaged gradients are those of one process with batches as many times larger if the loss is a mean over the
    batch; a loss that divides by what it counts in the batch counts with `monai_staging.losses.counts.of_all`. When the
    trainer is done all processes wait for each other, so that what the main one wrote is there. With one process it
    does nothing.

    Args:
        find_unused_parameters: needed where a batch may leave a part of the network without a gradient.
    """

    def __init__(self, find_unused_parameters: bool = False) -> None:
        self.find_unused_parameters = find_unused_parameters
        self._learning: tuple[bool, ...] = ()
        self._network: torch.nn.Module | None = None
        self._norms: list[_BatchNorm] = []

    def attach(self, engine: Engine) -> None:
        """Attaches to a MONAI trainer."""
        if processes() == 1:
            return
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.ITERATION_STARTED, self._iteration_started)
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self._model_completed)
        engine.add_event_handler(Events.COMPLETED, self._completed)

    def _started(self, engine: Any) -> None:
        self._network, self._learning = engine.network, ()
        self._norms = sync_batch_norm(bare(engine.network))

    def _iteration_started(self, engine: Any) -> None:
        assert self._network is not None
        learning = tuple(parameter.requires_grad for parameter in self._network.parameters())
        if learning == self._learning:
            return
        # The older one first: its hooks on the parameters end with it.
        engine.network = self._network
        device = engine.state.device
        engine.network = DistributedDataParallel(
            self._network,
            device_ids=[device] if device.type == "cuda" else None,
            find_unused_parameters=self.find_unused_parameters,
        )
        self._learning = learning

    def _model_completed(self, engine: Any) -> None:
        output = engine.state.output
        losses = EpochMeans.losses(output)
        if losses:
            values = torch.stack([torch.as_tensor(value, device=engine.state.device) for value in losses.values()])
            dist.all_reduce(values)
            output.update(zip(losses, values / processes(), strict=True))

    def _completed(self, engine: Any) -> None:
        engine.network = self._network
        unsync_batch_norm(self._norms)
        all_here()
