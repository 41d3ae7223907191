"""A study as it comes, a DICOM folder or a NIfTI file, to one volume with all that its outputs refer to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_staging.cohort.dicom import read_series, scan, with_progress
from monai_staging.cohort.dicom.scan import Watch
from monai_staging.cohort.limits import CT_DEFLATE, oversized
from monai_staging.cohort.privacy import case_name, load_key
from monai_staging.cohort.volume import Volume, read_volume
from monai_staging.errors import DataError
from monai_staging.files import cache_folder
from monai_staging.measure.images import read_image
from monai_staging.outputs.dicom_sources import MANUFACTURER, SourceImages, read_sources
from monai_staging.outputs.reported import ScanFacts
from monai_staging.predict.choice import Choice, choose_series

DIRECTION_TOLERANCE = 1e-4
"""Cosines of a file's axes may differ by this; a direction is written with about six digits."""
AIR_BELOW_HU = -200.0
"""A chest has voxels below this: a file whose lowest value is higher is in other units."""
INT16 = np.iinfo(np.int16)
_SHOWN = {"Manufacturer": "Manufacturer", "ConvolutionKernel": "Kernel", "ContrastBolusAgent": "Contrast agent"}


@dataclass(frozen=True, eq=False)
class Study:
    """One scan to be looked at.

    Attributes:
        name: keyed hash of the patient, without identity.
        volume: the scan.
        facts: what a report says of it.
        sources: the images that DICOM outputs refer to; None for a NIfTI file.
        phantom: whether it says that it is one.
    """

    name: str
    volume: Volume
    facts: ScanFacts
    sources: SourceImages | None
    phantom: bool = False


def open_study(path: Path, series: str | None = None, workers: int = 2, watch: Watch = with_progress) -> Study:
    """Reads the study at ``path``.

    Args:
        path: a folder with the DICOM files of one study (subfolders too), or a NIfTI file in Hounsfield units.
        series: the SeriesInstanceUID to take instead of the one that the rules choose.
        workers: threads that read pixels.
        watch: sees each file as its header is read, see :func:`monai_staging.cohort.dicom.scan`.

    Raises:
        DataError: it is neither, is damaged, or cannot be trusted; the rule and what was found.
        OSError: it is not there.
    """
    path.stat()
    if path.is_dir():
        return read_study(choose_series(scan(path, watch=watch), path.name or str(path), series), workers)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise DataError(f"{path.name}: a study is a folder of DICOM files or a NIfTI file; found neither.")
    if series is not None:
        raise DataError(f"{path.name}: --series is for DICOM; a NIfTI file is one series.")
    return _read_nifti(path)


def read_study(choice: Choice, workers: int = 2) -> Study:
    """Reads the series that was chosen.

    Raises:
        DataError: it claims too many voxels.
        SeriesRefused: it cannot be trusted; the message names the patient.
    """
    series = choice.series
    header = series.headers[0]
    _check_size((header.columns, header.rows, sum(own.frames for own in series.headers)), "The series")
    sources = read_sources(series)
    attributes = {title: value for name, title in _SHOWN.items() if (value := series.attributes.get(name, "").strip())}
    facts = ScanFacts("DICOM", f"{choice.reason}.", {"Slice thickness": f"{sources.thickness_mm:g} mm", **attributes})
    # Our own phantoms are the only scans that we make.
    phantom = series.attributes.get("Manufacturer", "").strip() == MANUFACTURER
    return Study(study_name(series.patient), read_series(series, workers=workers), facts, sources, phantom)


def _read_nifti(path: Path) -> Study:
    image = read_image(path, CT_DEFLATE)
    steps = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    if np.abs(steps.T @ steps - np.eye(3)).max() > DIRECTION_TOLERANCE:
        raise DataError(f"{path.name}: perpendicular axes are needed; found {np.round(steps.T, 4).tolist()}.")
    values = image.read(image.whole)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(
            f"{path.name}: every voxel must be a number; found {int((~np.isfinite(values)).sum())} that are none."
        )
    low, high = float(values.min()), float(values.max())
    if low < INT16.min or high > INT16.max or low > AIR_BELOW_HU or high < 0:
        raise DataError(
            f"{path.name}: CT in Hounsfield units is needed (air near -1000, water 0, no more than int16 holds); "
            f"found values of {low:g} to {high:g}."
        )
    volume = Volume(np.asfortranarray(np.rint(values).astype(np.int16)), image.affine)
    digest = hashlib.sha256(volume.array.tobytes(order="F")).hexdigest()
    return Study(study_name(digest), volume, ScanFacts("NIfTI", "the file has one series."), None)


def read_volume_study(path: Path, name: str, facts: ScanFacts, phantom: bool = False) -> Study:
    """A volume of a cohort, which was checked when it was ingested."""
    return Study(name, read_volume(path), facts, None, phantom)


def study_name(patient: str) -> str:
    """A name without identity: the same for the same patient and user, see `monai_staging.cohort.privacy.load_key`."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return case_name(patient, load_key(folder))


def _check_size(shape: tuple[int, int, int], whose: str) -> None:
    broken = oversized(shape)
    if broken is not None:
        raise DataError(f"{whose}: {broken}.")
