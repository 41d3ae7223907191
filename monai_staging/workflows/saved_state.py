"""The state of a training as a file that is read without running code."""

from __future__ import annotations

import os
import random
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from monai_staging.errors import DataError
from monai_staging.files import write_archive

FORMAT = 1


def plain(value: Any, name: str = "state") -> Any:
    """``value`` made of tensors and Python's own types only, as ``torch.load(weights_only=True)`` can read it.

    Raises:
        DataError: if something in it is neither (said now, when it is saved, not when it is needed).
    """
    if isinstance(value, np.generic):  # before float: numpy.float64 is one, and pickles as NumPy's
        return value.item()
    if value is None or isinstance(value, str | bool | int | float | bytes):
        return value
    if isinstance(value, torch.Tensor):
        # A subclass (MONAI's MetaTensor) would need its code to be read back.
        return value.detach().as_subclass(torch.Tensor)
    if isinstance(value, np.ndarray):
        # torch has no arithmetic for some unsigned types but stores them all as int64 without loss below 2**63.
        return torch.from_numpy(value.astype(np.int64) if value.dtype.kind == "u" else value.copy())
    if isinstance(value, Mapping):
        return {key: plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [plain(item, f"{name}.{index}") for index, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    raise DataError(
        f"Checkpoint: {name} is a {type(value).__name__}; only tensors and plain values can be kept safely."
    )


def random_state() -> dict[str, Any]:
    """The states of the random generators of Python, NumPy and torch (all GPUs)."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": plain(random.getstate()),
        "numpy": plain((kind, keys, position, has_gauss, cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Puts every generator back to ``random_state()``; GPUs only if there are as many as there were."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def bare(network: torch.nn.Module) -> torch.nn.Module:
    """The network itself, out of torch.compile and (Distributed)DataParallel, so that names do not depend on them."""
    while True:
        inner = getattr(network, "_orig_mod", None)
        if inner is None and isinstance(network, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
            inner = network.module
        if not isinstance(inner, torch.nn.Module):
            return network
        network = inner


def write_state(state: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes ``state`` to ``path``, atomically.

    Raises:
        DataError: if something in it is neither a tensor nor a plain value.
    """
    write_tensors({**state, "format": FORMAT}, path)


def write_tensors(content: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes ``content`` with ``torch.save``, atomically; the same content gives the same bytes."""
    write_archive(path, plain(content))


def read_tensors(path: str | os.PathLike[str]) -> Any:
    """What ``torch.save`` wrote to ``path``, tensors on the CPU, without running code; its checksums are verified.

    Raises:
        DataError: if the file is damaged.
    """
    try:
        # torch reads an archive without looking at its checksums.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive fails in a hundred ways
        raise DataError(f"{path} cannot be read: {error}") from error
    raise DataError(f"{path}: the checksum of {damaged} is wrong; the file is damaged.")


def read_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state in ``path``, tensors on the CPU; its checksums are verified.

    Raises:
        DataError: if the file is damaged, or of another format.
    """
    try:
        state = read_tensors(path)
    except DataError as error:
        raise DataError(f"Checkpoint {error}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise DataError(f"Checkpoint {path} is of format {found}, not {FORMAT}.")
    return state
