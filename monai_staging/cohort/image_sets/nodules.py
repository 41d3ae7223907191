"""Nodule slices as images without labels, see :mod:`monai_staging.cohort.nodules.patches`."""

from __future__ import annotations

from pathlib import Path

from monai_staging.cohort.image_sets.base import ImageSet
from monai_staging.cohort.nodules.patches import VOLUMES as FILE
from monai_staging.cohort.nodules.patches import slice_patients

__all__ = ["FILE", "read_nodules"]


def read_nodules(folder: Path) -> ImageSet:
    """Every slice, with its patient.

    Raises:
        DataError: a file that is missing or damaged, or a slice that no row of the table, or more than one, has.
    """
    images, patients = slice_patients(folder)
    return ImageSet("lidc_nodules", images[:, None], patients=patients)
