"""Segmentation networks: sizes, gradients, MONAI's numbers, gates and the pyramid."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import AttentionUnet
from monai.networks.nets.attentionunet import AttentionLayer
from torch import nn

from monai_staging.errors import UsageError
from monai_staging.networks.attention_unet import AttentionUNet
from monai_staging.networks.pyramid_attention import PyramidAttention
from monai_staging.networks.segmentation import NETWORKS, build_segmenter
from monai_staging.networks.segmenter import SegmentationOutput


@pytest.mark.parametrize("pyramid", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_answers_voxel_by_voxel_and_every_weight_learns(name: str, dims: int, pyramid: bool) -> None:
    torch.manual_seed(0)
    network = build_segmenter(name, spatial_dims=dims, in_channels=3, width=0.5, pyramid=pyramid)
    assert network.network == name
    size = (21, 16, 30)[:dims]
    output = network(torch.rand(2, 3, *size), details=True)
    assert isinstance(output, SegmentationOutput)
    assert output.logits.shape == (2, 1, *size)
    assert output.deep.shape == (2, 2 if name == "dynunet" else 0, 1, *size)
    assert output.gates.shape == (2, 3 if name == "attention_unet" else 0, *size)
    (output.logits.square().mean() + output.deep.square().sum()).backward()
    assert not [key for key, value in network.named_parameters() if value.grad is None]
    logits = network.eval()(torch.rand(1, 3, *size))
    assert isinstance(logits, torch.Tensor) and logits.shape == (1, 1, *size)


def monai_layers(network: AttentionUnet) -> list[AttentionLayer]:
    """MONAI's nested levels, finest first."""
    return [module for module in network.modules() if isinstance(module, AttentionLayer)]


def copy_weights(ours: AttentionUNet, theirs: AttentionUnet) -> None:
    def copy(to: nn.Module, of: nn.Module) -> None:
        to.load_state_dict(of.state_dict())

    copy(ours.head, theirs.model[0])
    copy(ours.last, theirs.model[2].conv)
    for place, layer in enumerate(monai_layers(theirs)):
        inner = layer.submodule
        copy(ours.encoder[place], inner[0] if isinstance(inner, nn.Sequential) else inner)
        copy(ours.up[place], layer.upconv)
        copy(ours.gates[place], layer.attention)
        copy(ours.merge[place], layer.merge)


@pytest.mark.parametrize("dims", [2, 3])
def test_attention_unet_computes_what_monais_does_and_shows_its_gates(dims: int) -> None:
    torch.manual_seed(0)
    theirs = AttentionUnet(dims, 2, 1, (8, 16, 32), (2, 2)).eval()
    ours = AttentionUNet(dims, 2, (8, 16, 32)).eval()
    copy_weights(ours, theirs)
    seen: list[torch.Tensor] = []
    for layer in monai_layers(theirs):
        layer.attention.psi.register_forward_hook(lambda module, inputs, output: seen.append(output))
    image = torch.rand(2, 2, *[16] * dims)
    with torch.no_grad():
        expected, found = theirs(image), ours(image, details=True)
        _, _, maps = ours.compute(image)
    torch.testing.assert_close(found.logits, expected)
    # MONAI's coarsest gate is the first to open.
    for ours_gate, their_gate in zip(maps[::-1], seen, strict=True):
        torch.testing.assert_close(ours_gate, their_gate)
    torch.testing.assert_close(found.gates[:, 0], seen[-1][:, 0])
    assert found.gates.min() >= 0 and found.gates.max() <= 1


@pytest.mark.parametrize(("dims", "size"), [(2, 161), (3, 61)])
def test_gates_of_every_level_are_drawn_where_they_look(dims: int, size: int) -> None:
    # All weights of a layer are the same, so that what a point does to a gate is centred on the point.
    network = build_segmenter("attention_unet", spatial_dims=dims, width=0.125).eval()
    for parameter in network.parameters():
        parameter.data.fill_(1 / parameter[0].numel() if parameter.dim() > 1 else 0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.ones_(module.weight)
    away = []
    with torch.no_grad():
        nothing = network(torch.zeros(1, 1, *[size] * dims), details=True).gates[0].double()
        # Over all places within a cell of the coarsest level, at a size to which something is added on either side.
        for place in range(size // 2, size // 2 + (8 if dims == 2 else 1)):
            image = torch.zeros(1, 1, *[size] * dims)
            image[(0, 0, *[place] * dims)] = 1
            moved = network(image, details=True).gates[0].double() - nothing
            rows = moved.flatten(2).sum(2)
            away.append((rows * torch.arange(size)).sum(1) / rows.sum(1) - place)
    found = torch.stack(away)
    assert found.shape[1] == 3
    assert found.mean(dim=0).abs().max() < 0.1 and found.abs().max() < 0.3


def test_what_is_added_to_an_odd_size_is_the_edge_and_is_cut_off_again() -> None:
    torch.manual_seed(0)
    network = build_segmenter("segresnet", in_channels=1, width=0.5).eval()
    image = torch.rand(1, 1, 13, 16)
    whole = torch.cat([image[:, :, :1], image, image[:, :, -1:], image[:, :, -1:]], dim=2)
    with torch.no_grad():
        torch.testing.assert_close(network(image), network(whole)[:, :, 1:14])


@pytest.mark.parametrize("size", [(8, 8), (5, 3), (1, 1), (4, 6, 5)])
def test_pyramid_attention_takes_any_size(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    attention = PyramidAttention(len(size), 16).eval()
    features = torch.rand(2, 16, *size)
    with torch.no_grad():
        assert attention(features).shape == features.shape
        # What is added is the same everywhere: a weighed feature that is nowhere leaves it alone.
        for parameter in attention.features.parameters():
            parameter.zero_()
        left = attention(features)
    torch.testing.assert_close(left, attention.whole(features).expand_as(left))


def test_the_pyramid_lies_between_encoder_and_decoder() -> None:
    for name in NETWORKS:
        network = build_segmenter(name, width=0.5, pyramid=True).eval()
        (attention,) = [module for module in network.modules() if isinstance(module, PyramidAttention)]
        shapes: list[torch.Size] = []
        attention.register_forward_hook(lambda module, inputs, output, kept=shapes: kept.append(output.shape))
        network(torch.rand(1, 1, 32, 32))
        assert shapes == [(1, 64, 4, 4)]


def test_what_makes_no_network_is_refused() -> None:
    with pytest.raises(UsageError, match="attention_unet, segresnet, dynunet is needed, found 'unet'"):
        build_segmenter("unet")
    with pytest.raises(UsageError, match="2 or 3 dimensions and at least 1 channel; found 4 and 1"):
        build_segmenter("segresnet", spatial_dims=4)
    with pytest.raises(UsageError, match="at least 4 channels; found 2 and 3"):
        PyramidAttention(2, 3)
