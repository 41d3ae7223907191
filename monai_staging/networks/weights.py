"""Weights of a whole network, from a file of ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from torch import nn

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
    try:
        network.load_state_dict(without_prefix(read_state_dict(path), network))
    except RuntimeError as error:
        raise DataError(
            f"Weights {path}: are of another network; give the --network, --width and --classes they were trained "
            f"with. {error}"
        ) from error
    return network
