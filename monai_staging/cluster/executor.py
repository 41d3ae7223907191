"""What works a function off over many items, and the two that need nothing but this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from monai_staging.cohort.pool import WorkerDied, run_in_workers

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Works a function off over many items."""

    @property
    def workers(self) -> int:
        """How many items are being worked on at a time."""
        ...

    @property
    def threads(self) -> int:
        """How many threads the work on one item may use."""
        ...

    @property
    def machines(self) -> int:
        """On how many machines the workers are."""
        ...

    def run(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        reads: Sequence[Path] = (),
        writes: Sequence[Path] = (),
    ) -> Iterator[tuple[Item, Result | WorkerDied]]:
        """Yields items with their results, in the order they are done; those of a lost worker are done again.

        An item that loses its worker again and again has :class:`WorkerDied` for a result.

        Args:
            function: picklable; what it raises is raised here.
            items: picklable.
            reads: folders that the items are read from, which every worker must see as this process does.
            writes: folders that the workers and this process write to.

        Raises:
            UsageError: a worker does not see those folders.
        """
        ...


@dataclass(frozen=True)
class InProcess:
    """In this process, one item after the other."""

    workers: int = 1
    threads: int = 1
    machines: int = 1

    def run(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        reads: Sequence[Path] = (),
        writes: Sequence[Path] = (),
    ) -> Iterator[tuple[Item, Result | WorkerDied]]:
        """See :meth:`Executor.run`."""
        return ((item, function(item)) for item in items)


@dataclass(frozen=True)
class LocalPool:
    """In processes of this machine.

    Attributes:
        workers: how many.
    """

    workers: int
    machines: int = 1

    @property
    def threads(self) -> int:
        """Of each process; they share the cores."""
        return threads_each(self.workers)

    def run(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        reads: Sequence[Path] = (),
        writes: Sequence[Path] = (),
    ) -> Iterator[tuple[Item, Result | WorkerDied]]:
        """See :meth:`Executor.run`."""
        return run_in_workers(function, items, self.workers)


def threads_each(workers: int) -> int:
    """Threads of each of so many processes that share the cores.

    Who shares a machine with others says so by ``OMP_NUM_THREADS``: threads that fight over a core are many times
    slower.
    """
    cores = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, (int(cores) if cores.isdigit() else os.cpu_count() or 1) // workers)
