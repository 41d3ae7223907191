"""Pickles of plain values and NumPy arrays, read without running anything else.

A pickle is a program: read by ``pickle.load``, one from elsewhere can do whatever this process may. Here only what
builds an array can be named in it.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import IO, Any

import numpy as np

from monai_staging.errors import DataError

# What an array's pickle calls to make an empty one. Its module was renamed in NumPy 2; older files name the old one.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


_LARGEST = 2**28
"""Bytes; a batch of CIFAR-10 has 31 million."""


class _NumpyUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}") from None


def _check_sizes(content: bytes) -> None:
    """Unpickling makes room for as many remembered values as the highest number among them."""
    if len(content) > _LARGEST:
        raise pickle.UnpicklingError(f"it has more than {_LARGEST} bytes")
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(content):
            raise pickle.UnpicklingError(f"it numbers a value {argument}, in {len(content)} bytes")


def read_numpy_pickle(file: IO[bytes], name: str) -> Any:
    """What is in a pickle, texts of Python 2 as bytes.

    Args:
        file: open for reading.
        name: of the file, for the error.

    Raises:
        DataError: it names anything but NumPy's arrays, or is damaged.
    """
    try:
        content = file.read(_LARGEST + 1)
        _check_sizes(content)
        return _NumpyUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle fails in a hundred ways
        raise DataError(
            f"{name}: only plain values and NumPy arrays are read from a pickle, which is a program; {error}"
        ) from error
