from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from monai.data.box_utils import box_iou as monai_iou

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.retinanet import AnchorFocalLoss, FPNExtractor, build_detector, build_retinanet
from monai_staging.transforms.ellipsoids import ellipsoid_share

SMALL = {"width": 0.125, "channels": 8}
BOXES = torch.tensor([[10.0, 8, 12, 15, 14, 17], [2, 20, 20, 12, 30, 29]])


def targets(*boxes: torch.Tensor) -> list[dict[str, torch.Tensor]]:
    return [{"boxes": own, "labels": torch.zeros(len(own), dtype=torch.long)} for own in boxes]


@pytest.mark.parametrize(
    ("network", "levels", "strides"),
    [("resnet10", (0, 1, 2), (4, 8, 16)), ("resnet18", (1, 2), (8, 16)), ("segresnet", (1, 3), (2, 8))],
)
def test_maps_have_the_strides_that_the_extractor_says(network: str, levels: tuple, strides: tuple) -> None:
    extractor = FPNExtractor(build_backbone(network, spatial_dims=3, in_channels=2, width=0.125), 2, levels, 16)
    assert extractor.strides == strides
    maps = extractor(torch.rand(2, 2, 48, 32, 32))
    assert [tuple(level.shape[1:]) for level in maps] == [(16, 48 // s, 32 // s, 32 // s) for s in strides]


def test_without_its_first_pooling_a_resnet_s_maps_are_twice_as_fine() -> None:
    network = build_retinanet(**SMALL, stem_pool=False)
    assert network.feature_extractor.strides == (2, 4, 8) and network.size_divisible == (8, 8, 8)
    (answer, *_) = network(torch.rand(1, 1, 32, 32, 32))["classification"]
    assert tuple(answer.shape[2:]) == (16, 16, 16)
    assert build_retinanet(**SMALL).state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": (2, 1)}, "levels ascend from 0 to 3"),
        ({"levels": (0, 4)}, "levels ascend from 0 to 3"),
        ({"channels": 12}, "a multiple of 8 above 0, found 12"),
        ({"network": "segresnet", "stem_pool": False}, "only a ResNet can do without its first pooling, found segres"),
    ],
)
def test_a_pyramid_that_cannot_be_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_retinanet(**{**SMALL, **settings})


def test_answers_are_in_single_precision_whatever_it_computes_in() -> None:
    network = build_retinanet(**SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        answers = network(torch.rand(2, 1, 32, 32, 32))
    assert {level.dtype for levels in answers.values() for level in levels} == {torch.float32}


def test_anchors_are_cubes_of_their_size_on_every_level() -> None:
    network = build_retinanet(**SMALL)
    detector = build_detector(network, anchor_sizes=(8 / 3, 5.25))
    image = torch.rand(2, 1, 32, 32, 32)
    anchors = detector.anchor_generator(image, network(image)["classification"])
    sides = (anchors[0][:, 3:] - anchors[0][:, :3]).numpy()
    np.testing.assert_allclose(sides, sides[:, :1].repeat(3, axis=1), rtol=1e-4)
    expected = sorted(size * scale for size in (8 / 3, 5.25) for scale in (1, 2, 4))
    found, counts = np.unique(sides[:, 0].round(3), return_counts=True)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert sorted(counts) == sorted([8**3] * 2 + [4**3] * 2 + [2**3] * 2)


@pytest.mark.parametrize("sizes", [(4.0,), (4.0, 0.0)])
def test_anchors_that_the_network_does_not_have_are_refused(sizes: tuple) -> None:
    with pytest.raises(UsageError, match="2 anchor sizes above 0 are needed"):
        build_detector(build_retinanet(**SMALL), anchor_sizes=sizes)


def test_every_box_has_an_anchor_that_overlaps_it_and_an_empty_image_has_none() -> None:
    detector = build_detector(build_retinanet(**SMALL), anchor_sizes=(4.0, 6.0))
    image = torch.rand(2, 1, 32, 32, 32)
    maps = detector.network(image)["classification"]
    detector.generate_anchors(image, {"classification": maps})
    counts = [level[0, 0].numel() for level in maps]
    first, second = detector.compute_anchor_matched_idxs(detector.anchors, targets(BOXES, torch.zeros(0, 6)), counts)
    assert set(first.tolist()) == {-1, 0, 1} and set(second.tolist()) == {-1}
    overlap = monai_iou(BOXES, detector.anchors[0])
    for number in (0, 1):
        matched = overlap[number, first == number]
        # ATSS: those above a threshold among the nearest ones, so the best of all is never left out.
        assert matched.max() == overlap[number].max() and (matched > 0).all()


def test_the_focal_loss_is_that_of_the_paper_and_counts_a_matched_anchor_once() -> None:
    logits = torch.tensor([[2.0], [-1.0], [0.5], [-3.0]])
    target = torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    p = 1 / (1 + np.exp(-logits.numpy()))
    right = np.where(target.numpy() == 1, p, 1 - p)
    expected = -((1 - right) ** 2) * np.log(right)
    assert float(AnchorFocalLoss(2.0)(logits, target)) == pytest.approx(expected.sum() / 2, rel=1e-5)
    assert float(AnchorFocalLoss(0.0)(logits, target)) == pytest.approx(-np.log(right).sum() / 2, rel=1e-5)
    # Without a lesion all of it counts.
    assert float(AnchorFocalLoss()(logits[1::2], target[1::2])) == pytest.approx(expected[1::2].sum(), rel=1e-5)


def test_the_lesion_map_is_learned_from_the_boxes_and_not_asked_for_in_detection() -> None:
    torch.manual_seed(0)
    network = build_retinanet(**SMALL, stem_pool=False)
    detector = build_detector(network, anchor_sizes=(4.0, 6.0)).train()
    image = torch.rand(2, 1, 32, 32, 32)
    (logits,) = network(image)["lesion_map"]
    assert logits.shape == (2, 1, 16, 16, 16) and float(logits.sigmoid().mean()) == pytest.approx(0.01, abs=0.01)
    right = torch.stack([ellipsoid_share(own / 2, (16, 16, 16)) for own in (BOXES, BOXES[:0])])[:, None]
    assert right[1].sum() == 0 and right[0].sum() > 60

    def map_loss(answer: torch.Tensor) -> float:
        answers = {"lesion_map": [answer], **{key: reshaped[key] for key in ("classification", "box_regression")}}
        return float(detector.compute_loss(answers, targets(BOXES, BOXES[:0]), detector.anchors, counts)["lesion_map"])

    answers = network(image)
    detector.generate_anchors(image, answers)
    counts = [level[0, 0].numel() for level in answers["classification"]]
    reshaped = {key: detector._reshape_maps(answers[key]) for key in ("classification", "box_regression")}
    assert map_loss(torch.logit(right, 1e-4)) < 0.3 < 0.8 < map_loss(logits)
    assert set(network.eval()(image)) == {"classification", "box_regression"}


def test_losses_reach_every_weight_that_boxes_need_without_torchvision() -> None:
    torch.manual_seed(0)
    network = build_retinanet(**SMALL)
    detector = build_detector(network, anchor_sizes=(4.0, 6.0)).train()
    losses = detector(torch.rand(2, 1, 32, 32, 32), targets(BOXES, torch.zeros(0, 6)))
    assert set(losses) == {"classification", "box_regression", "lesion_map"}
    sum(losses.values()).backward()
    for name, parameter in network.named_parameters():
        # Of maps that no box is looked for on, only the way down is used.
        if "fpn.layer_blocks.3" not in name:
            assert parameter.grad is not None, name
    assert "torchvision" not in sys.modules


def test_flat_answers_are_those_of_the_maps_in_the_detector_s_order() -> None:
    network, flat = build_retinanet(**SMALL), build_retinanet(**SMALL, flat=True)
    flat.load_state_dict(network.state_dict())
    image = torch.rand(2, 1, 32, 48, 32)
    detector = build_detector(network.eval(), anchor_sizes=(4.0, 6.0))
    maps, answers = network(image), flat.eval()(image)
    expected = [detector._reshape_maps(maps[key]) for key in ("classification", "box_regression")]
    torch.testing.assert_close(answers.permute(0, 2, 1), torch.cat(expected, dim=2), rtol=0, atol=0)
    assert answers.shape == (2, 7, len(detector.anchor_generator(image, maps["classification"])[0]))
