"""Grad-CAM and Grad-CAM++ of MONAI on a network's feature maps, put where the maps' cells see.

MONAI hooks the network for good, turns in-place layers off, clears gradients, and its pooling of gradients wants
contiguous tensors: all of it happens to a copy. MONAI's own upsampling takes each cell for the square of pixels it
would cover if the map were a coarser picture. The cells of a padded convolution are not there: that of a ResNet's last
map is centred on its square's first pixel, half a cell (16 pixels) off.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.visualize import GradCAM, GradCAMpp
from numpy.typing import NDArray
from torch import Tensor, nn

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import Backbone, ConvBackbone


class HiResCAM(GradCAM):
    """Each cell with its own gradient, not with the map's mean (Draelos and Carin 2020, arXiv:2011.08891).

    Behind a maximum the gradient reaches single cells. Their mean would weigh every cell of the map by it, and the
    largest values anywhere would show instead of those that were taken.
    """

    def compute_map(  # type: ignore[override]  # as MONAI's own
        self, x: Tensor, class_idx: int | None = None, retain_graph: bool = False, layer_idx: int = -1, **inputs: Any
    ) -> Tensor:
        """(N, 1, *small), not negative."""
        _, maps, gradients = self.nn_module(x, class_idx=class_idx, retain_graph=retain_graph, **inputs)
        return (maps[layer_idx] * gradients[layer_idx]).sum(1, keepdim=True).relu()


METHODS: dict[str, type[GradCAM]] = {"gradcam": GradCAM, "gradcam++": GradCAMpp, "hirescam": HiResCAM}
"""Selvaraju et al. 2017 (arXiv:1610.02391), Chattopadhyay et al. 2018 (arXiv:1710.11063), and `HiResCAM`."""
LEAST_CELLS = 6
"""Along each axis of the map that is used: the last with so many, as a map of 2 x 2 cells says nothing of a place."""

Centres = Sequence[NDArray[np.floating[Any]]]
"""Of a map's cells along each of its axes, in pixels of the input, whose centres are whole."""


class _Score(nn.Module):
    """A network whose output is one number an item: what the gradient is taken of."""

    def __init__(self, network: nn.Module, score: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        self.score = score

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1) of the network's input."""
        return self.score(self.network, x)


def explained_copy(network: nn.Module) -> nn.Module:
    """A copy that may be hooked, in evaluation mode, with gradients, in contiguous memory."""
    duplicate: Any = copy.deepcopy(network).eval().requires_grad_(True)
    contiguous: nn.Module = duplicate.to(memory_format=torch.contiguous_format)
    return contiguous


def class_activation(
    network: nn.Module,
    x: Tensor,
    layers: Sequence[str],
    score: Callable[[nn.Module, Tensor], Tensor],
    method: str = "gradcam",
) -> list[Tensor]:
    """Maps of what spoke for a score, not yet enlarged.

    Args:
        network: a copy, see `explained_copy`.
        x: the network's input, one item.
        layers: names of modules of the network whose output is ``(N, C, *small)``.
        score: (1, 1) of network and input.
        method: one of `METHODS`.

    Returns:
        for each layer (N, 1, *small), not negative.

    Raises:
        UsageError: a method that is not known.
    """
    if method not in METHODS:
        raise UsageError(f"Class activation: one of {', '.join(METHODS)} is needed, found {method!r}")
    names: Any = [f"network.{layer}" for layer in layers]
    cam = METHODS[method](_Score(network, score), names)
    with torch.enable_grad():
        return [cam.compute_map(x, class_idx=0, layer_idx=place).detach() for place in range(len(layers))]


def map_layer(backbone: Backbone, x: Tensor) -> str:
    """The module whose output is the last scale with `LEAST_CELLS`, or the first scale where none has.

    Args:
        backbone: a copy; it is run once.
        x: an input of it.
    """
    made: list[tuple[str, Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda _, inputs, output, name=name: made.append((name, output)))
        for name, module in backbone.named_modules()
        if name
    ]
    with torch.no_grad():
        scales = backbone.pyramid(x)
    for hook in hooks:
        hook.remove()
    chosen = [scale for scale in scales if min(scale.shape[2:]) >= LEAST_CELLS] or scales[:1]
    # Of modules within each other that give the same tensor, the outermost is the last to be done.
    return [name for name, output in made if output is chosen[-1]][-1]


def cell_centres(backbone: Backbone, layer: str, small: Sequence[int], size: Sequence[int]) -> Centres:
    """Where the cells of a backbone's map look, by the arithmetic of its convolutions and poolings.

    Args:
        backbone: of `monai_staging.networks.backbones`.
        layer: as `map_layer` gives it.
        small: cells along each axis.
        size: pixels of the input along each axis.
    """
    if not isinstance(backbone, ConvBackbone):
        # Odd kernels, padded by half: the first cell is centred on the first pixel, as is the first of every scale.
        steps = [2 ** round(np.log2(pixels / cells)) for pixels, cells in zip(size, small, strict=True)]
        return [np.arange(cells) * float(step) for cells, step in zip(small, steps, strict=True)]
    first, step = 0.0, 1
    for module in list(backbone.features)[: int(layer.rpartition(".")[2]) + 1]:
        if hasattr(module, "kernel_size"):
            settings: Any = (module.kernel_size, module.stride, module.padding)
            kernel, stride, padding = (int(np.ravel(value)[0]) for value in settings)
            first += ((kernel - 1) / 2 - padding) * step
            step *= stride
    return [first + np.arange(cells) * float(step) for cells in small]


def covering_centres(small: Sequence[int], size: Sequence[int]) -> Centres:
    """Centres of cells that share the pixels evenly among them."""
    return [(np.arange(cells) + 0.5) * pixels / cells - 0.5 for cells, pixels in zip(small, size, strict=True)]


def enlarged(maps: Tensor, centres: Centres, size: Sequence[int]) -> Tensor:
    """(N, *small) to (N, *size): linear between the cells' centres, level beyond the outermost."""
    for axis, (at, pixels) in enumerate(zip(centres, size, strict=True), start=1):
        weights = [np.interp(np.arange(pixels), at, cell) for cell in np.eye(len(at))]
        weight = torch.tensor(np.stack(weights), dtype=maps.dtype, device=maps.device)
        maps = torch.tensordot(maps, weight, dims=([axis], [0])).movedim(-1, axis)
    return maps


def share_of_largest(maps: Tensor) -> Tensor:
    """Maps as parts of their largest value, 0 to 1; all 0 where nothing spoke for the score."""
    largest = maps.amax()
    return maps / largest if largest > 0 else maps
