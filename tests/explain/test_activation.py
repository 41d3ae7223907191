"""Class activation: against formulas written out, and where a map's cells look."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.errors import UsageError
from monai_staging.explain.activation import (
    METHODS,
    cell_centres,
    class_activation,
    covering_centres,
    enlarged,
    explained_copy,
    map_layer,
    share_of_largest,
)
from monai_staging.networks.backbones import Backbone, build_backbone


class Small(nn.Module):
    """Two convolutions, a mean or a maximum over the picture, a linear layer."""

    def __init__(self, pooling: str = "mean") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(2, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1))
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 3)
        self.pooling = pooling

    def maps(self, x: Tensor) -> Tensor:
        return self.act(self.features(x))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.maps(x)
        return self.head(maps.mean((2, 3)) if self.pooling == "mean" else maps.amax((2, 3)))


def picked(place: int) -> Any:
    return lambda network, x: network(x)[:, [place]]


def test_behind_a_mean_grad_cam_is_the_head_s_weighted_sum() -> None:
    network, x = Small(), torch.rand(1, 2, 16, 12)
    (found,) = class_activation(explained_copy(network), x, ["act"], picked(2))
    weighted = torch.einsum("c,bchw->bhw", network.head.weight[2], network.maps(x)) / (8 * 6)
    torch.testing.assert_close(found[:, 0], functional.relu(weighted).detach())


def test_behind_a_maximum_only_the_cell_that_was_taken_speaks() -> None:
    network, x = Small("max"), torch.rand(1, 2, 16, 12)
    with torch.no_grad():
        network.head.weight.abs_()
    (found,) = class_activation(explained_copy(network), x, ["act"], picked(1), "hirescam")
    maps = network.maps(x).detach()[0]
    expected = torch.zeros(maps.shape[1:])
    for channel, weight in zip(maps, network.head.weight[1].detach(), strict=True):
        row, column = divmod(int(channel.argmax()), maps.shape[2])
        expected[row, column] += weight * channel[row, column]
    torch.testing.assert_close(found[0, 0], expected)
    # Grad-CAM gives every cell the mean of that gradient, so that others show too.
    (mean,) = class_activation(explained_copy(network), x, ["act"], picked(1), "gradcam")
    assert (mean > 0).sum() > 3 * (found > 0).sum()


def test_grad_cam_plus_plus_is_its_formula() -> None:
    network, x = Small(), torch.rand(1, 2, 16, 12)
    (found,) = class_activation(explained_copy(network), x, ["act"], picked(0), "gradcam++")
    maps = network.maps(x).detach().requires_grad_()
    score = network.head(maps.mean((2, 3)))[0, 0]
    (gradient,) = torch.autograd.grad(score, maps)
    # Chattopadhyay et al. 2018, equations 10 and 19, for a score behind an exponential; MONAI adds 1e-7 below.
    below = 2 * gradient**2 + (maps * gradient**3).sum((2, 3), keepdim=True)
    alpha = gradient**2 / torch.where(below != 0, below, torch.ones(()))
    weights = (alpha * functional.relu(score.exp() * gradient)).sum((2, 3), keepdim=True)
    torch.testing.assert_close(
        found, functional.relu((weights * maps).sum(1, keepdim=True)).detach(), rtol=2e-2, atol=1e-6
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_network_stays_as_it_was(method: str) -> None:
    network = Small().train().requires_grad_(False)
    network.head.weight.grad = torch.ones_like(network.head.weight)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    class_activation(explained_copy(network), torch.rand(1, 2, 8, 8), ["act"], picked(0), method)
    assert network.training and network.act.inplace
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert bool((network.head.weight.grad == 1).all())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(UsageError, match=r"one of gradcam, gradcam\+\+, hirescam is needed, found 'saliency'"):
        class_activation(explained_copy(Small()), torch.rand(1, 2, 8, 8), ["act"], picked(0), "saliency")


def linear(backbone: Backbone) -> Backbone:
    """Every weight the same and above 0, means instead of maxima: what a cell sees is symmetrical about its centre."""
    copied: Any = explained_copy(backbone)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool2d | nn.MaxPool3d):
                pool = nn.AvgPool2d if isinstance(child, nn.MaxPool2d) else nn.AvgPool3d
                setattr(parent, name, pool(child.kernel_size, child.stride, child.padding))
    for name, parameter in copied.named_parameters():
        parameter.data.fill_(1 / parameter[0].numel() if name.endswith("weight") and parameter.dim() > 1 else 1.0)
    return copied


@pytest.mark.parametrize(
    ("name", "dims", "size"),
    [
        ("resnet10", 2, 192),
        ("resnet10", 3, 96),
        ("segresnet", 2, 160),
        ("vgg11", 2, 160),
        ("alexnet", 2, 256),
        ("alexnet", 3, 128),
    ],
)
def test_a_cell_is_where_its_gradient_is_centred(name: str, dims: int, size: int) -> None:
    backbone = linear(build_backbone(name, spatial_dims=dims, in_channels=1, width=0.125))
    x = torch.rand(1, 1, *[size] * dims).requires_grad_()
    layer = map_layer(backbone, x)
    seen: list[Tensor] = []
    dict(backbone.named_modules())[layer].register_forward_hook(lambda module, inputs, output: seen.append(output))
    backbone(x)
    cells = seen[0].shape[2:]
    centres = cell_centres(backbone, layer, cells, [size] * dims)
    middle = tuple(count // 2 for count in cells)
    (gradient,) = torch.autograd.grad(seen[0][(0, slice(None), *middle)].sum(), x)
    other = tuple(range(1, dims))
    profile = gradient[0, 0].abs().sum(other).numpy()
    found = (profile * np.arange(size)).sum() / profile.sum()
    assert centres[0][middle[0]] == pytest.approx(found, abs=0.6)


def test_the_map_is_the_last_one_with_cells_enough() -> None:
    backbone = build_backbone("resnet10", in_channels=1, width=0.125).eval()
    for size, layer in ((16, "layer1"), (24, "layer1"), (48, "layer2"), (96, "layer3"), (192, "layer4")):
        assert map_layer(backbone, torch.rand(1, 1, size, size)) == layer
    assert not any(module._forward_hooks for module in backbone.modules())


@pytest.mark.parametrize("size", [(48,), (48, 40), (16, 24, 12)])
def test_cells_that_share_the_pixels_are_enlarged_as_torch_does(size: tuple[int, ...]) -> None:
    small = tuple(length // 8 for length in size)
    maps = torch.rand(2, *small)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    expected = functional.interpolate(maps[:, None], size=size, mode=mode, align_corners=False)[:, 0]
    torch.testing.assert_close(enlarged(maps, covering_centres(small, size), size), expected)


def test_a_cell_s_value_is_kept_at_its_centre() -> None:
    maps = torch.rand(1, 4, 3)
    found = enlarged(maps, [np.arange(4) * 8.0, np.array([3.0, 7.0, 11.0])], (32, 16))
    torch.testing.assert_close(found[0, ::8][:, [3, 7, 11]], maps[0])
    torch.testing.assert_close(found[0, 31], found[0, 24])
    torch.testing.assert_close(found[0, 4, 3], maps[0, :2, 0].mean())


def test_shares_of_nothing_are_nothing() -> None:
    assert share_of_largest(torch.zeros(2, 3)).sum() == 0
    assert share_of_largest(torch.tensor([0.0, 2.0, 4.0])).tolist() == [0, 0.5, 1]
