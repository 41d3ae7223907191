from __future__ import annotations

import pytest
import torch
from monai.networks.nets import resnet50

from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.wide_resnet import WideResNetFeatures

# As FMCIB's authors build it.
FMCIB = {"spatial_dims": 3, "n_input_channels": 1, "conv1_t_stride": 2, "feed_forward": False, "bias_downsample": True}


def test_has_the_weights_of_fmcibs_form() -> None:
    with torch.device("meta"):
        ours = build_backbone("resnet50x2", spatial_dims=3, in_channels=1)
        theirs = resnet50(widen_factor=2, **FMCIB)
    shapes = {name: value.shape for name, value in theirs.state_dict().items()}
    assert {name: value.shape for name, value in ours.state_dict().items()} == shapes
    assert ours.out_channels == 4096


def test_gives_what_monais_network_averages() -> None:
    torch.manual_seed(0)
    theirs = resnet50(widen_factor=0.25, **FMCIB).eval()
    ours = WideResNetFeatures(width=0.125).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(1, 1, 40, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(ours(x).flatten(2).mean(dim=2), theirs(x))


@pytest.mark.parametrize("dims", [2, 3])
def test_pyramid_ends_in_the_feature_map(dims: int) -> None:
    torch.manual_seed(0)
    backbone = build_backbone("resnet50x2", spatial_dims=dims, in_channels=1, width=0.125).eval()
    x = torch.rand(1, 1, *[64] * dims)
    with torch.no_grad():
        maps = backbone.pyramid(x)
        torch.testing.assert_close(maps[-1], backbone(x))
    assert [tuple(scale.shape[1:3]) for scale in maps] == [(64, 16), (128, 8), (256, 4), (512, 2)]
