from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from monai_staging.errors import UsageError
from monai_staging.networks.alexnet import MIN_SIZE, AlexNet, scaled

# What torchvision's AlexNet has under these names.
TORCHVISION = {
    "features.0.weight": (64, 3, 11, 11),
    "features.0.bias": (64,),
    "features.3.weight": (192, 64, 5, 5),
    "features.3.bias": (192,),
    "features.6.weight": (384, 192, 3, 3),
    "features.6.bias": (384,),
    "features.8.weight": (256, 384, 3, 3),
    "features.8.bias": (256,),
    "features.10.weight": (256, 256, 3, 3),
    "features.10.bias": (256,),
    "classifier.1.weight": (4096, 9216),
    "classifier.1.bias": (4096,),
    "classifier.4.weight": (4096, 4096),
    "classifier.4.bias": (4096,),
    "classifier.6.weight": (1000, 4096),
    "classifier.6.bias": (1000,),
}


def test_names_and_shapes_are_torchvisions() -> None:
    with torch.device("meta"):
        network = AlexNet()
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == TORCHVISION
    assert sum(p.numel() for p in network.parameters()) == 61_100_840


def test_computes_what_its_weights_say() -> None:
    torch.manual_seed(0)
    network = AlexNet(num_classes=5, width=0.125).eval()
    state = network.state_dict()
    x = torch.rand(2, 3, 100, 90)

    def conv(y: torch.Tensor, index: int, **settings: int) -> torch.Tensor:
        weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
        return functional.conv2d(y, weight, bias, **settings).relu()

    y = functional.max_pool2d(conv(x, 0, stride=4, padding=2), 3, 2)
    y = functional.max_pool2d(conv(y, 3, padding=2), 3, 2)
    y = conv(conv(conv(y, 6, padding=1), 8, padding=1), 10, padding=1)
    y = functional.adaptive_avg_pool2d(functional.max_pool2d(y, 3, 2), 6).flatten(1)
    for index in (1, 4):
        y = functional.linear(y, state[f"classifier.{index}.weight"], state[f"classifier.{index}.bias"]).relu()
    y = functional.linear(y, state["classifier.6.weight"], state["classifier.6.bias"])
    torch.testing.assert_close(network(x), y)


@pytest.mark.parametrize("dims", [2, 3])
def test_smallest_input_leaves_one_cell(dims: int) -> None:
    network = AlexNet(spatial_dims=dims, in_channels=1, num_classes=2, width=0.125)
    assert network.features(torch.rand(1, 1, *[MIN_SIZE] * dims)).shape[2:] == (1,) * dims
    assert network(torch.rand(1, 1, *[64] * dims)).shape == (1, 2)
    with pytest.raises(RuntimeError):
        network.features(torch.rand(1, 1, *[MIN_SIZE - 1] * dims))


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    network = AlexNet(num_classes=3, width=0.125, dropout=0.5)
    x = torch.rand(1, 3, 64, 64)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize(
    ("channels", "width", "expected"), [(64, 1.0, 64), (64, 0.5, 32), (64, 0.01, 8), (192, 0.3, 56), (64, 1.5, 96)]
)
def test_scaled_channels(channels: int, width: float, expected: int) -> None:
    assert scaled(channels, width) == expected


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="spatial_dims must be 2 or 3, found 1"):
        AlexNet(spatial_dims=1)
    with pytest.raises(UsageError, match="factor above 0 is needed, found 0"):
        AlexNet(width=0)
