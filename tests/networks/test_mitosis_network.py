"""The three-layer network: its size, and that one pass over an image is what its tiles give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_staging.errors import UsageError
from monai_staging.networks.mitosis import TileClassifier


def test_it_has_the_weights_of_the_description() -> None:
    network = TileClassifier(64, filters=(128, 64), affine=512)
    expected = 3 * 128 * 9 + 128 * 128 * 9 + 128 * 64 * 9 + 64 * 64 * 9  # convolutions without a bias
    expected += 2 * 2 * (128 + 64)  # norms
    expected += 64 * 16 * 16 * 512 + 512 + 512 + 1  # the affine layer of a flattened tile, the classifier
    assert sum(weight.numel() for weight in network.parameters()) == expected
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 1, 1, 1)


@pytest.mark.parametrize(("kernel", "filters"), [(3, (8, 4)), (5, (4,)), (3, (4, 4, 4))])
def test_a_pass_over_an_image_is_its_tiles(kernel: int, filters: tuple) -> None:
    torch.manual_seed(0)
    network = TileClassifier(32, 6, filters, kernel, affine=16).eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.uniform_(-0.2, 0.2)
            norm.running_var.uniform_(0.5, 1.5)
    image = torch.rand(1, 6, 64, 80)
    logits = network(image)
    step = network.stride
    assert step == 2 ** len(filters) and logits.shape[2:] == ((64 - 32) // step + 1, (80 - 32) // step + 1)
    features = network.features(image)
    for row, column in ((0, 0), (1, 2), (2, 3)):
        part = features[..., row : row + 32 // step, column : column + 32 // step]
        torch.testing.assert_close(network.head(part)[0, 0, 0, 0], logits[0, 0, row, column])
        # A tile by itself differs only by the zeros around it.
        own = network(image[..., row * step : row * step + 32, column * step : column * step + 32])
        assert (own[0, 0, 0, 0] - logits[0, 0, row, column]).abs() < 0.1


@pytest.mark.parametrize("settings", [{"kernel": 2}, {"filters": ()}, {"tile": 30}])
def test_what_cannot_be_built_is_refused(settings: dict) -> None:
    with pytest.raises(UsageError, match="TileClassifier: an odd kernel"):
        TileClassifier(**settings)
