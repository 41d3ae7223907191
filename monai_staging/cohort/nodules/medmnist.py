"""MedMNIST's ``.npz`` files, 2D and 3D, with their official split (Yang et al. 2023, 10.1038/s41597-022-01721-8).

A file holds ``{train,val,test}_images``, uint8, (N, H, W), (N, H, W, 3) or (N, D, H, W), and
``{train,val,test}_labels``, (N, 1) for one class per image or (N, K) of 0 and 1 for K findings per image. It knows
neither millimetres nor patients: each image stands for itself.
"""

from __future__ import annotations

import os
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_staging.archives import read_npz
from monai_staging.cohort.nodules.nodule import BENIGN, MALIGNANT, PARTS, NoduleRecord, NoduleSet, NoduleVolume
from monai_staging.cohort.nodules.patches import UNREADABLE, files_digest
from monai_staging.errors import DataError

SPLITS = dict(zip(PARTS, ("train", "val", "test"), strict=True))
# Classes are numbers in the files; of these the meaning matters here.
CLASSES = {"nodulemnist3d": (BENIGN, MALIGNANT)}
COLOURS = 3

Parts = dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]


def find_medmnist(path: Path) -> Path | None:
    """The MedMNIST file that ``path`` is, or the only one in the folder that it is; ``None`` where there is none.

    Raises:
        DataError: a folder with several.
    """
    files = [path] if path.is_file() else sorted(path.glob("*.npz")) if path.is_dir() else []
    found = [file for file in files if file.suffix == ".npz" and _is_medmnist(file)]
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise DataError(f"{path}: holds several MedMNIST files ({names}); name one: --dataset_dir {found[0]}")
    return found[0] if found else None


def load_medmnist(path: str | os.PathLike[str]) -> NoduleSet:
    """A MedMNIST file's images, all three parts.

    Raises:
        DataError: an array is missing or not of the published form.
    """
    file = Path(path)
    try:
        state = file.stat()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}).") from None
    parts = _read(str(file), state.st_size, state.st_mtime_ns)
    labels = np.concatenate([found for _, found in parts.values()])
    task, count = _task(labels, file)
    name = file.stem.split("_")[0]
    places = [(part, index) for part, (images, _) in parts.items() for index in range(len(images))]
    records = tuple(
        NoduleRecord(
            name=f"{SPLITS[part]}-{index}",
            patient=f"{SPLITS[part]}-{index}",
            label=tuple(int(value) for value in parts[part][1][index]),
            part=part,
        )
        for part, index in places
    )

    def read(index: int) -> NoduleVolume:
        part, place = places[index]
        image = parts[part][0][place]
        if image.ndim == 3 and image.shape[-1] == COLOURS:
            image = np.moveaxis(image, -1, 0)[:, None]
        else:
            image = image.reshape(1, *((1,) * (3 - image.ndim)), *image.shape)
        return NoduleVolume(image, np.zeros((0, *image.shape[1:]), dtype=bool))

    return NoduleSet(
        name=name,
        source="medmnist",
        digest=files_digest([file]),
        task=task,
        classes=CLASSES.get(name, tuple(str(index) for index in range(count))),
        records=records,
        read=read,
        value_range=(0.0, 255.0),
    )


def _is_medmnist(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "train_images.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


@lru_cache(maxsize=2)
def _read(path: str, size: int, time_ns: int) -> Parts:
    try:
        arrays_of = read_npz(path, [f"{prefix}_{what}" for prefix in SPLITS.values() for what in ("images", "labels")])
    except UNREADABLE as error:
        raise DataError(f"{path}: not a MedMNIST file: {error}") from error
    parts = {part: (arrays_of[f"{prefix}_images"], arrays_of[f"{prefix}_labels"]) for part, prefix in SPLITS.items()}
    for part, (images, labels) in parts.items():
        _check(part, images, labels, path)
    for name, place in (("images", 0), ("labels", 1)):
        shapes = {part: arrays[place].shape[1:] for part, arrays in parts.items()}
        if len(set(shapes.values())) > 1:
            found = ", ".join(f"{SPLITS[part]} {shape}" for part, shape in shapes.items())
            raise DataError(f"{path}: {name} of all parts must be of one shape; found {found}")
    return {part: (images, labels.astype(np.int64)) for part, (images, labels) in parts.items()}


def _check(part: str, images: NDArray[Any], labels: NDArray[Any], path: str) -> None:
    whose = f"{path}: {SPLITS[part]}"
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not len(images):
        raise DataError(
            f"{whose}_images must be (N, H, W), (N, H, W, 3) or (N, D, H, W) uint8; found {images.shape} {images.dtype}"
        )
    if labels.ndim != 2 or len(labels) != len(images) or not labels.shape[1] or labels.dtype.kind not in "iu":
        raise DataError(
            f"{whose}_labels must be ({len(images)}, 1) or ({len(images)}, K) whole numbers; "
            f"found {labels.shape} {labels.dtype}"
        )
    if labels.min() < 0:
        raise DataError(f"{whose}_labels must be 0 or more; found {labels.min()}")


def _task(labels: NDArray[np.int64], path: Path) -> tuple[str, int]:
    """The task, and how many classes it has."""
    if labels.shape[1] > 1:
        if labels.max() > 1:
            raise DataError(f"{path}: labels of several findings must be 0 or 1; found {labels.max()}")
        return "multi-label", labels.shape[1]
    count = max(2, int(labels.max()) + 1)
    return ("binary" if count == 2 else "multi-class"), count
