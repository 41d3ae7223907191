"""Backbones by name: an image goes in, a feature map comes out. Adding one is a module and a line in `_builders`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from monai_staging.errors import UsageError
from monai_staging.networks import alexnet, vgg
from monai_staging.networks.alexnet import alexnet_features, initialise
from monai_staging.networks.pretrained import MatchReport, load_pretrained
from monai_staging.networks.resnet import ResNetFeatures
from monai_staging.networks.segresnet import SegResNetFeatures
from monai_staging.networks.standardise import Standardise
from monai_staging.networks.vgg import vgg_features
from monai_staging.networks.wide_resnet import WideResNetFeatures

POOLS = (nn.MaxPool2d, nn.MaxPool3d)


class Backbone(nn.Module, ABC):
    """What every backbone is: ``(B, in_channels, *spatial)`` in, ``(B, out_channels, *small)`` out.

    Attributes:
        out_channels: channels of the feature map.
        min_size: smallest input, in pixels along each axis, that leaves a feature map of at least one cell.
        start: where its initial weights came from; ``None`` for random ones.
        network: its name, one of `NETWORKS`; empty if `build_backbone` did not make it.
    """

    out_channels: int
    min_size: int
    start: MatchReport | None = None
    network: str = ""

    def pyramid(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The feature maps of every scale, finest first; the last is what ``forward`` gives."""
        return self._scales(self._standardised(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last feature map, ``(B, out_channels, *small)``."""
        return self._last(self._standardised(x))

    @abstractmethod
    def _scales(self, x: torch.Tensor) -> list[torch.Tensor]:
        """What `pyramid` gives of a standardised image."""

    def _last(self, x: torch.Tensor) -> torch.Tensor:
        """What ``forward`` gives of a standardised image."""
        return self._scales(x)[-1]

    def _standardised(self, x: torch.Tensor) -> torch.Tensor:
        standardise = self._modules.get("standardise")
        return x if standardise is None else standardise(x)


class ConvBackbone(Backbone):
    """The convolutions of AlexNet or VGG, under the same names: ``features.0.weight`` and so on."""

    def __init__(self, features: nn.Sequential, out_channels: int, min_size: int) -> None:
        super().__init__()
        self.features = features
        self.out_channels = out_channels
        self.min_size = min_size
        initialise(self)

    def _last(self, x: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.features(x)
        return features

    def _scales(self, x: torch.Tensor) -> list[torch.Tensor]:
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

    def _scales(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The maps of the four stages, at a 4th, 8th, 16th and 32nd of the input's size."""
        x = self.maxpool(self.act(self.bn1(self.conv1(x))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps


class WideResNetBackbone(ResNetBackbone, WideResNetFeatures):
    """`WideResNetFeatures` as a `Backbone`."""


class SegResNetBackbone(Backbone, SegResNetFeatures):  # type: ignore[misc]  # MONAI's encoder gives a list
    """`SegResNetFeatures` as a `Backbone`: MONAI's state-dict names."""

    # Every layer pads, so even one pixel leaves one cell.
    min_size = 1

    def _scales(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The maps of the five levels, at the input's size, a half, a 4th, an 8th and a 16th of it."""
        return self._forward(x)


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
    builders["resnet50x2"] = WideResNetBackbone
    builders["segresnet"] = SegResNetBackbone
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
    statistics: Sequence[Sequence[float]] | None = None,
) -> Backbone:
    """A backbone by its name.

    Args:
        name: one of `NETWORKS`.
        spatial_dims: 2 or 3.
        in_channels: channels of the input.
        width: factor on every channel count; 0.5 is half as wide.
        weights: where its initial weights come from: a file, a name or an MLflow URI, see `load_pretrained`.
        statistics: (mean, standard deviation) of each channel, by which it standardises its input. Batch norm can do
            without; AlexNet and VGG hardly learn from images that are all on one side of 0.

    Raises:
        UsageError: a name that is not in `NETWORKS`, or another argument out of range.
        DataError: weights that are not there or do not fit.
    """
    if name not in _BUILDERS:
        raise UsageError(f"Network: one of {', '.join(NETWORKS)} is needed, found {name!r}")
    backbone = _BUILDERS[name](spatial_dims=spatial_dims, in_channels=in_channels, width=width)
    backbone.network = name
    if statistics is not None:
        backbone.standardise = Standardise(statistics, in_channels)
    if weights is not None:
        backbone.start = load_pretrained(backbone, weights)
    return backbone
