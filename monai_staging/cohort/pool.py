"""A function over many items in worker processes, where a worker may die."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerDied:
    """The result of an item whose worker process died (killed, out of memory, a fault in a decoder)."""


def run_in_workers(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[Item, Result | WorkerDied]]:
    """Yields items with their results, in the order they are done.

    At most ``workers`` items are being worked on, and no more than as many again wait with the workers. When a worker
    dies, the items that were with the workers are done again one at a time, so that only the one that kills its worker
    is lost.

    Args:
        function: picklable; what it raises is raised here.
        items: picklable.
        workers: processes, started afresh ("spawn": safe whatever threads the caller has).
    """
    waiting = deque(items)
    suspects: deque[Item] = deque()
    while waiting or suspects:
        if suspects:
            yield from _run(function, deque([suspects.popleft()]), 1, None)
        else:
            yield from _run(function, waiting, workers, suspects)


def _run(
    function: Callable[[Item], Result], items: deque[Item], workers: int, suspects: deque[Item] | None
) -> Iterator[tuple[Item, Result | WorkerDied]]:
    """Works ``items`` off until they are done or a worker dies; then those in hand are suspects (or lost)."""
    running: dict[Future[Result], Item] = {}
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(items)), mp_context=context, initializer=_start_worker)
    try:
        broken = False
        while running or (items and not broken):
            while items and not broken and len(running) < 2 * workers:
                try:
                    running[pool.submit(function, items[0])] = items[0]
                    items.popleft()
                except BrokenProcessPool:
                    broken = True
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                item = running.pop(future)
                try:
                    result: Result | WorkerDied = future.result()
                except BrokenProcessPool:
                    broken = True
                    if suspects is not None:
                        suspects.append(item)
                        continue
                    result = WorkerDied()
                yield item, result
    finally:
        # Also when the caller stops early, or a result was an error: nothing that waits is begun.
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    # An interrupt from the terminal reaches the parent too, which ends its workers in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """Ends this process when its parent is gone: a worker of a killed parent would wait for work for ever."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
