"""A backbone as stages, from its input to its output: what a fine-tuning freezes, thaws or slows down as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import POOLS, ConvBackbone, ResNetBackbone, SegResNetBackbone


class Stage(NamedTuple):
    """Neighbouring layers of a backbone that work at one scale.

    Attributes:
        name: as the field calls it, ``stem`` or ``layer4`` for instance.
        modules: its layers; in a network of several backbones, those of all of them.
    """

    name: str
    modules: tuple[nn.Module, ...]

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its parameters, each once."""
        return nn.ModuleList(self.modules).parameters()


def stages(backbone: nn.Module) -> list[Stage]:
    """A backbone's stages, from the input to the output.

    AlexNet and VGG are parted after each pooling (``stage1``, ``stage2`` ...), a ResNet is its ``stem`` and ``layer1``
    to ``layer4``, a SegResNet its ``stem`` and ``level1`` to ``level5``. Of several backbones side by side (a
    ``ModuleList``, one a view) the same stages are taken together.

    Args:
        backbone: one of :data:`monai_staging.networks.backbones.NETWORKS`, or a ``ModuleList`` of them.

    Raises:
        UsageError: a backbone of a kind that is not known, backbones of different kinds, or a parameter that belongs
            to no stage or to more than one.
    """
    found = _side_by_side(backbone) if isinstance(backbone, nn.ModuleList) else _of_one(backbone)
    owned = Counter(id(parameter) for stage in found for parameter in stage.parameters())
    wrong = [name for name, parameter in backbone.named_parameters() if owned[id(parameter)] != 1]
    if wrong:
        raise UsageError(
            f"Stages: every parameter of a backbone must be in exactly one stage; {type(backbone).__name__} has "
            f"{len(wrong)} that are not, among them {', '.join(wrong[:3])}"
        )
    return found


def _side_by_side(backbones: nn.ModuleList) -> list[Stage]:
    each = [_of_one(backbone) for backbone in backbones]
    names = {tuple(stage.name for stage in found) for found in each}
    if len(names) != 1:
        kinds = sorted({type(backbone).__name__ for backbone in backbones})
        raise UsageError(f"Stages: backbones side by side must have the same stages, found {kinds or 'none at all'}")
    return [
        Stage(peers[0].name, tuple(module for stage in peers for module in stage.modules))
        for peers in zip(*each, strict=True)
    ]


def _of_one(backbone: nn.Module) -> list[Stage]:
    if isinstance(backbone, ConvBackbone):
        return _between_poolings(backbone.features)
    if isinstance(backbone, ResNetBackbone):
        layers = [Stage(name, (getattr(backbone, name),)) for name in ("layer1", "layer2", "layer3", "layer4")]
        return [Stage("stem", (backbone.conv1, backbone.bn1)), *layers]
    if isinstance(backbone, SegResNetBackbone):
        levels = [Stage(f"level{index}", (level,)) for index, level in enumerate(backbone.layers, start=1)]
        return [Stage("stem", (backbone.conv_init,)), *levels]
    raise UsageError(
        "Stages: known of ConvBackbone (AlexNet, VGG), ResNetBackbone and SegResNetBackbone; found "
        f"{type(backbone).__name__}"
    )


def _between_poolings(features: nn.Sequential) -> list[Stage]:
    parts: list[list[nn.Module]] = [[]]
    for layer in features:
        parts[-1].append(layer)
        if isinstance(layer, POOLS):
            parts.append([])
    return [Stage(f"stage{index}", tuple(part)) for index, part in enumerate(parts, start=1) if part]
