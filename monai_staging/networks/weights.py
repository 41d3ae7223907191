"""Weights of a whole network, from a file of ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from monai_staging.errors import DataError
from monai_staging.networks.pretrained import read_state_dict, without_prefix

Network = TypeVar("Network", bound=nn.Module)


def load_weights(network: Network, path: str | os.PathLike[str], key: str = "weights") -> Network:
    """Loads a state dict (``weights_only=True``), all of it or nothing, and returns the network.

    Half-precision files are widened to the network's own precision.

    Args:
        network: gets the weights.
        path: any file that `monai_staging.networks.pretrained.read_state_dict` reads; what `torch.compile` and the like
            put before the names is taken off.
        key: of a config, that names another file.

    Raises:
        DataError: no such file, not a state dict, or of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"Weights {path}: no such file. Train the network first, or name another file with --{key} PATH."
        )
    state = without_prefix(read_state_dict(path), network)
    if (channels := _image_channels(state, network)) is not None:
        raise DataError(f"Weights {path}: are for images of {channels[0]} channels; {channels[1]} are needed.")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(
            f"Weights {path}: are of another network; give the --network, --width and --classes they were trained "
            f"with. {error}"
        ) from error
    return network


def _image_channels(state: Mapping[str, Tensor], network: nn.Module) -> tuple[int, int] | None:
    """Channels of the image in a file and in a network, where their first convolutions differ in these alone."""
    for name, own in network.state_dict().items():
        if own.dim() > 2:
            given = state.get(name, own)
            kernels = [(*weight.shape[:1], *weight.shape[2:]) for weight in (given, own)]
            alike = kernels[0] == kernels[1] and given.shape != own.shape
            return (given.shape[1], own.shape[1]) if alike else None
    return None
