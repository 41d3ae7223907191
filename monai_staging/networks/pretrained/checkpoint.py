"""State dicts in files: everybody's formats, and our own checkpoint, which says what it was trained on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_staging.archives import check_zip
from monai_staging.errors import DataError, UsageError
from monai_staging.files import write_archive
from monai_staging.networks.pretrained.exported import exported_state_dict
from monai_staging.networks.pretrained.source import Fact

# What trainers put a state dict under, in the order in which it is looked for.
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "trunk_state_dict",
    "model",
    "network",
    "net",
    "backbone",
)
# How many names a message lists before it only counts.
LISTED = 8


@dataclass(frozen=True)
class Checkpoint:
    """A backbone's weights and what they are.

    Attributes:
        state: the state dict, by the backbone's names.
        source: what the file says of itself, plain values: ``network``, ``spatial_dims``, ``in_channels``, ``width``,
            ``task``, ``run_id``, ``experiment``. Empty for a file that is not ours.
    """

    state: Mapping[str, torch.Tensor]
    source: Mapping[str, Fact] = field(default_factory=dict)


def write_checkpoint(path: str | os.PathLike[str], backbone: nn.Module, source: Mapping[str, Fact]) -> None:
    """Writes a backbone's weights and what they are, atomically; `read_checkpoint` reads them.

    What `torch.compile` and `DistributedDataParallel` put before the names is taken off.

    Args:
        path: where to.
        backbone: whose state dict is written, from whatever device it is on.
        source: see `Checkpoint`; strings, numbers and None only.

    Raises:
        UsageError: a value of ``source`` is of another type, which would not load without running code.
    """
    wrong = [str(key) for key, value in source.items() if not (value is None or type(value) in (str, int, float))]
    if wrong:
        raise UsageError(f"Checkpoint {path}: its source has strings, numbers and None only, others: {listed(wrong)}")
    state = {}
    for name, value in backbone.state_dict().items():
        while name.startswith(("_orig_mod.", "module.")):
            name = name.partition(".")[2]
        state[name] = value.detach().cpu().contiguous()
    write_archive(path, {"state_dict": state, "source": dict(source)})


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """The state dict in a local file, on the CPU, and what the file says of itself; never runs code from the file.

    Reads what ``torch.save`` writes, ``.safetensors``, and exported programs (``.pt2``). A state dict may lie under one
    of `WRAPPERS`, also one in another. Names are as in the file.

    Raises:
        DataError: the file is not there, cannot be read as weights, or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"Weights {path}: a local file is needed, none is there")
    try:
        document = _read(path)
    except DataError:
        raise
    except Exception as error:  # torch raises pickle, runtime, zip and key errors alike for what is no state dict
        raise DataError(f"Weights {path}: not readable as a state dict: {error}") from error
    source = document.get("source") if isinstance(document, Mapping) else None
    plain = {str(k): v for k, v in source.items() if _is_fact(v)} if isinstance(source, Mapping) else {}
    while isinstance(document, Mapping):
        inner = next((document[key] for key in WRAPPERS if isinstance(document.get(key), Mapping)), None)
        if inner is None:
            break
        document = inner
    if not isinstance(document, Mapping) or not document:
        raise DataError(f"Weights {path}: a state dict is needed, found {type(document).__name__} with no tensors")
    wrong = [str(name) for name, value in document.items() if not isinstance(value, torch.Tensor)]
    if wrong:
        raise DataError(f"Weights {path}: a state dict has tensors only, found others under {listed(wrong)}")
    return Checkpoint({str(name): value for name, value in document.items()}, plain)


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The state dict alone, see `read_checkpoint`."""
    return dict(read_checkpoint(path).state)


def listed(names: list[str]) -> str:
    """The first names, and how many more."""
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _is_fact(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float))


def _read(path: Path) -> Any:
    check_zip(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if path.suffix == ".pt2":
        return exported_state_dict(path)
    return torch.load(path, map_location="cpu", weights_only=True)
