"""Both networks of the two-stage detector, before they have learned anything."""

from __future__ import annotations

import pytest
import torch

from monai_staging.networks.segmentation import NETWORKS
from monai_staging.networks.two_stage import TwoStageNetwork


@pytest.mark.parametrize("name", NETWORKS)
def test_an_untrained_network_takes_lesions_for_rare(name: str) -> None:
    torch.manual_seed(0)
    network = TwoStageNetwork(name, width=0.25, slices=5, colours=2, classifier_width=0.125)
    slices = torch.rand(2, 10, 64, 48)
    # As it begins to learn: batch norms by the batch.
    logits = network.segmenter.train()(slices)
    assert logits.shape == (2, 1, 64, 48)
    assert float(logits.detach().float().sigmoid().mean()) < 0.1
    torch.testing.assert_close(network.eval()(slices), network.segmenter(slices))
    assert network.classifier(torch.rand(3, 1, 2, 16, 16, 16)).shape == (3, 1)


def test_its_weights_are_those_of_both() -> None:
    network = TwoStageNetwork(width=0.25, classifier_width=0.125)
    other = TwoStageNetwork(width=0.25, classifier_width=0.125)
    other.load_state_dict(network.state_dict())
    slices, cubes = torch.rand(1, 3, 32, 32), torch.rand(1, 1, 1, 16, 16, 16)
    network.eval(), other.eval()
    assert torch.equal(network(slices), other(slices))
    assert torch.equal(network.classifier(cubes), other.classifier(cubes))
