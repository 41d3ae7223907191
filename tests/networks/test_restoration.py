"""Networks around a backbone: what comes out, and that the backbone is what learns."""

from __future__ import annotations

import pytest
import torch

from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.pooled import PooledNetwork
from monai_staging.networks.restoration import RestorationNetwork


@pytest.mark.parametrize(
    ("name", "spatial_dims", "shape"),
    [("resnet10", 2, (33, 40)), ("alexnet", 2, (64, 64)), ("vgg11", 2, (40, 48)), ("resnet10", 3, (16, 17, 20))],
)
def test_an_image_of_the_input_s_size_comes_out(name: str, spatial_dims: int, shape: tuple[int, ...]) -> None:
    backbone = build_backbone(name, spatial_dims=spatial_dims, in_channels=2, width=0.125)
    statistics = {key: value.clone() for key, value in backbone.state_dict().items()}
    network = RestorationNetwork(backbone, spatial_dims, 2, features=8)
    assert backbone.training
    assert all(torch.equal(value, statistics[key]) for key, value in backbone.state_dict().items())
    image = torch.rand(2, 2, *shape)
    restored = network(image)
    assert restored.shape == image.shape
    restored.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_without_the_backbone_nothing_of_the_image_gets_through() -> None:
    network = RestorationNetwork(build_backbone("resnet10", in_channels=1, width=0.125), 2, 1, features=8).eval()
    for parameter in network.backbone.conv1.parameters():
        parameter.data.zero_()
    one, other = network(torch.rand(2, 1, 32, 32))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("hidden", "layers"), [(None, 1), (12, 3)])
def test_one_vector_an_image(hidden: int | None, layers: int) -> None:
    backbone = build_backbone("resnet10", in_channels=1, width=0.125)
    network = PooledNetwork(backbone, 5, hidden).eval()
    assert len(network.head) == layers
    image = torch.rand(3, 1, 40, 40)
    torch.testing.assert_close(network(image), network.head(backbone(image).mean(dim=(2, 3))))
    assert len(PooledNetwork(backbone, 5, dropout=0.5).head) == 2
