from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_staging.errors import DataError, UsageError
from monai_staging.networks.ensembles import StagingEnsemble, first_member, load_model, weight_files
from monai_staging.networks.pretrained import write_checkpoint
from monai_staging.networks.slice_staging import SliceStagingNetwork
from monai_staging.networks.staging import StagingNetwork
from monai_staging.workflows.inferers import AutocastInferer

CLASSES = {"t": ["T1a", "T2a", "T3"], "n": ["N0", "N1"], "m": ["M0", "M1a"]}
WIDTHS = [3, 2, 2]


def network(seed, kind=StagingNetwork, **settings):
    torch.manual_seed(seed)
    made = kind("resnet10", CLASSES, width=0.125, **settings)
    # Heads start at zero: without this all networks would say the same.
    for layer in made.heads.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.3)
    return made.eval()


@pytest.fixture(scope="module")
def image():
    return torch.rand(2, 3, 32, 32, 4, generator=torch.Generator().manual_seed(0))


def chances(logits):
    return torch.cat([part.softmax(dim=1) for part in logits.split(WIDTHS, dim=1)], dim=1)


def test_an_ensemble_says_the_mean_of_its_networks_probabilities(image):
    members = [network(seed, clinical_features=7) for seed in (1, 2, 3)]
    clinical = torch.zeros(2, 7)
    with torch.no_grad():
        every = [member(image, clinical, details=True) for member in members]
        found = StagingEnsemble(members)(image, clinical, details=True)
    torch.testing.assert_close(chances(found.logits), torch.stack([chances(one.logits) for one in every]).mean(0))
    torch.testing.assert_close(found.attention, torch.stack([one.attention for one in every]).mean(0))
    torch.testing.assert_close(found.presence.sigmoid(), torch.stack([one.presence.sigmoid() for one in every]).mean(0))
    torch.testing.assert_close(found.side.sum(dim=1), torch.ones(2))
    # No softmax over all classes: the letters are apart.
    torch.testing.assert_close(chances(found.logits).sum(dim=1), torch.full((2,), 3.0))


def test_passes_drop_each_time_anew_and_always_the_same(image):
    plain = network(1, dropout=0.5)
    ensemble = StagingEnsemble([plain], passes=8).eval()
    with torch.no_grad():
        once = plain(image)
        torch.manual_seed(5)
        found = ensemble(image)
        state = torch.random.get_rng_state()
        torch.testing.assert_close(ensemble(image), found, rtol=0, atol=0)
        assert not torch.allclose(chances(found), chances(once), atol=1e-4)
        # Neither the network nor the random stream of others is changed.
        torch.testing.assert_close(plain(image), once, rtol=0, atol=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(module.training for module in ensemble.modules())


def test_more_passes_come_nearer_to_their_mean(image):
    member = network(2, SliceStagingNetwork, dropout=0.5)
    with torch.no_grad():
        many, few = (chances(StagingEnsemble([member], passes=passes)(image)) for passes in (64, 63))
    assert (many - few).abs().max() < 0.02


def test_passes_need_dropout():
    with pytest.raises(UsageError, match="asks for dropout, of which StagingNetwork has none"):
        StagingEnsemble([network(1, dropout=0.0)], passes=4)
    for passes in (1, -2, True, 2.5):
        with pytest.raises(UsageError, match="2 or more, or 0"):
            StagingEnsemble([network(1)], passes=passes)
    with pytest.raises(UsageError, match="1 network or more"):
        StagingEnsemble([])


def test_weights_are_loaded_into_a_network_each(image, tmp_path):
    files = [tmp_path / f"{seed}.pt" for seed in (1, 2)]
    for seed, file in zip((1, 2), files, strict=True):
        write_checkpoint(file, network(seed), {})
    single = load_model(network(3), files[0]).eval()
    assert isinstance(single, StagingNetwork) and first_member(single) is single
    both = load_model(network(3), [str(file) for file in files]).eval()
    assert isinstance(both, StagingEnsemble) and first_member(both) is both.members[0]
    dropping = load_model(network(3), str(files[0]), passes=2)
    assert isinstance(dropping, StagingEnsemble) and len(dropping.members) == 1
    with torch.no_grad():
        expected = torch.stack([chances(network(seed)(image)) for seed in (1, 2)]).mean(0)
        torch.testing.assert_close(chances(both(image)), expected)
        output = AutocastInferer("cpu", amp=True)(image, both, details=True)
    assert output.logits.dtype == torch.float32 and output.logits.isfinite().all()
    with pytest.raises(DataError, match="no such file"):
        load_model(network(3), [files[0], tmp_path / "3.pt"])
    for given in ([], [files[0], files[0]]):
        with pytest.raises(UsageError, match="one file or several different ones"):
            weight_files(given)
