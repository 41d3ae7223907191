"""Which process of a distributed training this is."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import ignite.distributed as idist

P = ParamSpec("P")
T = TypeVar("T")


def rank() -> int:
    """The rank of this process (0 alone); by torchrun's ``RANK`` before the process group is there."""
    if idist.get_world_size() > 1:
        return int(idist.get_rank())
    return int(os.environ.get("RANK", "0"))


def is_main_process() -> bool:
    """Whether this process is the one that writes files and logs."""
    return rank() == 0


def main_process_only(function: Callable[P, T]) -> Callable[P, T | None]:
    """Makes a function that writes what all processes would write alike: only the main one calls it, others get None.

    For the steps of a bundle's ``run``. They must not ask the other processes for anything, which do not wait for them.
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T | None:
        return function(*args, **kwargs) if is_main_process() else None

    return guarded
