"""The two box networks: shapes as published, boxes from attention, and that each can learn."""

from __future__ import annotations

import pytest
import torch

from monai_staging.errors import UsageError
from monai_staging.networks.box_regressor import (
    AttentionBoxRegressor,
    BoxOutput,
    PlainBoxRegressor,
    ZoomBoxRegressor,
)


def small() -> AttentionBoxRegressor:
    torch.manual_seed(0)
    return AttentionBoxRegressor("resnet10", in_channels=2, width=0.125, features=16)


def test_the_plain_network_is_the_published_one() -> None:
    layers = PlainBoxRegressor(512).layers
    linear = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
    assert [(one.in_features, one.out_features) for one in linear] == [(32 * 128 * 128, 256), (256, 4)]
    convolutions = [layer for layer in layers if isinstance(layer, torch.nn.Conv2d)]
    assert [(one.in_channels, one.out_channels, one.kernel_size) for one in convolutions] == [
        (1, 16, (3, 3)),
        (16, 32, (3, 3)),
    ]
    assert PlainBoxRegressor(64).layers[7].in_features == 32 * 16 * 16
    with pytest.raises(UsageError, match="multiple of 4 is needed, found 90"):
        PlainBoxRegressor(90)


def zooming(**settings: int) -> ZoomBoxRegressor:
    torch.manual_seed(0)
    return ZoomBoxRegressor("resnet10", in_channels=2, width=0.125, features=16, **settings)


def only(boxes: torch.Tensor) -> BoxOutput:
    return BoxOutput(boxes, torch.ones(len(boxes), 1, 1), torch.zeros(len(boxes)), boxes)


def test_all_give_boxes_in_pixels_and_all_of_it_when_asked() -> None:
    for network, channels in ((PlainBoxRegressor(64), 1), (small(), 2), (zooming(coarse=64, close=64), 2)):
        image = torch.rand(3, channels, 64, 64)
        network.eval()
        boxes, output = network(image), network(image, details=True)
        assert boxes.shape == (3, 4) and output.presence.shape == (3,)
        torch.testing.assert_close(output.boxes, boxes)
    assert PlainBoxRegressor(64).details(torch.rand(2, 1, 64, 64)).attention.numel() == 0


def test_attention_sums_to_one_and_no_box_ends_before_it_begins() -> None:
    network = small()
    torch.nn.init.normal_(network.edges.weight, std=3.0)
    output = network.details(10 * torch.randn(8, 2, 96, 64))
    assert output.attention.shape == (8, 12, 8)
    torch.testing.assert_close(output.attention.sum(dim=(1, 2)), torch.ones(8))
    assert (output.boxes[:, :2] < output.boxes[:, 2:]).all()


def test_the_box_is_the_attention_s_mean_of_what_cells_propose() -> None:
    network = small()
    with torch.no_grad():
        # All attention on the cell of row 2 and column 5 of 8 x 8; edges as far as a new network proposes.
        score = torch.full((1, 1, 8, 8), -1e4)
        score[0, 0, 2, 5] = 0
        network.score.forward = lambda features: score  # type: ignore[method-assign]
        (box,) = network(torch.rand(1, 2, 64, 64))
    reach = 64 * network.FIRST
    middle = torch.tensor([5.5 * 8, 2.5 * 8])
    torch.testing.assert_close(box, torch.cat([middle - reach, middle + reach]))


def test_the_second_look_sees_what_the_first_found_and_its_box_lies_in_the_image() -> None:
    network = zooming(coarse=64, close=64).eval()
    low, high = torch.tensor([[40, 50], [100, 20]]), torch.tensor([[56, 62], [120, 44]])
    image = torch.zeros(2, 2, 128, 128)
    for one, (x0, y0), (x1, y1) in zip(image, low.tolist(), high.tolist(), strict=True):
        one[:, y0:y1, x0:x1] = 1
    truth = torch.cat([low, high], dim=1).float()
    # The first look, at half of the resolution, is off by 3 pixels of the image.
    network.look.details = lambda seen: only((truth + 3) / 2)  # type: ignore[method-assign]

    def around_what_is_white(square: torch.Tensor) -> BoxOutput:
        assert square.shape == (2, 2, 64, 64)
        share = square[:, 0].clamp(0, 1)
        # A side of the rectangle is as long as so many pixels are white, those at its edges in part.
        columns, rows = share.amax(dim=1), share.amax(dim=2)
        middles = [(line * (torch.arange(64) + 0.5)).sum(dim=1) / line.sum(dim=1) for line in (columns, rows)]
        half = [line.sum(dim=1) / 2 for line in (columns, rows)]
        edges = [middle - sign * side for sign in (1, -1) for middle, side in zip(middles, half, strict=True)]
        return only(torch.stack(edges, dim=1))

    network.look_closely.details = around_what_is_white  # type: ignore[method-assign]
    output = network.details(image)
    torch.testing.assert_close(output.first, truth + 3)
    torch.testing.assert_close(output.boxes, truth, atol=0.5, rtol=0)


def test_the_square_is_twice_as_wide_as_the_first_box_and_wavers_in_training_alone() -> None:
    network = zooming(coarse=64, close=64)
    first = torch.tensor([[20.0, 30.0, 40.0, 35.0], [10.0, 10.0, 10.5, 11.0]])
    network.look.details = lambda seen: only(first)  # type: ignore[method-assign]
    network.look_closely.details = lambda square: only(  # type: ignore[method-assign]
        torch.tensor([[0.0, 0.0, 64.0, 64.0]]).repeat(2, 1)
    )
    image = torch.rand(2, 2, 64, 64)
    expected = torch.tensor([[10.0, 12.5, 50.0, 52.5], [10.25 - 5.12, 10.5 - 5.12, 10.25 + 5.12, 10.5 + 5.12]])
    network.eval()
    torch.testing.assert_close(network(image), expected)
    network.train()
    wavering = torch.stack([network(image)[0] for _ in range(50)])
    width = wavering[:, 2] - wavering[:, 0]
    assert width.min() >= 40 / 1.4 and width.max() <= 40 * 1.4 and width.std() > 2
    beside = ((wavering[:, :2] + wavering[:, 2:]) / 2 - torch.tensor([30.0, 32.5])).abs() / width[:, None]
    assert 0.05 < beside.max() <= 0.15 + 1e-5
    with pytest.raises(UsageError, match="32 pixels or more"):
        zooming(close=16)


@pytest.mark.parametrize("network", [small(), zooming(coarse=64, close=64)], ids=["one look", "two looks"])
def test_a_network_traces(network: torch.nn.Module) -> None:
    network.eval()
    image = torch.rand(2, 2, 64, 64)
    traced = torch.jit.trace(network, image)
    other = torch.rand(2, 2, 64, 64)
    torch.testing.assert_close(traced(other), network(other))
