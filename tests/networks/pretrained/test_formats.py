"""Files in the formats that their publishers use fill the backbones they are for, and are refused elsewhere.

Names and shapes are written out from the publishers' code, not from our networks.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from monai_staging.errors import DataError
from monai_staging.networks.backbones import Backbone, build_backbone
from monai_staging.networks.pretrained import load_pretrained

Shapes = dict[str, tuple[int, ...]]


def tensors(shapes: Shapes) -> dict[str, torch.Tensor]:
    """A state dict with a value of its own in every tensor, which takes no space."""
    return {name: torch.tensor(1.0 + index).expand(shape) for index, (name, shape) in enumerate(shapes.items())}


def norm(name: str, channels: int, counter: bool = True) -> Shapes:
    """Batch norm."""
    shapes: Shapes = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes | ({f"{name}.num_batches_tracked": ()} if counter else {})


def alexnet() -> Shapes:
    """torchvision/models/alexnet.py."""
    features = {
        0: (64, 3, 11, 11),
        3: (192, 64, 5, 5),
        6: (384, 192, 3, 3),
        8: (256, 384, 3, 3),
        10: (256, 256, 3, 3),
    }
    shapes: Shapes = {}
    for index, shape in features.items():
        shapes |= {f"features.{index}.weight": shape, f"features.{index}.bias": shape[:1]}
    for index, size in {1: (4096, 9216), 4: (4096, 4096), 6: (1000, 4096)}.items():
        shapes |= {f"classifier.{index}.weight": size, f"classifier.{index}.bias": size[:1]}
    return shapes


def vgg16() -> Shapes:
    """torchvision/models/vgg.py, configuration D without batch norm."""
    shapes: Shapes = {}
    before = 3
    places = {64: (0, 2), 128: (5, 7), 256: (10, 12, 14)}
    layers = [(index, channels) for channels, indices in places.items() for index in indices]
    for index, channels in [*layers, *((index, 512) for index in (17, 19, 21, 24, 26, 28))]:
        shapes |= {f"features.{index}.weight": (channels, before, 3, 3), f"features.{index}.bias": (channels,)}
        before = channels
    for index, size in {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}.items():
        shapes |= {f"classifier.{index}.weight": size, f"classifier.{index}.bias": size[:1]}
    return shapes


def resnet_basic(blocks: tuple[int, ...]) -> Shapes:
    """torchvision/models/resnet.py, BasicBlock: 18 and 34; the files have no counters of batches."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64, counter=False)}
    before = 64
    for stage, (count, channels) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            shapes |= {f"{name}.conv1.weight": (channels, before, 3, 3), **norm(f"{name}.bn1", channels, False)}
            shapes |= {f"{name}.conv2.weight": (channels, channels, 3, 3), **norm(f"{name}.bn2", channels, False)}
            if before != channels:
                shapes |= {f"{name}.downsample.0.weight": (channels, before, 1, 1)}
                shapes |= norm(f"{name}.downsample.1", channels, False)
            before = channels
    return shapes | {"fc.weight": (1000, 512), "fc.bias": (1000,)}


def medicalnet(blocks: tuple[int, ...], bottleneck: bool) -> Shapes:
    """Tencent/MedicalNet, models/resnet.py, in `DataParallel`, with the segmentation head."""
    shapes: Shapes = {"conv1.weight": (64, 1, 7, 7, 7), **norm("bn1", 64)}
    before = 64
    for stage, (count, planes) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), start=1):
        after = 4 * planes if bottleneck else planes
        for block in range(count):
            name = f"layer{stage}.{block}"
            layers = [(before, planes, 3), (planes, planes, 3)]
            if bottleneck:
                layers = [(before, planes, 1), (planes, planes, 3), (planes, after, 1)]
            for index, (inside, outside, size) in enumerate(layers, start=1):
                shapes[f"{name}.conv{index}.weight"] = (outside, inside, size, size, size)
                shapes |= norm(f"{name}.bn{index}", outside)
            # Shortcut B has a convolution, A has no weights.
            if bottleneck and before != after:
                shapes |= {
                    f"{name}.downsample.0.weight": (after, before, 1, 1, 1),
                    **norm(f"{name}.downsample.1", after),
                }
            before = after
    shapes |= {"conv_seg.0.weight": (before, 32, 2, 2, 2), "conv_seg.0.bias": (32,), **norm("conv_seg.1", 32)}
    shapes |= {"conv_seg.3.weight": (32, 32, 3, 3, 3), **norm("conv_seg.4", 32), "conv_seg.6.weight": (2, 32, 1, 1, 1)}
    return {f"module.{name}": shape for name, shape in shapes.items()}


def ct_fm(filters: int = 32) -> Shapes:
    """project-lighter/ct_fm_feature_extractor: MONAI's SegResEncoder; ``filters`` for one that is less wide."""
    shapes: Shapes = {"conv_init.weight": (filters, 1, 3, 3, 3)}
    for level, blocks in enumerate((1, 2, 2, 4, 4)):
        for block in range(blocks):
            name = f"layers.{level}.blocks.{block}"
            for part in (1, 2):
                shapes |= norm(f"{name}.norm{part}", filters)
                shapes[f"{name}.conv{part}.weight"] = (filters, filters, 3, 3, 3)
        if level < 4:
            shapes[f"layers.{level}.downsample.weight"] = (2 * filters, filters, 3, 3, 3)
        filters *= 2
    return shapes


def fmcib(channels: int = 128) -> Shapes:
    """FMCIB's trunk: MONAI's resnet50 with widen_factor=2; ``channels`` for one that is less wide."""
    shapes: Shapes = {"conv1.weight": (channels, 1, 7, 7, 7), **norm("bn1", channels)}
    before = channels
    for stage, count in enumerate((3, 4, 6, 3), start=1):
        planes = channels * 2 ** (stage - 1)
        for block in range(count):
            name = f"layer{stage}.{block}"
            layers = [(before, planes, 1), (planes, planes, 3), (planes, 4 * planes, 1)]
            for index, (inside, outside, size) in enumerate(layers, start=1):
                shapes[f"{name}.conv{index}.weight"] = (outside, inside, size, size, size)
                shapes |= norm(f"{name}.bn{index}", outside)
            if block == 0:
                shapes |= {f"{name}.downsample.0.weight": (4 * planes, before, 1, 1, 1)}
                shapes |= {f"{name}.downsample.0.bias": (4 * planes,), **norm(f"{name}.downsample.1", 4 * planes)}
            before = 4 * planes
    return shapes


BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def values_are(backbone: Backbone, state: dict[str, torch.Tensor], names: tuple[str, ...], prefix: str = "") -> bool:
    """Every named tensor has the value that the file has under that name."""
    own = backbone.state_dict()
    return all(torch.equal(own[name], state[prefix + name]) for name in names)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "shapes", "first"),
    [
        ("alexnet", alexnet(), "features.0.weight"),
        ("vgg16", vgg16(), "features.0.weight"),
        ("resnet18", resnet_basic(BASIC[18]), "conv1.weight"),
    ],
)
def test_torchvisions_files_fill_the_whole_backbone(
    name: str, shapes: Shapes, first: str, channels: int, tmp_path: Path
) -> None:
    state = tensors(shapes)
    torch.save(state, tmp_path / "weights.pth")
    backbone = build_backbone(name, in_channels=channels)
    report = load_pretrained(backbone, tmp_path / "weights.pth")
    assert (report.share, report.used, report.differences()) == (1.0, 1.0, "")
    assert report.parameters == sum(parameter.numel() for parameter in backbone.parameters())
    assert report.adapted == (((first, "3 to 1 channels"),) if channels == 1 else ())
    assert set(report.left_out) == {key for key in shapes if key.startswith(("classifier", "fc"))}
    assert values_are(backbone, state, report.matched)
    assert len(report.matched) + len(report.adapted) + len(report.left_out) == len(shapes)
    if channels == 1:
        torch.testing.assert_close(backbone.state_dict()[first], state[first].sum(dim=1, keepdim=True))


def test_torchvisions_resnet18_fills_the_3d_backbone_which_has_no_weights_in_its_shortcuts(tmp_path: Path) -> None:
    state = tensors(resnet_basic(BASIC[18]))
    torch.save(state, tmp_path / "weights.pth")
    backbone = build_backbone("resnet18", spatial_dims=3, in_channels=1)
    report = load_pretrained(backbone, tmp_path / "weights.pth")
    assert report.share == 1.0 and not report.missing and not report.other_shape
    assert dict(report.adapted)["conv1.weight"] == "2D to 3D, depth 7, 3 to 1 channels"
    assert dict(report.adapted)["layer1.0.conv1.weight"] == "2D to 3D, depth 3"
    assert {key.split(".")[2] for key in report.unexpected} == {"downsample"}
    assert 0.98 < report.used < 1
    torch.testing.assert_close(
        backbone.state_dict()["layer1.0.conv1.weight"].sum(), state["layer1.0.conv1.weight"].sum()
    )
    assert values_are(backbone, state, report.matched)


@pytest.mark.parametrize(("depth", "blocks"), [(18, (2, 2, 2, 2)), (50, (3, 4, 6, 3))])
def test_medicalnets_files_fill_the_whole_backbone(depth: int, blocks: tuple[int, ...], tmp_path: Path) -> None:
    shapes = medicalnet(blocks, bottleneck=depth == 50)
    state = tensors(shapes)
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    backbone = build_backbone(f"resnet{depth}", spatial_dims=3, in_channels=1)
    report = load_pretrained(backbone, tmp_path / "weights.pth")
    assert (report.share, report.used, report.differences(), report.adapted) == (1.0, 1.0, "", ())
    assert report.left_out and all(key.startswith("conv_seg.") for key in report.left_out)
    assert values_are(backbone, state, report.matched, prefix="module.")


def test_ct_fms_file_fills_the_whole_encoder_alone_or_with_a_decoder(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    state = {name: value.contiguous() for name, value in tensors(ct_fm(filters=8)).items()}
    safetensors.save_file(state, tmp_path / "model.safetensors")
    backbone = build_backbone("segresnet", spatial_dims=3, in_channels=1, width=0.25)
    report = load_pretrained(backbone, tmp_path / "model.safetensors")
    assert (report.share, report.used, report.differences()) == (1.0, 1.0, "")
    assert len(report.matched) == len(backbone.state_dict())
    assert values_are(backbone, state, report.matched)
    whole = {f"encoder.{name}": value for name, value in state.items()} | {"up_layers.0.upsample.weight": torch.ones(9)}
    torch.save(whole, tmp_path / "segresnet.pt")
    report = load_pretrained(
        build_backbone("segresnet", spatial_dims=3, in_channels=1, width=0.25), tmp_path / "segresnet.pt"
    )
    assert (report.share, report.left_out) == (1.0, ("up_layers.0.upsample.weight",))


def test_fmcibs_file_fills_the_whole_backbone(tmp_path: Path) -> None:
    state = tensors(fmcib(channels=16))
    torch.save({"trunk_state_dict": state, "head_state_dict": {"0.weight": torch.ones(3)}}, tmp_path / "weights.torch")
    backbone = build_backbone("resnet50x2", spatial_dims=3, in_channels=1, width=0.125)
    report = load_pretrained(backbone, tmp_path / "weights.torch")
    assert (report.share, report.used, report.differences()) == (1.0, 1.0, "")
    assert values_are(backbone, state, report.matched)


@pytest.mark.parametrize(
    ("name", "shapes", "message"),
    [
        ("resnet18", resnet_basic(BASIC[34]), r"another network; 5\d\.\d% of them .*not in the network: layer1\.2\."),
        ("resnet34", resnet_basic(BASIC[18]), r"fit 5\d\.\d% of the parameters of resnet34.*missing: layer1\.2\."),
        ("alexnet", vgg16(), r"other shape: features\.0\.weight \(file \(64, 3, 3, 3\), network \(64, 3, 11, 11\)\)"),
        ("vgg16", alexnet(), "missing: "),
        ("resnet18", {"a.weight": (3, 3), "b": (4,)}, r"fit 0\.0%.*not in the network: a\.weight, b"),
    ],
)
def test_weights_of_another_network_are_refused_with_the_list(
    name: str, shapes: Shapes, message: str, tmp_path: Path
) -> None:
    torch.save(tensors(shapes), tmp_path / "weights.pth")
    backbone = build_backbone(name, width=1.0)
    before = next(backbone.parameters()).clone()
    with pytest.raises(DataError, match=message):
        load_pretrained(backbone, tmp_path / "weights.pth")
    assert torch.equal(next(backbone.parameters()), before)


def test_a_narrower_network_is_refused(tmp_path: Path) -> None:
    torch.save(tensors(resnet_basic(BASIC[18])), tmp_path / "weights.pth")
    with pytest.raises(DataError, match="other shape: conv1.weight"):
        build_backbone("resnet18", width=0.5, weights=tmp_path / "weights.pth")


def test_the_report_is_logged_for_people(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(tensors(alexnet()), tmp_path / "weights.pth")
    with caplog.at_level(logging.INFO, logger="monai_staging.networks"):
        build_backbone("alexnet", in_channels=1, weights=tmp_path / "weights.pth")
    text = caplog.messages[-1]
    assert text.startswith(f"Weights {tmp_path / 'weights.pth'}, sha256 ")
    assert "100.0% of the 2,454,208 parameters of alexnet, 9 tensors as they are, 1 adapted" in text
    assert "3 to 1 channels: features.0.weight" in text
    assert "left out: classifier.1.weight" in text
