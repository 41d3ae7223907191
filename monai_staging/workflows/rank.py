"""Which process of a distributed training this is."""

from __future__ import annotations

import os

import ignite.distributed as idist


def rank() -> int:
    """The rank of this process (0 alone); by torchrun's ``RANK`` before the process group is there."""
    if idist.get_world_size() > 1:
        return int(idist.get_rank())
    return int(os.environ.get("RANK", "0"))


def is_main_process() -> bool:
    """Whether this process is the one that writes files and logs."""
    return rank() == 0
