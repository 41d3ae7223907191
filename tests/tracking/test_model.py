"""Networks as MLflow models on disk."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from monai_staging.tracking.model import save_model


class Staging(torch.nn.Module):
    """Two inputs, named outputs, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.t, self.n, self.drop = torch.nn.Linear(4, 3), torch.nn.Linear(4, 2), torch.nn.Dropout(0.5)

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        pooled = self.drop((image * mask[..., None]).sum(1))
        return {"t": self.t(pooled), "n": self.n(pooled)}


def test_several_inputs_and_outputs_keep_their_names(tmp_path: Path) -> None:
    network = Staging().train()
    save_model(network, [torch.rand(1, 5, 4), torch.ones(1, 5)], tmp_path / "m")
    assert network.training  # the network itself is left alone
    signature = mlflow.models.Model.load(str(tmp_path / "m" / "MLmodel")).signature
    assert [(spec.name, spec.shape) for spec in signature.inputs.inputs] == [("image", (-1, 5, 4)), ("mask", (-1, 5))]
    assert [(spec.name, spec.shape) for spec in signature.outputs.inputs] == [("t", (-1, 3)), ("n", (-1, 2))]
    example = np.load(tmp_path / "m" / "input_example.npz")
    loaded = mlflow.pytorch.load_model(str(tmp_path / "m"))
    # A batch of another size than the example's; no dropout.
    image = torch.from_numpy(example["image"]).repeat(3, 1, 1)[:3]
    found = loaded(image, torch.ones(3, 5))
    expected = network.eval()(image, torch.ones(3, 5))
    assert torch.allclose(found["t"], expected["t"]) and torch.allclose(found["n"], expected["n"])


def test_small_single_input_can_be_served_by_mlflow(tmp_path: Path) -> None:
    network = torch.nn.Linear(3, 1)
    save_model(network, [torch.ones(1, 3)], tmp_path / "m")
    model = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    assert model.predict(np.zeros((4, 3), np.float32)).shape == (4, 1)
    assert model.input_example.shape == (2, 3)


def test_big_example_is_no_json(tmp_path: Path) -> None:
    save_model(torch.nn.Flatten(), [torch.zeros(2, 1, 128, 128)], tmp_path / "m")
    assert not list((tmp_path / "m").glob("*.json"))
    assert (tmp_path / "m" / "input_example.npz").stat().st_size < 10_000


def test_nothing_is_pickled(tmp_path: Path) -> None:
    save_model(torch.nn.Linear(2, 1), [torch.ones(2, 2)], tmp_path / "m")
    assert [path.name for path in (tmp_path / "m" / "data").iterdir()] == ["model.pt2"]


def test_older_model_in_the_folder_is_replaced(tmp_path: Path) -> None:
    for size in (2, 3):
        save_model(torch.nn.Linear(size, 1), [torch.ones(2, size)], tmp_path / "m")
    signature = mlflow.models.Model.load(str(tmp_path / "m" / "MLmodel")).signature
    assert signature.inputs.inputs[0].shape == (-1, 3)


def test_network_that_cannot_be_exported_raises(tmp_path: Path) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(Exception, match="(?i)data-dependent|guard|export|dynamic"):
        save_model(Odd(), [torch.ones(2, 2)], tmp_path / "m")
