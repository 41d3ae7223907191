"""The outline of a lesion that an annotator points at, from clicks on voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from monai_staging.cohort.lesions import Part
from monai_staging.cohort.volume import Volume
from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.predict.outliner import LesionOutliner
from monai_staging.transforms.click import Clicks

MOST = 1000
"""Clicks of one request."""


def read_clicks(given: Any, what: str, shape: Sequence[int]) -> list[tuple[int, int, int]]:
    """Clicks as voxels of a scan.

    Args:
        given: ``[[i, j, k], ...]`` as JSON gave it, or ``None`` for none.
        what: they are, for the message.
        shape: of the scan.

    Raises:
        UsageError: they are anything else, too many, or outside the scan.
    """
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > MOST:
        raise UsageError(f"{what}: a list of at most {MOST} points [i, j, k] is needed; found {str(given)[:60]}.")
    clicks = []
    for point in given:
        numbers = (
            isinstance(point, list)
            and len(point) == 3
            and all(type(own) in (int, float) and math.isfinite(own) for own in point)
        )
        if not numbers or not all(0 <= round(own) < size for own, size in zip(point, shape, strict=True)):
            raise UsageError(f"{what}: a point is [i, j, k], a voxel of {list(shape)}; found {str(point)[:60]}.")
        clicks.append((round(point[0]), round(point[1]), round(point[2])))
    return clicks


def world(volume: Volume, clicks: Sequence[tuple[int, int, int]]) -> FloatArray:
    """Clicks as places, (N, 3), RAS mm."""
    voxels = np.asarray(clicks, dtype=np.float64).reshape(-1, 3)
    return np.asarray(voxels @ volume.affine[:3, :3].T + volume.affine[:3, 3])


def outline_clicked(
    outliner: LesionOutliner,
    volume: Volume,
    lungs_mm: FloatArray,
    foreground: Sequence[tuple[int, int, int]],
    background: Sequence[tuple[int, int, int]],
) -> Part | None:
    """The lesion that the clicks mean, or ``None`` where nothing is found.

    Args:
        outliner: of ``monai-staging predict``.
        volume: the scan.
        lungs_mm: (2, 3), box of its lungs, RAS mm.
        foreground: voxels of the lesion, one at least.
        background: voxels that are not of it.
    """
    return outliner.clicked(volume, Clicks.of(world(volume, foreground), world(volume, background)), lungs_mm)
