"""Progress on stderr: a bar with the rate on a terminal, one plain line per step elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TextIO, TypeVar

T = TypeVar("T")


def progress(
    items: Iterable[T],
    *,
    total: int | None = None,
    description: str = "",
    unit: str = "case",
    stream: TextIO | None = None,
    lines: int = 10,
) -> Iterator[T]:
    """Yields ``items`` and says how far it is.

    Args:
        items: what to go through.
        total: how many there are; taken from ``len(items)`` where it has one.
        description: what is being done, a few words.
        unit: what one item is, singular.
        stream: where to write; stderr by default.
        lines: elsewhere than on a terminal, about this many lines are written for the whole.
    """
    if os.environ.get("RANK", "0") != "0":  # of the processes that torchrun starts alike, the first one speaks
        yield from items
        return
    stream = stream or sys.stderr
    if total is None and isinstance(items, Sized):
        total = len(items)
    if stream.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=description, unit=unit, file=stream)
        return
    start = time.monotonic()
    every = max(1, -(-total // lines)) if total else 100
    for done, item in enumerate(items, start=1):
        yield item
        if done % every == 0 or done == total:
            rate = done / max(time.monotonic() - start, 1e-9)
            of = f"/{total}" if total else ""
            stream.write(f"{description}: {done}{of} {unit}s, {rate:.2f} {unit}s/s\n")
            stream.flush()
