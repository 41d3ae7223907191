"""What every detector is: a volume goes in, boxes with scores come out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from monai_staging.cohort.volume import Volume, read_volume
from monai_staging.detection.detections import Detections, concatenate
from monai_staging.progress import progress


@runtime_checkable
class Detector(Protocol):
    """Finds lesions in one scan; how is its own business."""

    def detect(self, volume: Volume, case: str) -> Detections:
        """Lesions in a scan.

        Args:
            volume: int16 HU (I, J, K), of any spacing and orientation, with its affine from voxel index to RAS mm.
            case: the name that the detections get; without identity.

        Returns:
            Boxes in RAS mm, all of ``case``; each lesion once, also the unsure ones, since operating points are chosen
            later.
        """
        ...


def detect_all(
    detector: Detector, scans: Sequence[tuple[str, str | os.PathLike[str]]], description: str = "detection"
) -> Detections:
    """Lesions in many scans, one after the other; says how far it is.

    Args:
        detector: finds them.
        scans: each a case and the path of its volume, a cohort's ``.nii``.
        description: what is being done.

    Raises:
        DataError: a volume cannot be read.
    """
    every = progress(scans, description=description, unit="scan")
    return concatenate(detector.detect(read_volume(path), case) for case, path in every)
