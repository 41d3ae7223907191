"""Norms folded into convolutions: fewer modules, the same answers, also of weights that training has moved."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_staging.errors import UsageError
from monai_staging.networks.folding import fold_norms
from monai_staging.networks.segmentation import build_segmenter


def moved(network: nn.Module) -> nn.Module:
    for norm in network.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(one, nn.modules.batchnorm._BatchNorm) for one in network.modules())


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", ["attention_unet", "segresnet", "dynunet"])
def test_the_answers_are_the_same(name: str, dims: int) -> None:
    torch.manual_seed(0)
    network = moved(build_segmenter(name, spatial_dims=dims, in_channels=2, width=0.5))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    folded = fold_norms(network)
    image = torch.rand(1, 2, *[32] * dims)
    with torch.inference_mode():
        expected = network(image)
        torch.testing.assert_close(folded(image), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    if name == "attention_unet":
        assert norms(network) > 15 and norms(folded) == 0


def test_what_is_no_sequence_stays() -> None:
    """Of a module with children nobody knows in which order it calls them."""

    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(self.norm(x))

    assert norms(fold_norms(moved(Backwards()))) == 1
    assert norms(fold_norms(moved(nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU(), nn.BatchNorm2d(2))))) == 1
    assert norms(fold_norms(moved(nn.Sequential(nn.ConvTranspose2d(2, 3, 3), nn.BatchNorm2d(3))))) == 0
    with pytest.raises(UsageError, match="evaluation mode"):
        fold_norms(nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2)).train())
