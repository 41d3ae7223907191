"""Scans and label maps that are NIfTI files, which name no patient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.dicom import Rejection, Rule, Series, SeriesRefused
from monai_staging.cohort.nifti import read_nifti, read_nifti_labels
from monai_staging.cohort.sources.base import reject
from monai_staging.cohort.volume import Volume
from monai_staging.errors import DataError

AIR_BELOW_HU = -500
"""Some voxel of every chest CT is lower: the air in it is at -1000, lung parenchyma near -850."""


def nifti_series(image: Path, name: str, patient: str | None = None) -> Series:
    """The series that a file is: its name stands for study and series, and for the patient if nobody else is named."""
    return Series(patient or name, name, name, "CT", (image,), "", (), {}, ())


def read_scan(series: Series) -> Volume:
    """The volume of a series whose only file is a NIfTI image.

    Raises:
        SeriesRefused: see `read_nifti`; or there is no air in it, so that it is not in Hounsfield units.
    """
    try:
        volume = read_nifti(series.files[0])
        low, high = int(volume.array.min()), int(volume.array.max())
        if low >= AIR_BELOW_HU:
            found = f"values from {low} to {high}; in HU the air of a chest CT is below {AIR_BELOW_HU}."
            raise SeriesRefused(Rule.NOT_HOUNSFIELD, f"{series.files[0].name}: {found}")
    except SeriesRefused as refused:
        raise SeriesRefused(
            refused.rule, refused.found, series.patient, series.study, series.series, series.files
        ) from refused
    return volume


def read_label_map(
    path: Path, series: Series, volume: Volume, highest: int, meant: str
) -> npt.NDArray[np.int16] | Rejection:
    """The labels that a file has for the voxels of a scan, int16, in the scan's shape; or why they are refused.

    Args:
        path: the label map.
        series: the scan.
        volume: its voxels.
        highest: the values are 0 to this.
        meant: the values in words, for the message.
    """
    # Late: what measures lesions reads cohorts' volumes.
    from monai_staging.measure.images import Image, check_same_grid

    try:
        labels, affine = read_nifti_labels(path)
        check_same_grid(
            Image(series.files[0], volume.shape, volume.affine, volume.array.__getitem__),
            Image(path, labels.shape, affine, labels.__getitem__),
        )
    except SeriesRefused as error:
        return refused_annotation(series, error.rule.value, error.found, path)
    except DataError as error:
        return refused_annotation(series, Rule.MASK_OFF_GRID.value, str(error), path)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > highest:
        found = f"{path.name} must hold {meant}; found values from {low} to {high}."
        return refused_annotation(series, Rule.NOT_A_MASK.value, found, path)
    return labels


def refused_annotation(series: Series, rule: str, found: str, path: Path) -> Rejection:
    """The record of a series' annotation that is refused, for ``rejected.json``."""
    return replace(reject(series, rule, found), files=(str(path),))
