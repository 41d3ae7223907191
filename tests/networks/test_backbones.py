from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from monai_staging.errors import DataError, UsageError
from monai_staging.networks.backbones import NETWORKS, build_backbone
from monai_staging.networks.vgg import VGG


def test_registry_holds_every_network() -> None:
    assert set(NETWORKS) == {
        "alexnet",
        *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
        *(f"resnet{depth}" for depth in (10, 18, 34, 50)),
        "resnet50x2",
        "segresnet",
    }


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_gives_a_feature_map_from_64_pixels(name: str, dims: int) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name, spatial_dims=dims, in_channels=2, width=0.125).eval()
    with torch.no_grad():
        features = backbone(torch.rand(1, 2, *[64] * dims))
    assert features.shape[:2] == (1, backbone.out_channels)
    assert min(features.shape[2:]) >= 1
    assert bool(torch.isfinite(features).all())
    assert backbone.min_size <= 64


@pytest.mark.parametrize(
    ("name", "channels"), [("alexnet", 256), ("vgg16", 512), ("resnet18", 512), ("resnet50", 2048)]
)
def test_width_scales_the_channels(name: str, channels: int) -> None:
    with torch.device("meta"):
        assert build_backbone(name).out_channels == channels
        assert build_backbone(name, width=0.5).out_channels == channels // 2


@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn", "resnet18"])
def test_same_in_channels_last_memory(name: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name, width=0.125).eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = backbone(x)
        found = backbone.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s}, lambda s: {"model": s, "epoch": 3}])
@pytest.mark.parametrize("name", ["vgg11_bn", "resnet10"])
def test_loads_weights_plain_wrapped_and_of_data_parallel(name: str, wrap: Any, tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = build_backbone(name, width=0.125)
    file = tmp_path / "weights.pt"
    torch.save(wrap({f"module.{key}": value for key, value in source.state_dict().items()}), file)
    loaded = build_backbone(name, width=0.125, weights=str(file))
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, source.state_dict()[key]), key


def test_classifier_weights_load_without_the_head(tmp_path: Path) -> None:
    classifier = VGG(11, True, width=0.125, num_classes=7)
    state = {k: v for k, v in classifier.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "vgg.pt")
    backbone = build_backbone("vgg11_bn", width=0.125, weights=tmp_path / "vgg.pt").eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), classifier.eval().features(x))


def test_every_kind_of_mismatch_is_listed(tmp_path: Path) -> None:
    state = dict(build_backbone("resnet10", width=0.125, in_channels=3).state_dict())
    state["stray.weight"] = torch.zeros(1)
    state["layer1.0.conv1.weight"] = torch.zeros(8, 8, 1, 1)
    del state["layer4.0.conv2.weight"]
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(DataError) as caught:
        build_backbone("resnet10", width=0.125, in_channels=1, weights=tmp_path / "weights.pt")
    message = str(caught.value)
    assert "missing: layer4.0.conv2.weight" in message
    assert "not in the network: stray.weight" in message
    assert "layer1.0.conv1.weight (file (8, 8, 1, 1), network (8, 8, 3, 3))" in message


def test_long_lists_of_mismatches_are_counted(tmp_path: Path) -> None:
    torch.save(build_backbone("vgg11", width=0.125).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(DataError, match=r"missing: conv1\.weight, .* and \d+ more"):
        build_backbone("resnet10", width=0.125, weights=tmp_path / "weights.pt")


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    def load(content: Any) -> None:
        torch.save(content, tmp_path / "file.pt")
        build_backbone("resnet10", width=0.125, weights=tmp_path / "file.pt")

    with pytest.raises(DataError, match="no such file. A local file is needed"):
        build_backbone("resnet10", weights=tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(DataError, match="not readable as a state dict"):
        build_backbone("resnet10", width=0.125, weights=tmp_path / "text.pt")
    with pytest.raises(DataError, match="not readable as a state dict"):
        load(VGG(11, width=0.125))  # a pickled module would run code
    with pytest.raises(DataError, match="a state dict is needed, found Tensor"):
        load(torch.zeros(3))
    with pytest.raises(DataError, match="found others under epoch"):
        load({"conv1.weight": torch.zeros(1), "epoch": 3})


def test_unknown_name_is_refused() -> None:
    with pytest.raises(UsageError, match="one of alexnet, .* is needed, found 'resnet101'"):
        build_backbone("resnet101")


@pytest.mark.parametrize("name", ["alexnet", "resnet10", "segresnet"])
def test_an_image_is_standardised_by_what_it_is_told_and_no_weight_holds_it(name: str) -> None:
    torch.manual_seed(0)
    plain = build_backbone(name, in_channels=2, width=0.125).eval()
    told = build_backbone(name, in_channels=2, width=0.125, statistics=[(0.5, 0.25), (0.2, 0.1)]).eval()
    told.load_state_dict(plain.state_dict())
    image = torch.rand(1, 2, 64, 64)
    by_hand = (image - torch.tensor([0.5, 0.2]).view(1, 2, 1, 1)) / torch.tensor([0.25, 0.1]).view(1, 2, 1, 1)
    torch.testing.assert_close(told(image), plain(by_hand))
    for found, expected in zip(told.pyramid(image), plain.pyramid(by_hand), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("statistics", [[(0.5, 0.2)] * 3, [(0.5, 0.0)], [(0.5,)], []])
def test_statistics_of_other_channels_are_refused(statistics: list[tuple[float, ...]]) -> None:
    with pytest.raises(UsageError, match="for each of 2 channels"):
        build_backbone("alexnet", in_channels=2, width=0.125, statistics=statistics)
