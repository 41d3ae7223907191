"""What in the picture spoke for a class: class activation of the package's classifiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from monai_staging.errors import UsageError
from monai_staging.explain.activation import (
    cell_centres,
    class_activation,
    covering_centres,
    enlarged,
    explained_copy,
    map_layer,
    share_of_largest,
)
from monai_staging.networks.nodule import NoduleNetwork
from monai_staging.networks.slice_staging import SliceStagingNetwork
from monai_staging.networks.staging import LETTERS, StagingNetwork


@dataclass(frozen=True, eq=False)
class Activation:
    """What spoke for a class.

    Attributes:
        maps: 0 to 1, as parts of the largest value in them: (V, *spatial) of a nodule's views, (X, Y, S) of a study.
        class_index: the class's place among the network's outputs, or among the letter's categories.
        probability: of the class.
    """

    maps: Tensor
    class_index: int
    probability: float


def nodule_activation(
    network: NoduleNetwork,
    views: Tensor,
    features: Tensor | None = None,
    class_index: int | None = None,
    method: str = "gradcam",
) -> Activation:
    """What in a nodule's views spoke for a class, in the eyes of the backbones.

    Measured features, the trees and the kernel on them speak with the picture; a map shows the picture's part alone.

    Args:
        network: of any kind of view, with shared backbones or with one a view.
        views: (V, C, *spatial) of one nodule, as the network takes them.
        features: (F) measured, where the network needs them.
        class_index: 0 or 1 where there is one output, which is the log-odds of 1; else an output. The likeliest where
            it is left out.
        method: see `monai_staging.explain.activation.METHODS`.

    Raises:
        UsageError: a class or a method that is not there, or input that does not fit the network.
    """
    duplicate = explained_copy(network)
    with torch.no_grad():
        own = _logits(duplicate, views[None].float(), features)[0]
    binary = len(own) == 1
    chances = torch.cat([1 - own.sigmoid(), own.sigmoid()]) if binary else own.softmax(0)
    chosen = _chosen(class_index, chances, "Nodule")

    def score(module: nn.Module, x: Tensor) -> Tensor:
        logits = _logits(module, x, features)
        return torch.cat([-logits, logits], dim=1)[:, [chosen]] if binary else logits[:, [chosen]]

    backbones: Any = duplicate.backbones
    layer = map_layer(backbones[0], views[:1].float())
    names = [f"backbones.{place}.{layer}" for place in range(len(backbones))]
    maps = torch.cat(class_activation(duplicate, views[None].float(), names, score, method))[:, 0]
    size = views.shape[2:]
    centres = cell_centres(backbones[0], layer, maps.shape[1:], size)
    shares = share_of_largest(enlarged(maps, centres, size))
    return Activation(shares, chosen, float(chances[chosen]))


def study_activation(
    network: StagingNetwork | SliceStagingNetwork,
    image: Tensor,
    letter: str,
    category: str | None = None,
    clinical: Tensor | None = None,
    method: str | None = None,
) -> Activation:
    """What in a study spoke for a category of T, N or M.

    Of a `StagingNetwork` it is the joint map that everything further is read from: backbone and granulometry. The whole
    gradient counts, whatever ``map_gradient`` the network was trained with.

    Args:
        network: that stages.
        image: (C, X, Y, S) of one study, as the network takes it.
        letter: ``t``, ``n`` or ``m``.
        category: one of the network's; the likeliest where it is left out.
        clinical: as the network takes it, of one study.
        method: of `monai_staging.explain.activation.METHODS`; where it is left out ``hirescam`` of a `StagingNetwork`,
            which reads the largest values of its map, and ``gradcam`` of a `SliceStagingNetwork`, which reads means.

    Raises:
        UsageError: a letter, a category or a method that is not there.
    """
    if letter not in LETTERS:
        raise UsageError(f"Study activation: one of {', '.join(LETTERS)} is needed, found {letter!r}")
    categories = network.classes[letter]
    if category is not None and category not in categories:
        raise UsageError(f"Study activation: one of {', '.join(categories)} is needed, found {category!r}")
    first = sum(len(network.classes[other]) for other in LETTERS[: LETTERS.index(letter)])
    own = slice(first, first + len(categories))
    duplicate: Any = explained_copy(network)
    x = image[None].float().contiguous()
    beside = None if clinical is None else clinical[None]
    with torch.no_grad():
        chances = duplicate(x, beside)[0, own].softmax(0)
    chosen = _chosen(None if category is None else list(categories).index(category), chances, "Study")

    def score(module: nn.Module, given: Tensor) -> Tensor:
        logits: Tensor = module(given, beside)
        return logits[:, [first + chosen]]

    size = image.shape[1:3]
    if isinstance(network, StagingNetwork):
        duplicate.map_gradient = 1.0
        duplicate.map_context = _Watched(duplicate.map_context)
        (found,) = class_activation(duplicate, x, ["map_context.map"], score, method or "hirescam")
        maps = found[0, 0].movedim(0, -1)
        # A cell of this map answers for the voxels it covers: so is it trained, and so does the granulometry see.
        size = image.shape[1:]
        centres = covering_centres(maps.shape, size)
        maps = enlarged(maps[None], centres, size)[0]
    else:
        layer = map_layer(duplicate.backbone, x[:, :, :, :, 0])
        (found,) = class_activation(duplicate, x, [f"backbone.{layer}"], score, method or "gradcam")
        centres = cell_centres(duplicate.backbone, layer, found.shape[2:], size)
        maps = enlarged(found[:, 0], centres, size).movedim(0, -1)
    return Activation(share_of_largest(maps), chosen, float(chances[chosen]))


class _Watched(nn.Module):
    """Shows a module's input (B, S, X, Y, F) as MONAI needs it: ``(B, F, S, X, Y)``, out of a module of its own."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.map = nn.Identity()
        self.inner = inner

    def forward(self, maps: Tensor) -> Tensor:
        """What the module makes of it."""
        shown = self.map(maps.movedim(-1, 1).contiguous())
        passed: Tensor = self.inner(shown.movedim(1, -1))
        return passed


def _logits(network: nn.Module, views: Tensor, features: Tensor | None) -> Tensor:
    """(1, K) of one nodule."""
    logits: Tensor = network(views, None if features is None else features[None].float())
    return logits


def _chosen(index: int | None, chances: Tensor, whose: str) -> int:
    """The class asked for, or the likeliest."""
    if index is None:
        return int(chances.argmax())
    if not 0 <= index < len(chances):
        raise UsageError(f"{whose} activation: a class from 0 to {len(chances) - 1} is needed, found {index}")
    return index
