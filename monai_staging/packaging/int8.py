"""Small-device export: an ONNX model whose convolutions compute in 8 bits, and what that costs and gains.

Static quantisation by onnxruntime: weights a channel at a time, activations by their range on images of the training
part. Only convolutions: they are most of the weights, and what comes after them (attention, heads, rules of sizes) is
small and decides. Nothing is trained.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_staging.errors import DataError
from monai_staging.files import write_json_atomic
from monai_staging.packaging.export import Built, first_line, parser_of, quiet
from monai_staging.packaging.networks import Packaged
from monai_staging.packaging.onnx_model import Session, check_extra, session

Arrays = dict[str, np.ndarray[Any, Any]]
CALIBRATION, CHECKED, REPEATS = 8, 4, 5
"""Cases whose ranges are taken, further cases on which both are compared, and how often they are timed."""


@dataclass(frozen=True)
class Int8:
    """What an 8-bit model is beside the original.

    Attributes:
        file: of the 8-bit model.
        original_bytes: size of the ONNX model it was made from.
        int8_bytes: its own.
        original_ms: median time of one case on the CPU.
        int8_ms: likewise.
        threads: that both compute with.
        machine: the processor's kind.
        calibrated_on: cases whose activations set the ranges.
        compared_on: other cases, on which the outputs are compared.
        largest_difference: of any output.
        mean_difference: of all outputs, absolute.
    """

    file: str
    original_bytes: int
    int8_bytes: int
    original_ms: float
    int8_ms: float
    threads: int
    machine: str
    calibrated_on: int
    compared_on: int
    largest_difference: float
    mean_difference: float


def batches_of(folder: Path, network: Packaged, built: Built, dataset: Path, work: Path, most: int) -> list[Arrays]:
    """Inputs of the network, one case each, as the package's configs make them.

    Args:
        folder: of the package.
        network: with a calibration.
        built: the network.
        dataset: the data's folder.
        work: for caches.
        most: at most so many cases.

    Raises:
        DataError: there is no case.
    """
    keys = {"dataset_dir": str(dataset), "batch_size": 1, "num_workers": 0, **(network.calibration or {})}
    parser = parser_of(folder, network.runs[0])
    config = parser.get()
    keys |= {"limit": most} if "limit" in config else {}
    keys |= {"cache_dir": str(work / "cache")} if "cache_dir" in config else {}
    for key, value in keys.items():
        parser[key] = value
    prepare = parser.get_parsed_content("evaluator").prepare_batch
    more = (*built.part.needed, *built.part.optional)
    found: list[Arrays] = []
    for batch in parser.get_parsed_content("dataloader"):
        image, _, _, named = prepare(batch)
        # One view of a nodule is an image with or without an axis for it.
        image = image.reshape(image.shape[0], *built.shapes["image"])
        inputs = {"image": image, **{one.name: named.get(one.name) for one in more}}
        for row in range(image.shape[0]):
            found.append({name: value[row : row + 1].numpy() for name, value in inputs.items() if value is not None})
            if len(found) == most:
                return found
    if not found:
        raise DataError(f"Data {dataset}: a case to learn the ranges of 8-bit values from is needed, found 0")
    return found


def write_int8(original: Path, path: Path, calibration: Sequence[Arrays]) -> None:
    """Writes an ONNX model whose convolutions compute in 8 bits.

    Args:
        original: the ONNX model.
        path: of the new one.
        calibration: inputs, a case each.

    Raises:
        UsageError: packages are missing.
        DataError: there is no convolution in it, or it cannot be quantised.
    """
    check_extra("--int8")
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest: Iterator[Arrays] = iter(calibration)

        def get_next(self) -> Mapping[str, Any] | None:
            return next(self.rest, None)

    if not any(node.op_type == "Conv" for node in onnx.load(str(original)).graph.node):
        raise DataError(f"{original.name}: a network with convolutions is needed for 8 bits, found none")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        # Shapes of what lies between are needed; constants must stay folded as they are, or the file grows.
        shaped = Path(folder) / "shaped.onnx"
        onnx.shape_inference.infer_shapes_path(str(original), str(shaped))
        try:
            with quiet():
                quantize_static(
                    str(shaped),
                    str(path),
                    Reader(),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["Conv"],
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                )
        except Exception as error:  # onnxruntime raises types of its own
            raise DataError(f"{original.name}: the network cannot be quantised: {first_line(error)}") from error


def beside_original(original: Path, path: Path, cases: Sequence[Arrays], calibrated_on: int, threads: int = 1) -> Int8:
    """Compares an 8-bit model with its original and writes what was found beside it, as JSON."""
    both = session(original, threads), session(path, threads)
    first, second = (np.concatenate([one(case) for case in cases]) for one in both)
    times = timed(both, cases[0])
    apart = np.abs(first.astype(np.float64) - second)
    found = Int8(
        path.name,
        original.stat().st_size,
        path.stat().st_size,
        round(times[0], 3),
        round(times[1], 3),
        threads,
        platform.machine(),
        calibrated_on,
        len(cases),
        float(apart.max()),
        float(apart.mean()),
    )
    write_json_atomic(path.with_suffix(".json"), asdict(found))
    return found


def timed(models: Sequence[Session], case: Arrays, repeats: int = REPEATS) -> list[float]:
    """Median milliseconds of one case of each model, in turns, so that whatever else runs slows them alike."""
    taken: list[list[float]] = [[] for _ in models]
    for model in models:
        model(case)
    for _ in range(repeats):
        for model, times in zip(models, taken, strict=True):
            start = time.perf_counter()
            model(case)
            times.append(1000 * (time.perf_counter() - start))
    return [statistics.median(times) for times in taken]
