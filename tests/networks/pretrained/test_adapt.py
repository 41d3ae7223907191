"""What an adapted weight must give: the activations of the original on the image that the new one stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from monai_staging.networks.backbones import Backbone, build_backbone
from monai_staging.networks.pretrained.adapt import adapted, change_channels, changes, inflate


@given(before=st.integers(1, 7), after=st.integers(1, 7), dims=st.sampled_from([2, 3]), seed=st.integers(0, 1000))
@settings(max_examples=60)
def test_a_grey_image_gives_the_same_activations_through_any_number_of_channels(
    before: int, after: int, dims: int, seed: int
) -> None:
    torch.manual_seed(seed)
    convolve = functional.conv2d if dims == 2 else functional.conv3d
    weight = torch.randn(4, before, *[3] * dims, dtype=torch.float64)
    grey = torch.randn(2, 1, *[6] * dims, dtype=torch.float64)
    changed = change_channels(weight, after)
    assert changed.shape == (4, after, *[3] * dims)
    expected = convolve(grey.expand(-1, before, *[-1] * dims), weight)
    torch.testing.assert_close(convolve(grey.expand(-1, after, *[-1] * dims), changed), expected)


def test_three_channels_to_one_is_their_sum_and_one_to_three_a_third_each() -> None:
    weight = torch.randn(5, 3, 7, 7)
    torch.testing.assert_close(change_channels(weight, 1), weight.sum(dim=1, keepdim=True))
    grey = torch.randn(5, 1, 7, 7)
    torch.testing.assert_close(change_channels(grey, 3), grey.expand(-1, 3, -1, -1) / 3)


def test_neighbouring_slices_each_get_the_channels_in_order() -> None:
    # A slice with its neighbours is the channels three times over: every window keeps its own filter.
    weight = torch.randn(5, 3, 3, 3)
    torch.testing.assert_close(change_channels(weight, 9), torch.cat([weight] * 3, dim=1) / 3)


@given(depth=st.sampled_from([1, 3, 5, 7]), seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_an_inflated_kernel_sees_a_volume_that_is_constant_along_depth_as_its_slice(depth: int, seed: int) -> None:
    torch.manual_seed(seed)
    weight, image = torch.randn(4, 2, 3, 3, dtype=torch.float64), torch.randn(1, 2, 6, 6, dtype=torch.float64)
    volume = image.unsqueeze(-1).expand(-1, -1, -1, -1, 9)
    found = functional.conv3d(volume, inflate(weight, depth), padding=(1, 1, 0))
    expected = functional.conv2d(image, weight, padding=1)
    torch.testing.assert_close(found, expected.unsqueeze(-1).expand_as(found))


def test_what_changes_is_said_and_only_the_first_convolution_may_change_its_channels() -> None:
    assert changes((8, 3, 7, 7), (8, 3, 7, 7), first=False) == []
    assert changes((8, 3, 7, 7), (8, 1, 7, 7), first=True) == ["3 to 1 channels"]
    assert changes((8, 3, 7, 7), (8, 1, 7, 7), first=False) is None
    assert changes((8, 8, 1, 1), (8, 8, 1, 1, 1), first=False) == ["2D to 3D, depth 1"]
    assert changes((8, 3, 7, 7), (8, 1, 7, 7, 5), first=True) == ["2D to 3D, depth 5", "3 to 1 channels"]
    assert changes((8, 3, 7, 7), (8, 3, 5, 5, 5), first=True) is None
    assert changes((8, 3, 7, 7, 7), (8, 3, 7, 7), first=True) is None
    assert changes((16, 3, 7, 7), (8, 3, 7, 7), first=True) is None
    assert adapted(torch.ones(8, 3, 7, 7), (8, 1, 7, 7, 5)).shape == (8, 1, 7, 7, 5)
    assert adapted(torch.ones(8), (8,)).shape == (8,)


def trained(name: str, **settings: int) -> Backbone:
    """A narrow network whose batch norms have seen something."""
    torch.manual_seed(3)
    backbone = build_backbone(name, width=0.125, **settings).eval()
    for module in backbone.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return backbone


@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn", "resnet18", "segresnet"])
@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3), (3, 9)])
def test_a_network_of_other_channels_is_the_same_on_grey_images(
    name: str, before: int, after: int, tmp_path: Path
) -> None:
    source = trained(name, in_channels=before)
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    found = build_backbone(name, width=0.125, in_channels=after, weights=tmp_path / "weights.pt").eval()
    grey = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        expected = source(grey.expand(-1, before, -1, -1))
        torch.testing.assert_close(found(grey.expand(-1, after, -1, -1)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn", "resnet10", "resnet50", "segresnet"])
def test_an_inflated_network_sees_a_volume_that_is_constant_along_depth_as_its_slice(name: str, tmp_path: Path) -> None:
    source = trained(name, in_channels=3)
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    found = build_backbone(name, width=0.125, spatial_dims=3, in_channels=1, weights=tmp_path / "weights.pt").eval()
    for module in (*source.modules(), *found.modules()):
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            # Zeros beyond the first and the last slice would be a change along depth.
            module.padding_mode = "replicate"
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        expected = source(image.expand(-1, 3, -1, -1))
        volume = found(image.unsqueeze(-1).expand(-1, -1, -1, -1, 64))
    assert float(expected.abs().max()) > 1e-3
    torch.testing.assert_close(volume, expected.unsqueeze(-1).expand_as(volume), rtol=1e-3, atol=1e-4)
