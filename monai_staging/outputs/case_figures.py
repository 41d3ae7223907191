"""Pictures of a cohort's cases: named by a keyed hash, phantoms called that."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_staging.cohort.case import Case, Lesion
from monai_staging.cohort.cohort import Cohort
from monai_staging.cohort.privacy import load_key, study_names
from monai_staging.cohort.volume import Volume, read_volume
from monai_staging.errors import UsageError
from monai_staging.outputs.figures_lesion import lesion_figure
from monai_staging.outputs.figures_plane import Window
from monai_staging.workflows.staging_data import cohort_title


def case_lesion_figure(
    path: str | os.PathLike[str],
    cohort: Cohort,
    case: Case,
    predicted_mm: Sequence[float] | None,
    *,
    lesion: Lesion | None = None,
    z_mm: float | None = None,
    window: Window = "lung",
) -> Path:
    """The five panels of a case's lesion; see `monai_staging.outputs.figures_lesion.lesion_figure`.

    Args:
        path: the PNG to write.
        cohort: the case's.
        case: whose volume is shown; named by a keyed hash.
        predicted_mm: (xmin, ymin, zmin, xmax, ymax, zmax) in RAS mm; None where nothing was found.
        lesion: one of the case's; the first where it is left out. Where its reader drew a box on the slice itself,
            that one is shown, else the cut of the lesion's box.
        z_mm: RAS height of the slice; the middle of the lesion where it is left out.
        window: name, or centre and width in HU.

    Raises:
        UsageError: the case is not the cohort's, or has no lesion and nothing was predicted.
        DataError: the volume cannot be read.
    """
    place = next((place for place, own in enumerate(cohort.cases) if own is case), None)
    if place is None:
        raise UsageError(f"A case of cohort {cohort.name} is needed, found another's.")
    return scan_lesion_figure(
        path,
        cohort.image_path(case),
        lesion or next(iter(case.lesions), None),
        predicted_mm,
        z_mm=z_mm,
        window=window,
        case_name=study_names(cohort.cases, load_key(cohort.root))[place],
        subtitle=cohort_title(cohort.root),
        phantom=cohort.phantom,
    )


def scan_lesion_figure(
    path: str | os.PathLike[str],
    volume_path: str | os.PathLike[str],
    lesion: Lesion | None,
    predicted_mm: Sequence[float] | None,
    *,
    z_mm: float | None = None,
    window: Window = "lung",
    case_name: str = "",
    subtitle: str = "",
    phantom: bool = False,
) -> Path:
    """The five panels of a scan's lesion, of a volume on disk; else as `case_lesion_figure`.

    Args:
        path: the PNG to write.
        volume_path: the scan's volume.
        lesion: of the scan; None where no reader found one.
        predicted_mm: (xmin, ymin, zmin, xmax, ymax, zmax) in RAS mm; None where nothing was found.
        z_mm: RAS height of the slice; the middle of the lesion where it is left out.
        window: name, or centre and width in HU.
        case_name: name without identity.
        subtitle: what the data is.
        phantom: whether it is one, and no reader was asked.

    Raises:
        UsageError: there is neither lesion nor prediction.
        DataError: the volume cannot be read.
    """
    volume = read_volume(volume_path)
    reader = None
    if lesion is not None:
        z_mm = lesion.center_mm[2] if z_mm is None else z_mm
        reader = reader_box(lesion, volume, z_mm)
    return lesion_figure(
        path,
        volume.array,
        volume.affine,
        None if reader is None else reader.tolist(),
        predicted_mm,
        z_mm=z_mm,
        window=window,
        case_name=case_name,
        subtitle=subtitle,
        phantom=phantom,
    )


def reader_box(lesion: Lesion, volume: Volume, z_mm: float) -> NDArray[np.float64]:
    """(6) corners of a lesion in RAS mm; in plane those of its reader's box on the slice at a height, if there is one.

    Args:
        lesion: of the volume.
        volume: whose slices the reader's boxes are on.
        z_mm: RAS height.
    """
    center, half = np.array(lesion.center_mm), np.array(lesion.size_mm) / 2
    box = np.concatenate([center - half, center + half])
    for k, x0, y0, x1, y1 in lesion.boxes:
        # An edge at x is where pixel x begins, half a pixel before its centre.
        index = np.array([(x - 0.5, y - 0.5, k) for x in (x0, x1) for y in (y0, y1)])
        corners = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        if abs(corners[:, 2].mean() - z_mm) <= volume.spacing_mm[2] / 2:
            box[:2], box[3:5] = corners[:, :2].min(axis=0), corners[:, :2].max(axis=0)
    return box
