"""Backbones by name: an image goes in, a feature map comes out. Adding one is a module and a line in `_builders`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_staging.errors import DataError, UsageError
from monai_staging.networks import alexnet, vgg
from monai_staging.networks.alexnet import alexnet_features, initialise
from monai_staging.networks.resnet import ResNetFeatures
from monai_staging.networks.vgg import vgg_features

# A backbone has no head, so these parts of a classifier's state dict have no place to go.
HEADS = ("classifier.", "fc.")
# How many mismatching names an error lists before it only counts.
LISTED = 8
POOLS = (nn.MaxPool2d, nn.MaxPool3d)


class Backbone(nn.Module, ABC):
    """What every backbone is: ``(B, in_channels, *spatial)`` in, ``(B, out_channels, *small)`` out.

    Attributes:
        out_channels: channels of the feature map.
        min_size: smallest input, in pixels along each axis, that leaves a feature map of at least one cell.
    """

    out_channels: int
    min_size: int

    @abstractmethod
    def pyramid(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The feature maps of every scale, finest first; the last is what ``forward`` gives."""

    def load(self, weights: str | Path) -> None:
        """Loads a state dict from a local file, all of it or nothing.

        The file holds the state dict itself, or one under ``"state_dict"`` or ``"model"``. A leading ``module.`` on the
        names (`DataParallel`, MedicalNet) is taken off, and a classifier's head (`HEADS`) is left out, as a backbone
        has none.

        Raises:
            DataError: the file is not there or holds no state dict, or names or shapes differ: the differences are
                listed.
        """
        state = read_state_dict(weights)
        given = {name: value for name, value in state.items() if not name.startswith(HEADS)}
        expected = self.state_dict()
        # Files from before batch norm counted its batches lack the counter; it starts at 0, which changes no output.
        missing = [n for n in expected if n not in given and not n.endswith("num_batches_tracked")]
        unexpected = [n for n in given if n not in expected]
        shapes = [
            f"{n} (file {tuple(given[n].shape)}, network {tuple(expected[n].shape)})"
            for n in expected
            if n in given and given[n].shape != expected[n].shape
        ]
        found = [
            f"{what}: {', '.join(names[:LISTED])}" + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
            for what, names in (("missing", missing), ("not in the network", unexpected), ("other shape", shapes))
            if names
        ]
        if found:
            raise DataError(f"Weights {weights}: do not fit this {type(self).__name__}; " + "; ".join(found))
        self.load_state_dict(given, strict=True)


class ConvBackbone(Backbone):
    """The convolutions of AlexNet or VGG, under the same names: ``features.0.weight`` and so on."""

    def __init__(self, features: nn.Sequential, out_channels: int, min_size: int) -> None:
        super().__init__()
        self.features = features
        self.out_channels = out_channels
        self.min_size = min_size
        initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last feature map, ``(B, out_channels, *small)``."""
        features: torch.Tensor = self.features(x)
        return features

    def pyramid(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The map before each pooling, and the last."""
        maps = []
        for layer in self.features:
            if isinstance(layer, POOLS):
                maps.append(x)
            x = layer(x)
        return [*maps, x]


class ResNetBackbone(Backbone, ResNetFeatures):
    """`ResNetFeatures` as a `Backbone`: MONAI's state-dict names without the head."""

    # Every layer pads, so even one pixel leaves one cell.
    min_size = 1

    def pyramid(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The maps of the four stages, at a 4th, 8th, 16th and 32nd of the input's size."""
        x = self.maxpool(self.act(self.bn1(self.conv1(x))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps


def _alexnet(**settings: Any) -> Backbone:
    return ConvBackbone(*alexnet_features(**settings), min_size=alexnet.MIN_SIZE)


def _vgg(depth: int, batch_norm: bool, **settings: Any) -> Backbone:
    return ConvBackbone(*vgg_features(depth, batch_norm, **settings), min_size=vgg.MIN_SIZE)


def _builders() -> dict[str, Callable[..., Backbone]]:
    builders: dict[str, Callable[..., Backbone]] = {"alexnet": _alexnet}
    for depth in (11, 13, 16, 19):
        builders[f"vgg{depth}"] = partial(_vgg, depth, False)
        builders[f"vgg{depth}_bn"] = partial(_vgg, depth, True)
    for depth in (10, 18, 34, 50):
        builders[f"resnet{depth}"] = partial(ResNetBackbone, depth)
    return builders


_BUILDERS = _builders()
NETWORKS: tuple[str, ...] = tuple(_BUILDERS)
"""Names that `build_backbone` knows."""


def build_backbone(
    name: str,
    *,
    spatial_dims: int = 2,
    in_channels: int = 3,
    width: float = 1.0,
    weights: str | Path | None = None,
) -> Backbone:
    """A backbone by its name.

    Args:
        name: one of `NETWORKS`.
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        width: factor on every channel count; 0.5 is half as wide.
        weights: local file with a state dict for exactly this network, see `Backbone.load`.

    Raises:
        UsageError: a name that is not in `NETWORKS`, or another argument out of range.
        DataError: weights that are not there or do not fit.
    """
    if name not in _BUILDERS:
        raise UsageError(f"Network: one of {', '.join(NETWORKS)} is needed, found {name!r}")
    backbone = _BUILDERS[name](spatial_dims=spatial_dims, in_channels=in_channels, width=width)
    if weights is not None:
        backbone.load(weights)
    return backbone


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """The state dict in a local file, on the CPU; only tensors are unpickled, never code.

    Raises:
        DataError: the file is not there, cannot be read as weights, or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"Weights {path}: a local file is needed, none is there")
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, runtime, zip and key errors alike for what is no state dict
        raise DataError(f"Weights {path}: not readable as a state dict: {error}") from error
    for key in ("state_dict", "model"):
        if isinstance(document, Mapping) and isinstance(document.get(key), Mapping):
            document = document[key]
            break
    if not isinstance(document, Mapping) or not document:
        raise DataError(f"Weights {path}: a state dict is needed, found {type(document).__name__} with no tensors")
    wrong = [str(name) for name, value in document.items() if not isinstance(value, torch.Tensor)]
    if wrong:
        raise DataError(
            f"Weights {path}: a state dict has tensors only, found others under {', '.join(wrong[:LISTED])}"
        )
    return {str(name).removeprefix("module."): value for name, value in document.items()}
