"""ZIP archives as they may come from anywhere (.npz, .xlsx, .pt): looked into before anything in them is unpacked."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_staging.errors import DataError

if TYPE_CHECKING:
    import numpy.typing as npt

FREE_BYTES = 2**26
"""An archive may hold this much whatever its size."""
RATIO = 100
"""Beyond that, no more than so many times its size: as Apache POI has it for workbooks (``ZipSecureFile``)."""


def check_zip(path: str | os.PathLike[str]) -> None:
    """Whether a ZIP archive holds what an archive of its size may. What is no archive is for its reader to say.

    Readers unpack a member up to the size that the archive states of it, which is what is looked at.

    Raises:
        DataError: it states more than `FREE_BYTES` and `RATIO` times its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = sum(member.file_size for member in archive.infolist())
        there = os.stat(path).st_size
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return
    if held > max(FREE_BYTES, RATIO * there):
        raise DataError(f"{Path(path).name}: an archive may hold {RATIO} times its size; found {held} bytes in {there}")


def read_npz(path: str | os.PathLike[str], names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an ``.npz``, by name; no pickled ones. NumPy makes room for what an array's header claims.

    Raises:
        DataError: a bomb, or an array that claims another size than its part of the archive has.
        KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error: damaged, or an array is missing.
    """
    import numpy as np

    check_zip(path)
    with zipfile.ZipFile(path) as archive:
        for name in names:
            _check_claim(archive, name, Path(path).name)
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in names}


def _check_claim(archive: zipfile.ZipFile, name: str, whose: str) -> None:
    from numpy.lib import format as npy

    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        header = file.tell()
    if dtype.hasobject:  # pickled, for NumPy to refuse
        return
    claimed = header + math.prod(shape) * dtype.itemsize
    if claimed != member.file_size:
        raise DataError(
            f"{whose}: array {name!r} claims {list(shape)} {dtype}, {claimed} bytes with its header; "
            f"found {member.file_size}"
        )
