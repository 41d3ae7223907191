from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from monai_staging.errors import DataError
from monai_staging.networks.weights import load_weights


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_weights_load_however_the_network_was_wrapped(prefix: str, tmp_path: Path) -> None:
    network = nn.ModuleDict({"backbone": nn.Linear(2, 3), "heads": nn.Linear(3, 1)})
    torch.save({f"{prefix}{key}": value for key, value in network.state_dict().items()}, tmp_path / "best.pt")
    twin = nn.ModuleDict({"backbone": nn.Linear(2, 3), "heads": nn.Linear(3, 1)})
    assert load_weights(twin, tmp_path / "best.pt") is twin
    assert all(torch.equal(value, twin.state_dict()[key]) for key, value in network.state_dict().items())


def test_weights_that_are_not_there_are_named_with_their_key(tmp_path: Path) -> None:
    network = nn.Linear(2, 3)
    with pytest.raises(DataError, match=r"none.pt: no such file.*name another file with --weights PATH"):
        load_weights(network, tmp_path / "none.pt")
    with pytest.raises(DataError, match=r"none.pt: no such file.*name another file with --start_weights PATH"):
        load_weights(network, tmp_path / "none.pt", "start_weights")


def test_weights_for_other_images_say_how_many_channels_are_needed(tmp_path: Path) -> None:
    def network(channels: int, width: int = 4) -> nn.Module:
        return nn.Sequential(nn.Conv3d(channels, width, 3), nn.BatchNorm3d(width), nn.Conv3d(width, 1, 1))

    torch.save(network(2).state_dict(), tmp_path / "model.pt")
    with pytest.raises(DataError, match=r"model.pt: are for images of 2 channels; 4 are needed\.$"):
        load_weights(network(4), tmp_path / "model.pt")
    for other in (network(2, width=8), network(4, width=8)):
        with pytest.raises(DataError, match="another network"):
            load_weights(other, tmp_path / "model.pt")
