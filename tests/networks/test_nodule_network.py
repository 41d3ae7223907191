"""The nodule network: any views, measured features beside them, the readers' ratings learned beside the class."""

from __future__ import annotations

import pytest
import torch

from monai_staging.errors import UsageError
from monai_staging.networks.nodule import NoduleNetwork, NoduleOutput


def network(**settings: object) -> NoduleNetwork:
    torch.manual_seed(0)
    return NoduleNetwork("resnet10", **{"width": 0.125, **settings}).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({}, (1, 2, 32, 32)),
        ({"in_channels": 4, "outputs": 3}, (1, 4, 32, 32)),
        ({"views": 3}, (3, 2, 32, 32)),
        ({"views": 3, "branches": "own", "attributes": 7}, (3, 2, 32, 32)),
        ({"spatial_dims": 3, "in_channels": 1, "attributes": 2}, (1, 1, 16, 16, 16)),
    ],
)
def test_every_kind_of_view_gives_logits(settings: dict[str, int], shape: tuple[int, ...]) -> None:
    net = network(**settings)
    views = torch.rand(2, *shape)
    found = net(views, details=True)
    assert isinstance(found, NoduleOutput)
    assert found.logits.shape == (2, settings.get("outputs", 1))
    assert found.attributes.shape == (2, settings.get("attributes", 0))
    torch.testing.assert_close(net(views), found.logits)


def test_a_nodule_does_not_depend_on_its_batch() -> None:
    net, views = network(views=3, features=2), torch.rand(4, 3, 2, 32, 32)
    features = torch.rand(4, 2)
    torch.testing.assert_close(net(views, features)[2:3], net(views[2:3], features[2:3]), atol=1e-5, rtol=1e-5)


def test_a_shared_backbone_knows_no_order_of_the_views_and_own_ones_do() -> None:
    views = torch.rand(2, 3, 2, 32, 32)
    turned = views[:, [2, 0, 1]]
    shared, own = network(views=3), network(views=3, branches="own")
    torch.testing.assert_close(shared(views), shared(turned), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(own(views), own(turned), atol=1e-4)
    assert len(shared.backbones) == 1 and len(own.backbones) == 3
    # A view is averaged in with a third of the weight.
    torch.testing.assert_close(
        shared.embed(views),
        torch.stack([network().embed(views[:, [n]]) for n in range(3)]).mean(0),
        atol=1e-5,
        rtol=1e-4,
    )


def test_measured_features_count_and_may_be_missing() -> None:
    net = network(features=3)
    training = torch.rand(40, 3) * torch.tensor([1.0, 100.0, 1e4])
    net.fit_features(training)
    views = torch.rand(1, 1, 2, 32, 32)
    medians = training.median(dim=0).values[None]
    small, large = net(views, medians * 0.1), net(views, medians * 1.9)
    assert not torch.allclose(small, large)
    missing = net(views, torch.full((1, 3), torch.nan))
    assert torch.isfinite(missing).all()
    # Units do not matter once the scale is fitted to them.
    other = network(features=3)
    other.load_state_dict(net.state_dict())
    other.fit_features(training / 7)
    torch.testing.assert_close(other(views, medians / 7), net(views, medians), atol=1e-5, rtol=1e-4)
    with pytest.raises(UsageError, match="needs the measured features, found none"):
        net(views)


def test_without_features_there_is_nothing_to_fit() -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.fit_features([[1.0, 2.0]])
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_everything_learns() -> None:
    net = network(views=3, branches="own", features=4, attributes=2).train()
    net.fit_features(torch.rand(30, 4))
    found = net(torch.rand(4, 3, 2, 32, 32), torch.rand(4, 4), details=True)
    (found.logits.sum() + found.attributes.square().sum()).backward()
    without = [name for name, value in net.named_parameters() if value.grad is None or not value.grad.any()]
    assert not without
    pretrained = {name for name, _ in net.named_parameters() if name.startswith("backbones.")}
    assert {f"backbones.{name}" for name, _ in net.backbone.named_parameters()} == pretrained


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"branches": "two"}, "branches must be one of shared, own; found 'two'"),
        ({"outputs": 0}, "found 0, 2, 1, 0, 0"),
        ({"views": 0}, "found 1, 2, 0, 0, 0"),
        ({"features": -1}, "found 1, 2, 1, -1, 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        network(**settings)


def test_other_views_are_refused() -> None:
    with pytest.raises(UsageError, match="3 views a nodule are needed, found 1"):
        network(views=3)(torch.rand(1, 1, 2, 32, 32))


def test_what_rests_on_measured_features_alone_has_a_voice_each_in_evaluation_and_none_in_training() -> None:
    torch.manual_seed(0)
    network = NoduleNetwork("resnet10", width=0.125, features=3, trees=5, landmarks=20, dropout=0.0)
    features = torch.randn(40, 3)
    labels = (features[:, 0] > 0).float()
    network.fit_features(features, labels, seed=1)
    views = torch.rand(4, 1, 2, 32, 32)
    network.eval()
    assert network.trees is not None and network.kernel is not None and network.scale is not None
    with torch.no_grad():
        all_three, trees = network(views, features[:4]), network.trees(features[:4])
        kernel = network.kernel(network.scale(features[:4])).float()
        network.trees = None
        two = network(views, features[:4])
        network.kernel = None
        own = network(views, features[:4])
    assert kernel.abs().min() > 0
    torch.testing.assert_close(all_three, (own + trees + kernel) / 3)
    torch.testing.assert_close(two, (own + kernel) / 2)


def test_a_networks_gradient_does_not_know_its_trees() -> None:
    torch.manual_seed(0)
    network = NoduleNetwork("resnet10", width=0.125, features=3, trees=5, landmarks=20, dropout=0.0).train()
    features = torch.randn(40, 3)
    views = torch.rand(4, 1, 2, 32, 32)
    before = network(views, features[:4])
    network.trees.fit(features.numpy(), (features[:, 0] > 0).numpy())
    network.kernel.fit(features.numpy(), (features[:, 0] > 0).numpy())
    torch.testing.assert_close(network(views, features[:4]), before)


def test_trees_need_features_labels_and_one_output() -> None:
    with pytest.raises(UsageError, match="trees and landmarks need measured features and one output; found 0 and 1"):
        NoduleNetwork("resnet10", width=0.125, landmarks=5)
    with pytest.raises(UsageError, match="found 3 and 4"):
        NoduleNetwork("resnet10", width=0.125, features=3, outputs=4, trees=5)
    with pytest.raises(UsageError, match="fitted to labels"):
        NoduleNetwork("resnet10", width=0.125, features=3, trees=5).fit_features(torch.randn(9, 3))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_of_one_view_the_axis_of_views_may_be_left_out(spatial_dims: int) -> None:
    network = NoduleNetwork("resnet10", in_channels=2, spatial_dims=spatial_dims, width=0.125).eval()
    view = torch.rand(3, 2, *[32] * spatial_dims)
    torch.testing.assert_close(network(view), network(view[:, None]), rtol=0, atol=0)
    with pytest.raises(UsageError, match="3 views a nodule are needed, found 2"):
        NoduleNetwork("resnet10", in_channels=2, views=3, width=0.125)(torch.rand(3, 2, 32, 32))
