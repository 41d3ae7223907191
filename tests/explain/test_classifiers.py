"""Class activation of the package's classifiers: it peaks at the only blob, in the view and the slice that has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from monai_staging.errors import UsageError
from monai_staging.explain.classifiers import nodule_activation, study_activation
from monai_staging.networks.nodule import NoduleNetwork
from monai_staging.networks.slice_staging import SliceStagingNetwork
from monai_staging.networks.staging import StagingNetwork
from monai_staging.transforms.nodule_views import KINDS, NoduleViews

CLASSES = {"t": ["T1", "T2", "T3"], "n": ["N0", "N1"], "m": ["M0", "M1"]}


def brightness(network: Any) -> Any:
    """Makes backbones tell how bright a place is: all their weights are the same and above 0."""
    for name, parameter in network.named_parameters():
        if "backbone" in name:
            many = parameter.dim() > 1
            parameter.data.fill_(1 / parameter[0].numel() if many else float(name.endswith("weight")))
    return network


def blob(shape: tuple[int, ...], center: tuple[int, ...], width: float = 3.0) -> Tensor:
    grid = np.meshgrid(*[np.arange(length) for length in shape], indexing="ij")
    away = sum((axis - at) ** 2 for axis, at in zip(grid, center, strict=True))
    values = torch.from_numpy(np.exp(-away / (2 * width**2))).float()
    # Numbers next to 0 take processors a hundred times as long.
    return values * (values > 1e-3)


def peak(maps: Tensor) -> np.ndarray[Any, Any]:
    return np.array(np.unravel_index(int(maps.argmax()), maps.shape))


@pytest.mark.parametrize(
    ("kind", "branches", "method"),
    [
        *((kind, "shared", "gradcam") for kind in KINDS),
        ("planes", "own", "gradcam"),
        ("central", "shared", "gradcam++"),
        ("central", "shared", "hirescam"),
    ],
)
def test_malignancy_peaks_at_the_only_blob_of_every_kind_of_view(kind: str, branches: str, method: str) -> None:
    cut = NoduleViews(kind, size=32, channels=("image",))
    network = NoduleNetwork(
        "resnet10",
        in_channels=cut.in_channels(),
        views=cut.views,
        branches=branches,
        spatial_dims=cut.spatial_dims,
        width=0.125,
        dropout=0.0,
    )
    brightness(network).head.weight.data.fill_(1.0)
    size = (cut.size,) * cut.spatial_dims
    center = (12, 20, 16)[: cut.spatial_dims]
    views = torch.zeros(cut.views, cut.in_channels(), *size)
    views[-1] = blob(size, center)
    found = nodule_activation(network, views, class_index=1, method=method)
    assert found.maps.shape == (cut.views, *size)
    assert found.maps.min() >= 0 and found.maps.max() == 1
    place = peak(found.maps)
    assert place[0] == cut.views - 1
    # Within a cell of the network's map.
    assert np.abs(place[1:] - center).max() <= 4
    # Nothing in it speaks for benign.
    benign = nodule_activation(network, views, class_index=0, method=method)
    assert benign.maps.max() == 0
    assert found.probability + benign.probability == pytest.approx(1)


def test_the_class_is_the_likeliest_unless_it_is_named() -> None:
    torch.manual_seed(0)
    network = NoduleNetwork("resnet10", outputs=3, in_channels=1, width=0.125, features=2)
    network.fit_features(torch.rand(20, 2))
    views, features = torch.rand(1, 1, 48, 48), torch.rand(2)
    with torch.no_grad():
        logits = network.eval()(views[None], features[None])[0]
    found = nodule_activation(network.train(), views, features)
    assert network.training
    assert found.class_index == int(logits.argmax())
    assert found.probability == pytest.approx(float(logits.softmax(0).max()), abs=1e-6)
    with pytest.raises(UsageError, match="a class from 0 to 2 is needed, found 3"):
        nodule_activation(network, views, features, 3)
    with pytest.raises(UsageError, match="needs the measured features"):
        nodule_activation(network, views)


def test_a_slice_classifier_peaks_in_the_slice_with_the_blob() -> None:
    torch.manual_seed(0)
    network = brightness(SliceStagingNetwork("resnet10", CLASSES, in_channels=2, width=0.125))
    # More of it in one feature than in the others, for the normalisation to keep something.
    network.norm = nn.Identity()
    network.heads["m"].weight.data.copy_(torch.tensor([[-1.0], [1.0]]).expand_as(network.heads["m"].weight))
    image = torch.zeros(2, 64, 48, 4)
    image[..., 2] = blob((64, 48), (40, 16), 4.0)
    found = study_activation(network, image, "m", "M1")
    assert found.maps.shape == (64, 48, 4) and found.class_index == 1
    assert np.abs(peak(found.maps) - (40, 16, 2)).max() <= 4
    assert peak(found.maps)[2] == 2
    assert study_activation(network, image, "m", "M0").maps.max() == 0


@pytest.mark.parametrize("dims", [2, 3])
def test_of_a_staging_network_it_is_gradient_times_joint_map(dims: int) -> None:
    torch.manual_seed(0)
    network = StagingNetwork("resnet10", CLASSES, spatial_dims=dims, width=0.125, features=16, map_gradient=0.0)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    network.eval()
    image = torch.rand(3, 48, 48, 8)
    found = study_activation(network, image, "n", "N1")
    # By hand: a hook on what goes into the map's context.
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        inputs[0].retain_grad()
        kept.append(inputs[0])

    handle = network.map_context.register_forward_pre_hook(keep)
    network.map_gradient = 1.0
    network(image[None])[0, 4].backward()
    handle.remove()
    gradient = kept[0].grad
    assert gradient is not None
    by_hand = (kept[0] * gradient).sum(-1).relu()[0].movedim(0, -1).detach()
    expected = nn.functional.interpolate(by_hand[None, None], size=(48, 48, 8), mode="trilinear")[0, 0]
    torch.testing.assert_close(found.maps, expected / expected.max(), atol=1e-4, rtol=1e-3)
    assert found.maps.max() == 1


def test_a_network_s_own_settings_are_untouched() -> None:
    torch.manual_seed(0)
    network = StagingNetwork("resnet10", CLASSES, width=0.125, features=16, map_gradient=0.0, clinical_features=2)
    before = list(network.state_dict())
    found = study_activation(network, torch.rand(3, 32, 32, 4), "t", clinical=torch.ones(2))
    assert network.map_gradient == 0 and list(network.state_dict()) == before and network.training
    assert 0 < found.probability < 1
    with pytest.raises(UsageError, match="one of t, n, m is needed, found 'g'"):
        study_activation(network, torch.rand(3, 32, 32, 4), "g")
    with pytest.raises(UsageError, match="one of T1, T2, T3 is needed, found 'T9'"):
        study_activation(network, torch.rand(3, 32, 32, 4), "t", "T9")
