"""The staging network's shapes, symmetries and exports."""

from __future__ import annotations

import pytest
import torch

from monai_staging.cohort.lesion_groups import LESION_GROUPS
from monai_staging.errors import DataError, UsageError
from monai_staging.networks.staging import StagingNetwork, StagingOutput
from monai_staging.networks.weights import load_weights

CLASSES = {"t": ["T1a", "T1b", "T2a", "T4"], "n": ["N0", "N1", "N2", "N3"], "m": ["M0", "M1a", "M1b"]}


def network(name: str = "resnet10", **settings: object) -> StagingNetwork:
    torch.manual_seed(0)
    net = StagingNetwork(name, CLASSES, width=0.125, features=16, **settings).eval()  # type: ignore[arg-type]
    # As after some training: heads and map start with zeros, where nothing would depend on anything.
    for layer in [net.lesions, *(head[-1] for head in net.heads.values())]:  # type: ignore[index]
        torch.nn.init.normal_(layer.weight, std=0.1)
    return net


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "vgg16_bn", "resnet10", "resnet50"])
def test_every_family_gives_letters_attention_and_lesions(name: str) -> None:
    output = network(name)(torch.rand(2, 3, 64, 64, 5), details=True)
    assert isinstance(output, StagingOutput)
    assert output.logits.shape == (2, 11) and output.logits.dtype == torch.float32
    assert output.attention.shape == (2, 3, 5)
    torch.testing.assert_close(output.attention.sum(-1), torch.ones(2, 3))
    assert output.presence.shape == output.diameter_mm.shape
    assert output.presence.shape[:2] == (2, len(LESION_GROUPS)) and output.presence.shape[4] == 5
    torch.testing.assert_close(output.side.sum(1), torch.ones(2))


def test_a_new_network_says_what_the_rules_say() -> None:
    torch.manual_seed(0)
    net = StagingNetwork("resnet10", CLASSES, width=0.125, features=16).eval()
    said: dict[str, torch.Tensor] = {}
    net.size_prior.register_forward_hook(lambda _, __, result: said.update(t=result))
    net.rules.register_forward_hook(lambda _, __, result: said.update(result))
    logits = net(torch.rand(1, 3, 64, 64, 4))
    torch.testing.assert_close(logits, torch.cat([said[letter] for letter in "tnm"], dim=1))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_letters_teach_the_map_as_much_as_asked(share: float) -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 64, 64, 4)
    gradients = []
    for net in (network(map_gradient=share), network()):
        net.details(image).logits[:, 0].sum().backward()
        gradients.append(net.backbone.conv1.weight.grad)  # type: ignore[union-attr]
    torch.testing.assert_close(gradients[0], share * gradients[1])
    shown = network(map_gradient=share)
    shown.details(image).presence.sum().backward()
    assert shown.backbone.conv1.weight.grad.abs().sum() > 0  # type: ignore[union-attr]


def test_without_cubes_the_backbone_alone_is_looked_at() -> None:
    assert network(cubes=())(torch.rand(1, 3, 64, 64, 4)).shape == (1, 11)


def test_a_volume_backbone_works_on_the_whole_study() -> None:
    output = network(spatial_dims=3)(torch.rand(1, 3, 64, 64, 32), details=True)
    assert output.logits.shape == (1, 11)
    assert output.attention.shape[:2] == (1, 3)


def test_a_study_does_not_depend_on_its_batch() -> None:
    net = network()
    images = torch.rand(3, 3, 64, 64, 4)
    torch.testing.assert_close(net(images)[1:2], net(images[1:2]), atol=1e-5, rtol=1e-5)


def test_clinical_variables_count_and_may_be_missing() -> None:
    net = network(clinical_features=7)
    image, nothing = torch.rand(1, 3, 64, 64, 4), torch.zeros(1, 7)
    torch.testing.assert_close(net(image), net(image, nothing))
    assert not torch.allclose(net(image), net(image, nothing + 1))


def test_the_half_with_the_larger_primary_is_the_ipsilateral_one() -> None:
    values = torch.arange(8.0).reshape(1, 2, 2, 2)
    ipsilateral, contralateral = StagingNetwork._by_side(values, torch.tensor([[0.0, 1.0]]))
    assert torch.equal(ipsilateral, values[:, 1]) and torch.equal(contralateral, values[:, 0])


def test_a_traced_network_is_the_network() -> None:
    net = network()
    traced = torch.jit.trace(net, torch.rand(1, 3, 64, 64, 4))
    image = torch.rand(2, 3, 64, 64, 4)
    torch.testing.assert_close(traced(image), net(image), atol=1e-4, rtol=1e-4)


def test_weights_come_back_and_those_of_another_network_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    net = network()
    half = {name: value.half() if value.is_floating_point() else value for name, value in net.state_dict().items()}
    torch.save(half, tmp_path / "half.pt")
    torch.manual_seed(1)
    other = load_weights(StagingNetwork("resnet10", CLASSES, width=0.125, features=16), tmp_path / "half.pt").eval()
    image = torch.rand(1, 3, 64, 64, 4)
    torch.testing.assert_close(other(image), net(image), atol=0.05, rtol=0.05)
    with pytest.raises(DataError, match="another network"):
        load_weights(StagingNetwork("resnet10", CLASSES, width=0.25, features=16), tmp_path / "half.pt")
    with pytest.raises(DataError, match="no such file"):
        load_weights(net, tmp_path / "none.pt")


def test_a_letter_without_classes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\['m'\]"):
        StagingNetwork("resnet10", {"t": ["T1"], "n": ["N0"]})


def test_the_primary_comes_first() -> None:
    with pytest.raises(UsageError, match="must be primary"):
        network(groups=("effusion", "primary"))


def test_each_side_of_a_pair_is_where_its_group_says() -> None:
    net = network(groups=("primary", "hilar node L", "hilar node R"))
    values = torch.zeros(1, 2, 4, 4, 3)
    values[0, 0, 0, 1] = torch.tensor([0.5, 0.6, 0.7])  # in the left half of slice 0
    left, right = net._per_side(values)[0]
    torch.testing.assert_close(left[0], torch.tensor([0.5, 0.6]))
    torch.testing.assert_close(right[0], torch.tensor([0.0, 0.7]))
    assert not left[1].any() and not right[1].any()


def test_a_slice_sees_its_neighbours_and_no_further() -> None:
    net = network(neighbours=1)
    stack = torch.rand(2, 5, 3, 4, 4)
    seen = net._with_neighbours(stack)
    assert seen.shape == (2, 5, 9, 4, 4)
    torch.testing.assert_close(seen[:, 2], torch.cat([stack[:, 1], stack[:, 2], stack[:, 3]], dim=1))
    torch.testing.assert_close(seen[:, 0, :6], torch.cat([stack[:, 0], stack[:, 0]], dim=1))
    assert net(torch.rand(1, 3, 64, 64, 4)).shape == (1, 11)
