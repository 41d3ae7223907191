"""A loop over parts of a volume on several threads, each part single-threaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

Part = TypeVar("Part")


@lru_cache(maxsize=1)
def _openmp() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="openmp")


def _single_threaded() -> None:
    # A new thread takes over torch's setting the first time it asks, so it has to ask before the limit is set.
    torch.get_num_threads()
    _openmp().limit(limits=1)


def for_each(work: Callable[[Part], None], parts: Sequence[Part]) -> None:
    """Calls ``work`` with every part, on as many threads as torch uses in the caller (one in a DataLoader's worker).

    Torch would otherwise split every small operation among its threads and have them wait for each other after each. On
    cores that are not free, where several volumes are read at once for instance, that waiting takes ten times as long
    as the work. OpenMP's limit counts for the thread that sets it, so the caller keeps its own.
    """
    threads = min(torch.get_num_threads(), len(parts))
    if threads <= 1:
        for part in parts:
            work(part)
        return
    # Both modes belong to a thread; what the caller made under inference mode may be written to under it only.
    inference, gradient = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def guarded(part: Part) -> None:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradient and not inference):
            work(part)

    with ThreadPoolExecutor(threads, initializer=_single_threaded) as pool:
        for _ in pool.map(guarded, parts):
            pass
