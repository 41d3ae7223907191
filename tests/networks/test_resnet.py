from __future__ import annotations

import copy

import pytest
import torch
from monai.networks.nets import resnet10, resnet18, resnet34, resnet50

from monai_staging.errors import UsageError
from monai_staging.networks.resnet import PadShortcut, ResNetFeatures

MEDICALNET = {
    10: (resnet10, "B", False),
    18: (resnet18, "A", True),
    34: (resnet34, "A", True),
    50: (resnet50, "B", False),
}


@pytest.mark.parametrize("depth", list(MEDICALNET))
def test_has_the_weights_of_medicalnets_form_in_3d(depth: int) -> None:
    build, shortcut, bias = MEDICALNET[depth]
    with torch.device("meta"):
        ours = ResNetFeatures(depth, spatial_dims=3, in_channels=1)
        theirs = build(
            spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type=shortcut, bias_downsample=bias
        )
    shapes = {name: value.shape for name, value in theirs.state_dict().items()}
    assert {name: value.shape for name, value in ours.state_dict().items()} == shapes


@pytest.mark.parametrize("dims", [2, 3])
def test_gives_what_monais_network_averages(dims: int) -> None:
    torch.manual_seed(0)
    ours = ResNetFeatures(18, spatial_dims=dims, in_channels=1, width=0.25).eval()
    settings = {"shortcut_type": "A"} if dims == 3 else {"shortcut_type": "B", "bias_downsample": False}
    theirs = resnet18(
        spatial_dims=dims, n_input_channels=1, feed_forward=False, conv1_t_stride=2, widen_factor=0.25, **settings
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 1, *[48] * dims)
    with torch.no_grad():
        features = ours(x)
        torch.testing.assert_close(features.flatten(2).mean(dim=2), theirs(x))
    assert features.shape == (2, ours.out_channels, *[2] * dims)


# Parameters of torchvision's networks less those of their last layer.
@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(18, 11_689_512 - 513_000), (34, 21_797_672 - 513_000), (50, 25_557_032 - 2_049_000)],
)
def test_2d_network_is_torchvisions(depth: int, parameters: int) -> None:
    with torch.device("meta"):
        network = ResNetFeatures(depth)
    assert sum(p.numel() for p in network.parameters()) == parameters
    names = set(network.state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer2.0.downsample.0.weight", "layer4.1.bn2.bias"} <= names
    assert "layer2.0.downsample.0.bias" not in names


@pytest.mark.parametrize("dims", [2, 3])
def test_pad_shortcut_gives_what_monais_gives(dims: int) -> None:
    x = torch.randn(2, 3, *range(5, 5 + dims))
    expected = ResNetFeatures(10, width=0.125)._downsample_basic_block(x, planes=7, stride=2, spatial_dims=dims)
    torch.testing.assert_close(PadShortcut(7, stride=2)(x), expected)


@pytest.mark.parametrize("dims", [2, 3])
def test_gradient_passes_through_the_shortcuts(dims: int) -> None:
    torch.manual_seed(0)
    network = ResNetFeatures(18, spatial_dims=dims, width=0.125).eval()
    # With the convolutions of the last stage's first block switched off, the shortcut is the only way.
    torch.nn.init.zeros_(network.layer4[0].bn2.weight)
    x = torch.rand(1, 3, *[64] * dims, requires_grad=True)
    network(x).sum().backward()
    assert x.grad is not None and bool((x.grad != 0).any())


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("depth", [10, 18])
def test_traced_and_scripted_networks_are_right_for_other_inputs(depth: int, dims: int) -> None:
    torch.manual_seed(0)
    network = ResNetFeatures(depth, spatial_dims=dims, in_channels=1, width=0.125).eval()
    traced = torch.jit.trace(network, torch.rand(1, 1, *[32] * dims))
    scripted = torch.jit.script(network)
    x = torch.rand(2, 1, *[40] * dims)
    with torch.no_grad():
        torch.testing.assert_close(traced(x), network(x))
        torch.testing.assert_close(scripted(x), network(x))


def test_can_be_copied() -> None:
    torch.manual_seed(0)
    network = ResNetFeatures(18, spatial_dims=3, in_channels=1, width=0.125).eval()
    twin = copy.deepcopy(network)
    x = torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(twin(x), network(x))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match=r"depth must be one of \[10, 18, 34, 50\], found 20"):
        ResNetFeatures(20)
    with pytest.raises(UsageError, match="spatial_dims must be 2 or 3, found 1"):
        ResNetFeatures(18, spatial_dims=1)
