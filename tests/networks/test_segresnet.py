from __future__ import annotations

import pytest
import torch
from monai.networks.nets.segresnet_ds import SegResNetDS

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.segresnet import SegResNetFeatures


def test_has_the_weights_of_ct_fms_form() -> None:
    with torch.device("meta"):
        ours = build_backbone("segresnet", spatial_dims=3, in_channels=1)
        # ct_fm_segresnet's config.json
        whole = SegResNetDS(spatial_dims=3, in_channels=1, init_filters=32, blocks_down=(1, 2, 2, 4, 4))
    shapes = {name: value.shape for name, value in whole.encoder.state_dict().items()}
    assert {name: value.shape for name, value in ours.state_dict().items()} == shapes
    assert ours.out_channels == 512
    # Hugging Face gives ct_fm_feature_extractor/model.safetensors 311 MB.
    assert round(sum(value.numel() * value.element_size() for value in ours.state_dict().values()) / 1e6) == 311


@pytest.mark.parametrize("dims", [2, 3])
def test_gives_what_the_encoder_of_monais_segresnet_gives(dims: int) -> None:
    torch.manual_seed(0)
    whole = SegResNetDS(spatial_dims=dims, in_channels=2, init_filters=8, blocks_down=(1, 2, 2, 4, 4)).eval()
    backbone = build_backbone("segresnet", spatial_dims=dims, in_channels=2, width=0.25).eval()
    backbone.load_state_dict(whole.encoder.state_dict())
    x = torch.rand(1, 2, *[32] * dims)
    with torch.no_grad():
        expected, found = whole.encoder(x), backbone.pyramid(x)
        assert len(found) == 5
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(backbone(x), expected[-1])


def test_one_pixel_leaves_one_cell() -> None:
    backbone = build_backbone("segresnet", spatial_dims=3, in_channels=1, width=0.25).eval()
    assert backbone(torch.rand(1, 1, 1, 1, 1)).shape == (1, backbone.out_channels, 1, 1, 1)


def test_traced_network_is_right_for_other_inputs() -> None:
    torch.manual_seed(0)
    network = build_backbone("segresnet", spatial_dims=3, in_channels=1, width=0.25).eval()
    exported = torch.export.export(network, (torch.rand(1, 1, 32, 32, 32),)).module()
    x = torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(exported(x), network(x))


def test_wrong_dimensions_are_refused() -> None:
    with pytest.raises(UsageError, match="spatial_dims must be 2 or 3, found 1"):
        SegResNetFeatures(spatial_dims=1)
