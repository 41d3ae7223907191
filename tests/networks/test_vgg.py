from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from monai_staging.errors import UsageError
from monai_staging.networks.vgg import MIN_SIZE, VGG

# Positions of the convolutions in torchvision's `features`; a batch norm, where there is one, stands right behind each.
CONVOLUTIONS = {
    (11, False): [0, 3, 6, 8, 11, 13, 16, 18],
    (13, False): [0, 2, 5, 7, 10, 12, 15, 17, 20, 22],
    (16, False): [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28],
    (19, False): [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34],
    (11, True): [0, 4, 8, 11, 15, 18, 22, 25],
    (13, True): [0, 3, 7, 10, 14, 17, 21, 24, 28, 31],
    (16, True): [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40],
    (19, True): [0, 3, 7, 10, 14, 17, 20, 23, 27, 30, 33, 36, 40, 43, 46, 49],
}
CHANNELS = {
    11: [3, 64, 128, 256, 256, 512, 512, 512, 512],
    13: [3, 64, 64, 128, 128, 256, 256, 512, 512, 512, 512],
    16: [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512],
    19: [3, 64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512],
}
PARAMETERS = {
    (11, False): 132_863_336,
    (13, False): 133_047_848,
    (16, False): 138_357_544,
    (19, False): 143_667_240,
    (11, True): 132_868_840,
    (13, True): 133_053_736,
    (16, True): 138_365_992,
    (19, True): 143_678_248,
}
CLASSIFIER = {
    "classifier.0.weight": (4096, 25088),
    "classifier.0.bias": (4096,),
    "classifier.3.weight": (4096, 4096),
    "classifier.3.bias": (4096,),
    "classifier.6.weight": (1000, 4096),
    "classifier.6.bias": (1000,),
}


@pytest.mark.parametrize(("depth", "batch_norm"), list(CONVOLUTIONS))
def test_names_and_shapes_are_torchvisions(depth: int, batch_norm: bool) -> None:
    with torch.device("meta"):
        network = VGG(depth, batch_norm)
    expected: dict[str, tuple[int, ...]] = dict(CLASSIFIER)
    channels = CHANNELS[depth]
    for order, index in enumerate(CONVOLUTIONS[depth, batch_norm]):
        before, after = channels[order], channels[order + 1]
        expected |= {f"features.{index}.weight": (after, before, 3, 3), f"features.{index}.bias": (after,)}
        if batch_norm:
            for name in ("weight", "bias", "running_mean", "running_var"):
                expected[f"features.{index + 1}.{name}"] = (after,)
            expected[f"features.{index + 1}.num_batches_tracked"] = ()
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == expected
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[depth, batch_norm]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_computes_what_its_weights_say(batch_norm: bool) -> None:
    torch.manual_seed(0)
    network = VGG(11, batch_norm, num_classes=4, width=0.125).eval()
    state = network.state_dict()
    y = x = torch.rand(2, 3, 70, 64)
    for order, index in enumerate(CONVOLUTIONS[11, batch_norm]):
        y = functional.conv2d(y, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)
        if batch_norm:
            norm = [state[f"features.{index + 1}.{n}"] for n in ("running_mean", "running_var", "weight", "bias")]
            y = functional.batch_norm(y, *norm)
        y = y.relu()
        if order in (0, 1, 3, 5, 7):
            y = functional.max_pool2d(y, 2)
    y = functional.adaptive_avg_pool2d(y, 7).flatten(1)
    for index in (0, 3):
        y = functional.linear(y, state[f"classifier.{index}.weight"], state[f"classifier.{index}.bias"]).relu()
    y = functional.linear(y, state["classifier.6.weight"], state["classifier.6.bias"])
    torch.testing.assert_close(network(x), y)


@pytest.mark.parametrize("dims", [2, 3])
def test_smallest_input_leaves_one_cell(dims: int) -> None:
    network = VGG(11, spatial_dims=dims, in_channels=1, num_classes=2, width=0.125)
    assert network.features(torch.rand(1, 1, *[MIN_SIZE] * dims)).shape[2:] == (1,) * dims
    assert network(torch.rand(1, 1, *[40] * dims)).shape == (1, 2)


@pytest.mark.parametrize("depth", [16, 19])
def test_features_keep_the_scale_of_the_input_without_batch_norm(depth: int) -> None:
    torch.manual_seed(0)
    network = VGG(depth, width=0.25)
    with torch.no_grad():
        deep = network.features(torch.randn(4, 3, 64, 64))
    # Kaiming initialisation with fan_out, or torch's default, leaves less than a tenth here.
    assert 0.2 < float(deep.std()) < 5


def test_deep_network_without_batch_norm_learns_from_scratch() -> None:
    torch.manual_seed(0)
    network = VGG(16, in_channels=1, num_classes=2, width=0.125, dropout=0.0)
    labels = torch.arange(8) % 2
    # The class is the side on which there is a bright disc, as small a thing as a nodule.
    images = torch.rand(8, 1, 48, 48) * 0.3
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, 20:28, 8 + 24 * label : 16 + 24 * label] += 0.7
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    losses = []
    for _ in range(40):
        loss = functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < 0.5 < losses[0]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match=r"depth must be one of \[11, 13, 16, 19\], found 12"):
        VGG(12)
    with pytest.raises(UsageError, match="spatial_dims must be 2 or 3, found 4"):
        VGG(11, spatial_dims=4)
