"""MNIST in its published files: four IDX files, plain or gzipped (LeCun, Cortes and Burges)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.image_sets.base import ImageSet
from monai_staging.errors import DataError

FILES = {
    "training": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Images and labels of each part."""
# Two zero bytes, the type (8: unsigned byte), and how many axes follow.
IMAGES, LABELS = 0x00000803, 0x00000801
# More than any file of this kind holds: a damaged header must not ask for all of the memory.
_MOST_BYTES = 2**31


def read_mnist(folder: Path) -> tuple[ImageSet, ImageSet]:
    """Training (60,000 as published) and test part (10,000).

    Args:
        folder: holds the four files, each as published or with ``.gz``; ``raw`` and ``MNIST/raw`` in it are looked at
            too, where other programs put them.

    Raises:
        DataError: a file that is missing, of another magic number, too short or too long, or images and labels of
            different counts.
    """
    training, test = (_part(folder, name, *files) for name, files in FILES.items())
    return training, test


def _part(folder: Path, part: str, images: str, labels: str) -> ImageSet:
    image, label = read_idx(_find(folder, images), IMAGES), read_idx(_find(folder, labels), LABELS)
    if len(image) != len(label):
        raise DataError(f"MNIST {folder}: {len(image)} images but {len(label)} labels in the {part} part")
    return ImageSet("mnist", image[:, None], label.astype(np.int64), tuple("0123456789"))


def _find(folder: Path, name: str) -> Path:
    places = [folder / inner / f"{name}{suffix}" for inner in ("", "raw", "MNIST/raw") for suffix in ("", ".gz")]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise DataError(f"MNIST {folder}: {name} or {name}.gz is needed, neither is there")
    return found


def read_idx(path: Path, magic: int) -> npt.NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes.

    Args:
        path: the file; gzipped where its name ends in ``.gz``.
        magic: number it must begin with; its last byte says how many axes it has.

    Raises:
        DataError: another magic number, or more or fewer bytes than its axes make.
    """
    axes = magic & 0xFF
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            return _read(path, cast(IO[bytes], file), magic, axes)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def _read(path: Path, file: IO[bytes], magic: int, axes: int) -> npt.NDArray[np.uint8]:
    head = file.read(4 + 4 * axes)
    if len(head) < 4 + 4 * axes:
        raise DataError(f"{path}: an IDX header of {4 + 4 * axes} bytes is needed, found {len(head)}")
    found, *shape = struct.unpack(f">{1 + axes}I", head)
    if found != magic:
        raise DataError(f"{path}: the magic number must be {magic} (0x{magic:08x}), found {found} (0x{found:08x})")
    wanted = math.prod(shape)
    if not 0 < wanted <= _MOST_BYTES:
        raise DataError(f"{path}: axes of {shape} make {wanted} bytes; 1 to {_MOST_BYTES} are read")
    content = file.read(wanted + 1)
    if len(content) != wanted:
        more = "more" if len(content) > wanted else str(len(content))
        raise DataError(f"{path}: axes of {shape} make {wanted} bytes of values, found {more}")
    # A copy: what lies on bytes cannot be written to, of which torch would warn.
    return np.frombuffer(content, np.uint8).reshape(shape).copy()
