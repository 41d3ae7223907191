"""Small copies of public sets, written as they are published."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Arrays = dict[str, np.ndarray]


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined]
    """Writes bytes as Python 2 wrote its str, and names NumPy's module as it was called then."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_bytes(self, obj: bytes) -> None:
        self.write(b"T" + struct.pack("<i", len(obj)) + obj)
        self.memoize(obj)

    dispatch[bytes] = save_bytes


def python2_pickle(content: object) -> bytes:
    """``content`` as a pickle of protocol 2, without anything that only Python 3 has."""
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    return file.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@pytest.fixture(scope="session")
def idx_bytes() -> Callable[[np.ndarray], bytes]:
    """An array of bytes as an IDX file: magic number, length of each axis, values."""

    def write(array: np.ndarray) -> bytes:
        return struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()

    return write


@pytest.fixture
def mnist_arrays() -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (40, 28, 28), dtype=np.uint8),
        "train-labels-idx1-ubyte": np.arange(40, dtype=np.uint8) % 10,
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": np.arange(20, dtype=np.uint8) % 10,
    }


@pytest.fixture
def mnist_folder(mnist_arrays: Arrays, idx_bytes: Callable[[np.ndarray], bytes], tmp_path: Path) -> Path:
    """The four files, two of them gzipped."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name, array in mnist_arrays.items():
        content = idx_bytes(array)
        if name.startswith("train"):
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def cifar10_folder(tmp_path: Path) -> Path:
    """The six batches of ten images each, in their published folder."""
    folder = tmp_path / "cifar" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        content = {
            b"batch_label": f"batch {number}".encode(),
            b"labels": [(number + i) % 10 for i in range(10)],
            b"data": rng.integers(0, 256, (10, 3072), dtype=np.uint8),
            b"filenames": [f"{i}.png".encode() for i in range(10)],
        }
        (folder / name).write_bytes(python2_pickle(content))
    return folder.parent
