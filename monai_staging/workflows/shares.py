"""Which part of a data loader's batches a process gets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sized
from typing import Any

import ignite.distributed as idist
from torch.utils.data import BatchSampler, DataLoader, Sampler

from monai_staging.errors import UsageError
from monai_staging.workflows.exchange import from_main


class TrainingShare(Sampler[list[int]]):
    """A process's part of each batch of a training: batches are as many times larger as there are processes.

    The main process draws an epoch's order as it would alone, whatever the sampler is (balanced, thinned, fed back),
    and tells it to the others. Of N processes each takes every Nth item of each batch. A last batch that cannot be
    shared out evenly is filled up with its own first items: every process trains with as many.

    Args:
        sampler: gives the items of an epoch.
        batch_size: of one process.
        drop_last: leave out a last batch that is smaller, unless it is the only one.
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        self.sampler = sampler
        self.whole = batch_size * idist.get_world_size()
        self.drop_last = drop_last

    def __len__(self) -> int:
        count = len(self.sampler)
        return count // self.whole if self.drop_last and count >= self.whole else -(-count // self.whole)

    def __iter__(self) -> Iterator[list[int]]:
        world, rank = idist.get_world_size(), idist.get_rank()
        order: list[int] = from_main(list(self.sampler) if rank == 0 else [])
        for number in range(len(self)):
            batch = order[number * self.whole : (number + 1) * self.whole]
            even = -(-len(batch) // world) * world
            yield list(itertools.islice(itertools.cycle(batch), rank, even, world))


class EvaluationShare(Sampler[Any]):
    """A process's part of the batches of an evaluation: of N processes each takes every Nth, made as in one process.

    Where there is none left for the last processes they get the first batch of all again, which does not count: see
    `counts`.

    Args:
        batches: all of them, in order; places of items, or lists of places.
    """

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return -(-len(self.batches) // idist.get_world_size())

    def __iter__(self) -> Iterator[Any]:
        every = list(self.batches)
        own = every[idist.get_rank() :: idist.get_world_size()]
        return iter((own + every[:1])[: len(self)])

    def counts(self, number: int, rank: int) -> bool:
        """Whether the batch of this number (from 0) of a process is one of all, rather than one more."""
        return number * idist.get_world_size() + rank < len(self.batches)


def training_share(loader: DataLoader[Any]) -> DataLoader[Any]:
    """This process's share of a training's loader; the loader itself, where there is one process.

    Raises:
        UsageError: a loader without a batch size whose sampler does not make batches.
    """
    if idist.get_world_size() == 1:
        return loader
    batches: Any = loader.batch_sampler if loader.batch_size is not None else loader.sampler
    if not isinstance(batches, BatchSampler):
        raise UsageError(
            "A training is shared between processes by batches of a BatchSampler; found a loader of "
            f"{type(batches).__name__}"
        )
    return _with(loader, TrainingShare(batches.sampler, batches.batch_size, batches.drop_last))


def evaluation_share(loader: DataLoader[Any]) -> DataLoader[Any]:
    """This process's share of an evaluation's loader; the loader itself, where there is one process."""
    if idist.get_world_size() == 1:
        return loader
    return _with(loader, EvaluationShare(loader.batch_sampler if loader.batch_size is not None else loader.sampler))


def share_of(loader: Any) -> EvaluationShare | None:
    """By what an evaluation's loader is shared; None where every process has all of it."""
    for owner in (getattr(loader, "batch_sampler", None), getattr(loader, "sampler", None)):
        if isinstance(owner, EvaluationShare):
            return owner
    return None


def _with(loader: DataLoader[Any], share: Sampler[Any]) -> DataLoader[Any]:
    """The same loader, of other batches."""
    if not isinstance(loader.dataset, Sized):
        raise UsageError("Data are shared between processes by their places; found a data set without a length")
    where = {"batch_sampler": share} if loader.batch_size is not None else {"batch_size": None, "sampler": share}
    return DataLoader(
        loader.dataset,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
        **where,
    )
