"""What the processes of a distributed training say to each other besides gradients: objects, by way of the CPU."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any, TypeVar

import ignite.distributed as idist
import torch
import torch.distributed as dist

T = TypeVar("T")

# The main process draws figures, resamples and writes while the others wait here: none of that is a process that died.
_PATIENCE = datetime.timedelta(days=1)
_group: dist.ProcessGroup | None = None


def open_exchange() -> None:
    """Sets up the exchange; every process calls it once, when the process group is there."""
    global _group
    _group = dist.new_group(backend="gloo", timeout=_PATIENCE)


def gathered(item: T) -> list[T]:
    """Every process's ``item``, tensors on the CPU, by rank; an empty list in all processes but the main one."""
    if idist.get_world_size() == 1:
        return [item]
    main = idist.get_rank() == 0
    items: list[Any] = [None] * idist.get_world_size() if main else []
    dist.gather_object(on_cpu(item), items if main else None, dst=0, group=_group)
    return items


def from_main(item: T) -> T:
    """The main process's ``item``, in every process; what the others give is not looked at."""
    if idist.get_world_size() == 1:
        return item
    items = [item]
    dist.broadcast_object_list(items, src=0, group=_group)
    return items[0]


def all_here() -> None:
    """Waits until every process is here."""
    if idist.get_world_size() > 1:
        dist.barrier(group=_group)


def on_cpu(value: Any) -> Any:
    """``value`` with the tensors in it on the CPU: in mappings, sequences, named tuples and data classes."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu() if value.is_cuda or value.requires_grad else value
    if isinstance(value, Mapping):
        return {key: on_cpu(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(on_cpu, value))
    if isinstance(value, list | tuple):
        return type(value)(map(on_cpu, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        moved = {name: on_cpu(item) for name, item in fields.items()}
        if any(moved[name] is not item and isinstance(item, torch.Tensor) for name, item in fields.items()):
            return dataclasses.replace(value, **moved)
    return value
