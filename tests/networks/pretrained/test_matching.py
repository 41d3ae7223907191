"""How much of a backbone a file must fill, and what the report says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_staging.errors import DataError, UsageError
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.pretrained import load_pretrained


def weights(folder: Path, **changed: torch.Tensor | None) -> Path:
    """A file for ``resnet10``, one eighth wide, with these tensors changed or left out."""
    torch.manual_seed(0)
    state = dict(build_backbone("resnet10", width=0.125).state_dict())
    for name, value in changed.items():
        name = name.replace("__", ".")
        if value is None:
            del state[name]
        else:
            state[name] = value
    torch.save(state, folder / "weights.pt")
    return folder / "weights.pt"


def test_the_share_counts_parameters_and_the_rest_stays_as_it_was(tmp_path: Path) -> None:
    backbone = build_backbone("resnet10", width=0.125)
    total = sum(parameter.numel() for parameter in backbone.parameters())
    lost = backbone.layer1[0].conv2.weight.clone()  # type: ignore[index, union-attr]
    file = weights(tmp_path, layer1__0__conv2__weight=None, layer1__0__bn2__running_mean=None)
    report = load_pretrained(backbone, file)
    assert report.missing == ("layer1.0.conv2.weight", "layer1.0.bn2.running_mean")
    assert report.share == 1 - 8 * 8 * 9 / total
    assert torch.equal(backbone.layer1[0].conv2.weight, lost)  # type: ignore[index, union-attr]
    assert "missing: layer1.0.conv2.weight, layer1.0.bn2.running_mean" in report.text()
    with pytest.raises(DataError, match=r"fit 99\.\d% of the parameters of resnet10, 100% are needed; missing: layer1"):
        load_pretrained(backbone, file, minimum=1.0)


def test_running_statistics_are_loaded(tmp_path: Path) -> None:
    backbone = build_backbone("resnet10", width=0.125)
    load_pretrained(backbone, weights(tmp_path, bn1__running_mean=torch.full((8,), 7.0)))
    assert torch.equal(backbone.state_dict()["bn1.running_mean"], torch.full((8,), 7.0))


def test_half_precision_is_widened_to_the_networks_own(tmp_path: Path) -> None:
    backbone = build_backbone("resnet10", width=0.125)
    load_pretrained(backbone, weights(tmp_path, bn1__weight=torch.full((8,), 0.5, dtype=torch.float16)))
    assert backbone.state_dict()["bn1.weight"].dtype == torch.float32
    assert torch.equal(backbone.state_dict()["bn1.weight"], torch.full((8,), 0.5))


def test_weights_that_are_no_finite_numbers_are_refused(tmp_path: Path) -> None:
    file = weights(tmp_path, bn1__weight=torch.full((8,), float("nan")))
    with pytest.raises(DataError, match=r"finite numbers, others are found in bn1\.weight"):
        load_pretrained(build_backbone("resnet10", width=0.125), file)


@pytest.mark.parametrize("minimum", [0.0, -1.0, 1.01])
def test_a_minimum_out_of_range_is_refused(minimum: float, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="minimum must be above 0 and up to 1"):
        load_pretrained(build_backbone("resnet10", width=0.125), weights(tmp_path), minimum=minimum)


def test_a_lower_minimum_lets_part_of_another_network_in(tmp_path: Path) -> None:
    torch.save(build_backbone("resnet18", width=0.125).state_dict(), tmp_path / "weights.pt")
    backbone = build_backbone("resnet34", width=0.125)
    report = load_pretrained(backbone, tmp_path / "weights.pt", minimum=0.5)
    assert 0.5 < report.share < 0.6 and report.used == 1.0


def test_a_network_without_a_convolution_takes_what_has_its_shape(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 3)
    network.network = ""  # type: ignore[assignment]
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    report = load_pretrained(network, tmp_path / "weights.pt")  # type: ignore[arg-type]
    assert (report.network, report.matched) == ("Linear", ("weight", "bias"))
