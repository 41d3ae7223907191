"""Nodules as a classification data set, from whatever layout they come in."""

from __future__ import annotations

import os
from pathlib import Path

from monai_staging.cohort.nodules.nodule import NoduleRecord, NoduleSet, NoduleVolume
from monai_staging.errors import DataError

__all__ = ["LAYOUTS", "NoduleRecord", "NoduleSet", "NoduleVolume", "load_nodules"]

LAYOUTS = {
    "lidc-nodules": "a folder with lidc_nodules_64.npz and nodules.csv",
    "medmnist": "a MedMNIST .npz, or a folder with one",
    "cohort": "a cohort with rated nodules, made by `monai-staging ingest lidc-idri` or `ingest luna16`",
}


def load_nodules(dataset_dir: str | os.PathLike[str], outlined: bool = False) -> NoduleSet:
    """The nodules of a folder or file, whichever of :data:`LAYOUTS` it is.

    Args:
        dataset_dir: the folder or file.
        outlined: whether outlines are enough, see :func:`monai_staging.cohort.nodules.rated.load_rated`.

    Raises:
        DataError: it is none of them, or what it holds is not in order.
    """
    from monai_staging.cohort.cohort import FILE_NAME
    from monai_staging.cohort.nodules.medmnist import find_medmnist, load_medmnist
    from monai_staging.cohort.nodules.patches import is_patches, load_patches
    from monai_staging.cohort.nodules.rated import load_rated

    path = Path(dataset_dir)
    if is_patches(path):
        return load_patches(path)
    if (path / FILE_NAME).is_file():
        return load_rated(path, outlined)
    file = find_medmnist(path)
    if file is not None:
        return load_medmnist(file)
    known = "; ".join(LAYOUTS.values())
    found = "no such file or folder" if not path.exists() else "found none of them"
    raise DataError(f"Nodules {path}: {known} is needed, {found}.")
