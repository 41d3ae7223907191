"""What SEG and RTSTRUCT readers share: opening the object, refusing it, and the way from LPS to the voxel index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.dicom.opened import OpenDicom
from monai_staging.cohort.dicom.rules import BrokenRule, Rule, SeriesRefused
from monai_staging.cohort.dicom.values import text
from monai_staging.cohort.volume import Volume
from monai_staging.errors import StagingError

if TYPE_CHECKING:
    from pydicom import Dataset

Source = Any
"""A path, or a pydicom Dataset."""


def open_object(source: Source, classes: dict[str, str]) -> Dataset:
    """The data set of ``source``, whose SOP class must be one of ``classes`` (UID -> name).

    Raises:
        SeriesRefused: it cannot be parsed, or is another object.
    """
    if isinstance(source, (str, os.PathLike)):
        from pydicom import dcmread

        path = Path(source)
        try:
            with OpenDicom(path) as file:
                dataset: Dataset = dcmread(file)
        except BrokenRule as broken:
            raise SeriesRefused(broken.rule, broken.found, files=(path,)) from broken
        # pydicom fails on a damaged file in many ways; all mean the same here.
        except Exception as error:
            reason = " ".join(str(error).split())
            found = f"{path.name} cannot be parsed as DICOM ({reason})."
            raise SeriesRefused(Rule.UNREADABLE, found, files=(path,)) from error
    else:
        dataset = source
    with refusing_damage(dataset):
        own = dataset.get("SOPClassUID", "")
    if str(own) not in classes:
        kind = getattr(own, "name", "an object without SOP class")
        raise refusal(dataset, Rule.NOT_A_MASK, f"expected {' or '.join(classes.values())}; found {kind}.")
    return dataset


@contextmanager
def refusing_damage(dataset: Dataset) -> Iterator[None]:
    """Refuses what pydicom raises of a damaged value, which it reads, and fails on, only when it is asked for."""
    try:
        yield
    except (StagingError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise refusal(dataset, Rule.UNREADABLE, f"a part of it is damaged ({reason}).") from error


def refusal(dataset: Dataset, rule: Rule, found: str) -> SeriesRefused:
    """The error to raise about ``dataset``."""
    path = getattr(dataset, "filename", None)
    files = (Path(path),) if isinstance(path, (str, os.PathLike)) else ()
    patient, study, series = (text(dataset, tag) for tag in (0x00100020, 0x0020000D, 0x0020000E))
    return SeriesRefused(rule, found, patient, study, series, files)


def whole_number(dataset: Dataset, item: Any, keyword: str, where: str) -> int:
    """A number that ``item`` of ``dataset``, called ``where`` in the message, must have.

    Raises:
        SeriesRefused: it has none.
    """
    value = None
    try:
        value = item.get(keyword)
        return int(value)
    except (TypeError, ValueError, OverflowError) as error:
        found = f"{where} has no {keyword}." if value in (None, "") else f"{where} has {keyword} {value!r}, no number."
        raise refusal(dataset, Rule.UNREADABLE, found) from error


def check_frame_of_reference(dataset: Dataset, name: str, own: str, images: str) -> None:
    """Positions of two frames of reference cannot be compared; where either is not stated, nothing is checked.

    Raises:
        SeriesRefused: ``own``, that of ``name``, is another than ``images``, that of the images.
    """
    if own and images and own != images:
        found = f"{name} is in the frame of reference {own}, the images are in {images}; refuse to compare positions."
        raise refusal(dataset, Rule.OTHER_FRAME_OF_REFERENCE, found)


def lps_to_index(volume: Volume) -> npt.NDArray[np.float64]:
    """float64 (4, 4): LPS millimetres to the voxel index (i, j, k) of ``volume``."""
    lps_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    return np.asarray(np.linalg.inv(volume.affine) @ lps_to_ras, dtype=np.float64)


def point(values: npt.ArrayLike) -> str:
    """A point for a message."""
    return "(" + ", ".join(f"{float(value):.1f}" for value in np.asarray(values)) + ")"
