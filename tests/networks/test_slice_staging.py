"""The plain staging network: what it gives, and what it does not look at."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.pretrained import write_checkpoint
from monai_staging.networks.slice_staging import SliceStagingNetwork
from monai_staging.networks.staging import StagingOutput

CLASSES = {"t": ["T1a", "T1b", "T2a", "T4"], "n": ["N0", "N1", "N2", "N3"], "m": ["M0", "M1a", "M1b"]}


def network(name: str = "resnet10", **settings: object) -> SliceStagingNetwork:
    torch.manual_seed(0)
    return SliceStagingNetwork(name, CLASSES, width=0.125, **settings).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "vgg19", "resnet18"])
def test_the_published_families_give_letters_and_attention_and_no_map(name: str) -> None:
    net, image = network(name), torch.rand(2, 3, 64, 64, 5)
    output = net(image, details=True)
    assert isinstance(output, StagingOutput)
    assert output.logits.shape == (2, 11)
    torch.testing.assert_close(output.attention.sum(-1), torch.ones(2, 3))
    assert output.presence.numel() == output.diameter_mm.numel() == 0
    torch.testing.assert_close(net(image, torch.ones(2, 7)), output.logits)


def test_it_is_the_attention_s_mean_of_what_the_backbone_says_of_each_slice() -> None:
    net, image = network("vgg11"), torch.rand(1, 3, 64, 64, 4)
    output = net.details(image)
    slices = torch.stack([net.norm(net.backbone(image[..., place]).mean(dim=(2, 3)))[0] for place in range(4)])
    expected = torch.cat(
        [head(weights @ slices) for weights, head in zip(output.attention[0], net.heads.values(), strict=True)]
    )
    torch.testing.assert_close(output.logits[0], expected, atol=1e-5, rtol=1e-4)


def test_slices_are_a_bag_without_order() -> None:
    net, image = network(), torch.rand(1, 3, 64, 64, 6)
    torch.testing.assert_close(net(image), net(image.flip(-1)), atol=1e-5, rtol=1e-4)


def test_the_backbone_starts_where_it_is_told_to(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = build_backbone("resnet10", width=0.125)
    write_checkpoint(tmp_path / "backbone.pt", source, {"network": "resnet10", "width": 0.125})
    net = network(weights=str(tmp_path / "backbone.pt"), channels_last=False)
    for name, value in source.state_dict().items():
        torch.testing.assert_close(net.backbone.state_dict()[name], value)


def test_a_letter_without_classes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"found none for \['n'\]"):
        SliceStagingNetwork("resnet10", {**CLASSES, "n": []})
