"""Networks as ONNX models that say what PyTorch says."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from monai_staging.errors import DataError, UsageError
from monai_staging.packaging.export import Built, Inputs, compared, first_line, quiet

EXTRA = ("onnx", "onnxscript", "onnxruntime")
OPSET = 20


def check_extra(option: str) -> None:
    """That what ONNX needs is installed.

    Raises:
        UsageError: it is not.
    """
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{option}: the packages {', '.join(EXTRA)} are needed, found no {', '.join(missing)}. "
            "pip install 'monai-staging[export]'"
        )


def write_onnx(built: Built, path: Path) -> float:
    """Writes the network to ``path`` and gives the largest difference of onnxruntime's outputs from PyTorch's.

    Inputs are ``image`` and what else the network takes, optional ones too; the output is ``pred``. The batch may be of
    any size. Nothing of this machine is in the file: exporters note the path of every line of code.

    Raises:
        UsageError: packages are missing.
        DataError: it cannot be exported, or what it says differs from the network.
    """
    check_extra("--onnx")
    import onnx

    example = built.inputs(2, 0, optional=True)
    # A size of its own for each: the exporter names sizes by what they are equal to.
    shapes = tuple({0: torch.export.Dim("batch")} for _ in example)
    with quiet():
        try:
            with torch.no_grad():
                program = torch.export.export(built.net, tuple(example.values()), dynamic_shapes=shapes)
            exported = torch.onnx.export(
                program.run_decompositions(_decompositions()),
                dynamo=True,
                input_names=list(example),
                output_names=["pred"],
                opset_version=OPSET,
                verbose=False,
            )
            assert exported is not None
            exported.save(str(path))
        except Exception as error:  # the exporter raises what each of its passes raises
            raise DataError(f"{path.name}: the network cannot be exported: {first_line(error)}") from error
    model = onnx.load(str(path))
    _forget(model)
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path))
    run = session(path)
    return compared(built, lambda inputs: torch.from_numpy(run(arrays(inputs))), path, optional=True)


class Session:
    """An ONNX model on the CPU.

    Args:
        path: of the model.
        threads: that it computes with.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        """The output of a batch."""
        names = [one.name for one in self.session.get_inputs()]
        found: np.ndarray[Any, Any] = self.session.run(None, {name: inputs[name] for name in names})[0]
        return found


def session(path: Path, threads: int = 1) -> Session:
    """A model that can be called with a batch's arrays, see `Session`."""
    return Session(path, threads)


def arrays(inputs: Inputs) -> dict[str, np.ndarray[Any, Any]]:
    """Tensors as onnxruntime takes them."""
    return {name: np.ascontiguousarray(value.numpy()) for name, value in inputs.items()}


def _forget(model: Any) -> None:
    """Takes out stack traces and names of modules, a tenth of the file."""
    for entry in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        if hasattr(entry, "metadata_props"):
            del entry.metadata_props[:]
        entry.doc_string = ""
    for entry in (*model.graph.input, *model.graph.output):
        del entry.metadata_props[:]


def _decompositions() -> Any:
    """What the exporter has no word for, in its words: adaptive pools whose cells are all of one size."""
    table = torch.export.default_decompositions()
    aten = torch.ops.aten

    def mean(image: Tensor, cells: Sequence[int]) -> Tensor:
        return functional.avg_pool3d(image, _cell(image, cells))

    def largest(image: Tensor, cells: Sequence[int]) -> tuple[Tensor, Tensor]:
        # Nobody here asks where the largest value was.
        return functional.max_pool3d(image, _cell(image, cells)), image.new_zeros(1, dtype=torch.int64)

    table[aten._adaptive_avg_pool3d.default] = mean
    table[aten.adaptive_max_pool3d.default] = largest
    return table


def _cell(image: Tensor, cells: Sequence[int]) -> list[int]:
    sides = list(image.shape[-3:])
    if any(side % count for side, count in zip(sides, cells, strict=True)):
        raise ValueError(f"a pool's cells must be of one size, found {sides} voxels for {list(cells)} cells")
    return [side // count for side, count in zip(sides, cells, strict=True)]
