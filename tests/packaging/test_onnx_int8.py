"""ONNX models say what PyTorch says; 8-bit ones nearly, and by how much is measured, on patients too."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from monai_staging.errors import DataError, UsageError
from monai_staging.packaging import onnx_model
from monai_staging.packaging.export import Built, build, compared, difference
from monai_staging.packaging.int8 import batches_of, beside_original, write_int8
from monai_staging.packaging.int8_accuracy import cost_of_int8
from monai_staging.packaging.networks import NETWORKS, Input, Part
from monai_staging.packaging.onnx_model import arrays, check_extra, write_onnx

from .conftest import SETTINGS, Made


class Small(nn.Module):
    """Takes what the staging network takes, and has what exporters have no word for."""

    def __init__(self, cells: tuple[int, int, int] = (4, 4, 4), convolution: bool = True) -> None:
        super().__init__()
        self.cells = cells
        self.convolution = nn.Conv3d(3, 8, 3, padding=1) if convolution else nn.Identity()
        self.head = nn.Linear(8 if convolution else 3, 16)

    def forward(self, image: Tensor, clinical: Tensor | None = None) -> Tensor:
        seen = functional.relu(self.convolution(functional.adaptive_max_pool3d(image, self.cells)))
        logits: Tensor = self.head(functional.adaptive_avg_pool3d(seen, (2, 2, 2)).mean(dim=(2, 3, 4)))
        return logits if clinical is None else logits + clinical.sum(dim=1, keepdim=True)


def built(network: nn.Module, sides: tuple[int, ...] = (8, 8, 8)) -> Built:
    part = Part(optional=(Input("clinical", (7,)),))
    return Built(network.eval(), part, {"image": (3, *sides), "clinical": (7,)}, {})


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX model on the staging package's grid."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    assert write_onnx(built(Small((12, 12, 6)), tuple(SETTINGS["size"])), path) <= 1e-4
    return path


def test_onnx_has_all_inputs_any_batch_and_nothing_of_this_machine(original: Path) -> None:
    import onnx

    model = onnx.load(str(original))
    assert [one.name for one in model.graph.input] == ["image", "clinical"]
    assert [one.name for one in model.graph.output] == ["pred"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert str(Path(__file__).parents[2]).encode() not in original.read_bytes()


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"model.onnx: .* cells must be of one size, found \[8, 8, 8\]"):
        write_onnx(built(Small((3, 3, 3))), tmp_path / "model.onnx")


def test_an_exported_network_that_says_something_else_is_refused(tmp_path: Path) -> None:
    network = built(Small())
    with pytest.raises(DataError, match="model.ts: outputs as PyTorch's are needed, to 0.0001; found"):
        compared(network, lambda inputs: network.output(inputs) + 0.01, tmp_path / "model.ts")
    assert difference(torch.tensor([100.0]), torch.tensor([100.5])) == pytest.approx(0.005)
    with pytest.raises(DataError, match=r"shape \(1,\) is needed, found \(2,\)"):
        difference(torch.zeros(1), torch.zeros(2))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_model.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(UsageError, match=r"--onnx: .* found no onnxruntime. pip install 'monai-staging\[export\]'"):
        check_extra("--onnx")
    monkeypatch.undo()
    assert importlib.util.find_spec("onnxruntime")


def test_eight_bits_are_smaller_and_near(original: Path, tmp_path: Path) -> None:
    network = built(Small((12, 12, 6)), tuple(SETTINGS["size"]))
    cases = [arrays(network.inputs(1, seed, optional=True)) for seed in range(4)]
    path = tmp_path / "model_int8.onnx"
    write_int8(original, path, cases[:2])
    found = beside_original(original, path, cases[2:], 2)
    assert 0 < found.largest_difference < 0.1
    assert found.int8_ms > 0 and found.compared_on == 2
    assert json.loads(path.with_suffix(".json").read_text())["largest_difference"] == found.largest_difference
    # Nothing is left of the work.
    assert {file.name for file in tmp_path.iterdir()} == {"model_int8.onnx", "model_int8.json"}


def test_a_network_without_convolutions_has_nothing_for_eight_bits(tmp_path: Path) -> None:
    write_onnx(built(Small(convolution=False)), tmp_path / "model.onnx")
    with pytest.raises(DataError, match="a network with convolutions is needed"):
        write_int8(tmp_path / "model.onnx", tmp_path / "model_int8.onnx", [])


def test_ranges_are_learned_from_patients_and_the_cost_is_scored_on_others(
    made: Made, original: Path, tmp_path: Path
) -> None:
    package = tmp_path / "package"
    shutil.copytree(made.package.out, package)
    (network,) = NETWORKS["staging"]
    described = json.loads((package / "configs" / "metadata.json").read_text())
    whole = build(package, network, network.parts[0], described, made.cohort)
    cases = batches_of(package, network, whole, made.cohort, tmp_path, 3)
    assert len(cases) == 3
    assert cases[0]["image"].shape == (1, 3, *SETTINGS["size"]) and cases[0]["clinical"].shape == (1, 7)
    with pytest.raises(DataError, match=r"models/model.onnx is needed, which `package --int8` writes"):
        cost_of_int8(package, made.cohort, tmp_path / "cache")
    shutil.copy(original, package / "models" / "model.onnx")
    write_int8(original, package / "models" / "model_int8.onnx", cases)
    cost = cost_of_int8(package, made.cohort, tmp_path / "cache", resamples=20)
    document = cost.to_json()
    assert document["studies"] == cost.studies > 1
    for level in ("t", "n", "m"):
        apart = cost.int8.accuracy[level].value - cost.original.accuracy[level].value
        np.testing.assert_allclose(cost.difference[level].value, apart)
        assert 0 <= cost.same[level] <= 1
    assert "int8 - original" in cost.table() and "ms a study" in cost.table()
