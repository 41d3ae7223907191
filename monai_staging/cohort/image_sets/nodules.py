"""A file of nodule slices: ``lidc_nodules_64.npz`` with ``nodules.csv``, which says whose each slice is."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np

from monai_staging.cohort.image_sets.base import ImageSet
from monai_staging.errors import DataError

FILE = "lidc_nodules_64.npz"
TABLE = "nodules.csv"
_COLUMNS = ("patient_id", "npz_first_slice", "npz_n_slices")


def read_nodules(folder: Path) -> ImageSet:
    """Every slice, without labels.

    Args:
        folder: holds the two files: ``images`` (N, rows, columns) uint8, and a table with a row a nodule: patient,
            number of its first slice, and how many there are.

    Raises:
        DataError: a file that is missing or damaged, or a slice that no row of the table, or more than one, has.
    """
    try:
        # Without pickles: an array of objects would be a program.
        with np.load(folder / FILE, allow_pickle=False) as archive:
            images = archive["images"]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{folder / FILE}: images cannot be read ({error})") from error
    return ImageSet("lidc_nodules", images[:, None], patients=_patients(folder / TABLE, len(images)))


def _patients(path: Path, count: int) -> tuple[str, ...]:
    owner = [""] * count
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), start=2):
                patient, first, slices = (row[name] for name in _COLUMNS)
                for index in range(int(first), int(first) + int(slices)):
                    if not 0 <= index < count or owner[index] or not patient:
                        raise DataError(f"{path}: line {number}: slice {index} of {count} is not this row's alone")
                    owner[index] = patient
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); {', '.join(_COLUMNS)} are needed") from error
    if "" in owner:
        raise DataError(f"{path}: slice {owner.index('')} of {count} has no row: its patient is not known")
    return tuple(owner)
