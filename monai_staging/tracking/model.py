"""A network as an MLflow model on disk: exported graph, signature and input example; no pickled code."""

from __future__ import annotations

import copy
import inspect
import shutil
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

_JSON_VALUES = 20_000  # an example of more numbers is not written as JSON


def _plain_module(network: torch.nn.Module) -> torch.nn.Module:
    """The network itself, out of DistributedDataParallel and torch.compile."""
    module: Any = network
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, torch.nn.parallel.DistributedDataParallel):
            inner = module.module
        if inner is None:
            return cast(torch.nn.Module, module)
        module = inner


def _arrays(output: Any) -> Any:
    if isinstance(output, Mapping):
        return {str(key): np.asarray(value.detach()) for key, value in output.items() if torch.is_tensor(value)}
    if isinstance(output, Sequence):
        return {f"output_{i}": np.asarray(v.detach()) for i, v in enumerate(output) if torch.is_tensor(v)}
    return np.asarray(output.detach())


def _input_names(module: torch.nn.Module, count: int) -> list[str]:
    """The names ``forward`` gives its first ``count`` positional arguments."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [name for name, value in inspect.signature(module.forward).parameters.items() if value.kind in kinds]
    return names[:count] if len(names) >= count else [f"input_{index}" for index in range(count)]


def _spec(array: np.ndarray[Any, Any], name: str | None = None) -> Any:
    from mlflow.types import TensorSpec

    return TensorSpec(array.dtype, (-1, *array.shape[1:]), name)


def save_model(network: torch.nn.Module, inputs: Sequence[torch.Tensor], folder: Path) -> None:
    """Writes ``network`` to ``folder`` as an MLflow model in torch's exported-graph format (``pt2``).

    The input example goes in MLflow's own JSON form where the network has one small input (MLflow can then serve the
    model), and as ``input_example.npz`` otherwise.

    Args:
        network: any module; a CPU copy in evaluation mode is what is written.
        inputs: example inputs, one tensor for each positional argument of ``forward``, batch first. The batch axis
            stays free; all others are as in the example.
        folder: where to; replaced if it exists.

    Raises:
        Exception: whatever ``torch.export`` raises for a network it cannot export.
    """
    import mlflow.pytorch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    module = copy.deepcopy(_plain_module(network)).cpu().eval()
    examples = [torch.as_tensor(tensor).detach().cpu().contiguous() for tensor in inputs]
    # The exporter takes an axis of size 1 for a constant.
    examples = [torch.cat([tensor, tensor]) if tensor.shape[0] == 1 else tensor for tensor in examples]
    with torch.no_grad():
        output = _arrays(module(*examples))
    arrays = [example.numpy() for example in examples]
    names = _input_names(module, len(arrays))
    served = len(arrays) == 1 and arrays[0].size <= _JSON_VALUES
    signature = ModelSignature(
        inputs=Schema([_spec(arrays[0])] if len(arrays) == 1 else list(map(_spec, arrays, names))),
        outputs=Schema([_spec(v, k) for k, v in output.items()] if isinstance(output, dict) else [_spec(output)]),
    )
    shutil.rmtree(folder, ignore_errors=True)
    mlflow.pytorch.save_model(
        module,
        path=str(folder),
        signature=signature,
        input_example=arrays[0] if served else tuple(examples),
        # Given, or MLflow would start another process that imports everything to find out.
        pip_requirements=[f"{package}=={_version(package)}" for package in ("torch", "monai", "numpy", "mlflow")],
        serialization_format="pt2",
    )
    if not served:
        named: dict[str, Any] = dict(zip(names, arrays, strict=True))
        np.savez_compressed(folder / "input_example.npz", **named)


def _version(package: str) -> str:
    # A local build's suffix (2.7.0+cpu) is no version that an index knows.
    return metadata.version(package).partition("+")[0]
