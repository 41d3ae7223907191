"""CIFAR-10 in its published Python version: six pickles, in a folder or in the archive (Krizhevsky 2009)."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.image_sets.base import ImageSet
from monai_staging.cohort.image_sets.numpy_pickle import read_numpy_pickle
from monai_staging.errors import DataError

ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
TRAINING = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = ("test_batch",)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# Red, green and blue, one after the other, each 32 rows of 32.
SHAPE = (3, 32, 32)

_Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def read_cifar10(folder: Path) -> tuple[ImageSet, ImageSet]:
    """Training (50,000 as published) and test part (10,000).

    Args:
        folder: holds the batches, or ``cifar-10-batches-py`` with them, or ``cifar-10-python.tar.gz``; or is the
            archive itself.

    Raises:
        DataError: a batch that is missing, damaged, of another shape, or a pickle of more than arrays and plain values.
    """
    place = _place(folder)
    if place.is_dir():
        return _set(place, {name: _from_folder(place, name) for name in (*TRAINING, *TEST)})
    return _set(place, _from_archive(place))


def _place(folder: Path) -> Path:
    inner, archive = folder / FOLDER, folder / ARCHIVE
    for place, there in (
        (folder, folder.is_file() or (folder / TEST[0]).is_file()),
        (inner, inner.is_dir()),
        (archive, archive.is_file()),
    ):
        if there:
            return place
    raise DataError(f"CIFAR-10 {folder}: {TEST[0]}, {FOLDER} or {ARCHIVE} is needed, none is there")


def _set(place: Path, batches: dict[str, _Batch]) -> tuple[ImageSet, ImageSet]:
    parts = []
    for names in (TRAINING, TEST):
        images, labels = zip(*(batches[name] for name in names), strict=True)
        parts.append(ImageSet("cifar10", np.concatenate(images), np.concatenate(labels), CLASSES))
    return parts[0], parts[1]


def _from_folder(folder: Path, name: str) -> _Batch:
    try:
        with open(folder / name, "rb") as file:
            return _batch(file, f"{folder / name}")
    except OSError as error:
        raise DataError(f"CIFAR-10 {folder}: {name} cannot be read ({error.strerror})") from error


@contextmanager
def _readable(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path) as archive:
            yield archive
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"CIFAR-10 {path}: cannot be read as an archive ({error})") from error


def _from_archive(path: Path) -> dict[str, _Batch]:
    """The batches of the archive, read in the order they lie in; nothing is unpacked to disk."""
    batches: dict[str, _Batch] = {}
    with _readable(path) as archive:
        for member in archive:
            name = Path(member.name).name
            file = archive.extractfile(member) if name in (*TRAINING, *TEST) and member.isfile() else None
            if file is not None:
                batches[name] = _batch(file, f"{path}: {name}")
    missing = [name for name in (*TRAINING, *TEST) if name not in batches]
    if missing:
        raise DataError(f"CIFAR-10 {path}: {', '.join(missing)} missing from the archive")
    return batches


def _batch(file: IO[bytes], name: str) -> _Batch:
    """Images (N, 3, 32, 32) and labels (N,) of one batch."""
    content = read_numpy_pickle(file, name)
    if not isinstance(content, dict) or not {b"data", b"labels"} <= content.keys():
        raise DataError(f"{name}: a dictionary with data and labels is needed, found {type(content).__name__}")
    data, labels = content[b"data"], content[b"labels"]
    length = SHAPE[0] * SHAPE[1] * SHAPE[2]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (length,):
        found = f"{data.dtype} of {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(f"{name}: data must be (N, {length}) of uint8, found {found}")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(type(label) is int for label in labels):
        raise DataError(f"{name}: labels must be a list of {len(data)} whole numbers, found others")
    return data.reshape(-1, *SHAPE), np.asarray(labels, dtype=np.int64)
