"""The autoencoder: its output has the image's size, and comes from the code alone."""

from __future__ import annotations

import pytest
import torch

from monai_staging.networks.autoencoder import AutoencoderNetwork
from monai_staging.networks.backbones import build_backbone


@pytest.mark.parametrize(("name", "dims", "side"), [("resnet10", 2, 64), ("resnet10", 3, 33), ("vgg11", 2, 70)])
def test_the_image_has_its_size_again(name: str, dims: int, side: int) -> None:
    backbone = build_backbone(name, spatial_dims=dims, in_channels=2, width=0.25)
    network = AutoencoderNetwork(backbone, dims, 2, code=4, features=32)
    image = torch.rand(2, 2, *[side] * dims)
    assert network(image).shape == image.shape and network.backbone is backbone


def test_all_goes_through_the_code() -> None:
    backbone = build_backbone("resnet10", spatial_dims=2, in_channels=1, width=0.25)
    network = AutoencoderNetwork(backbone, 2, 1, code=3).eval()
    kept = []
    network.code.register_forward_hook(lambda _, __, code: kept.append(code.shape))
    network.code.register_forward_hook(lambda _, __, code: torch.zeros_like(code))
    one, other = network(torch.rand(1, 1, 64, 64)), network(torch.rand(1, 1, 64, 64))
    assert torch.equal(one, other) and kept[0] == (1, 3, 2, 2)
