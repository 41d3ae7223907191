"""What the numbers of a label map stand for: kinds of lesions, the same in every label of a data store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.case import LESION_KINDS
from monai_staging.cohort.volume import write_mask, write_packed_mask

KINDS = {kind: number for number, kind in enumerate(LESION_KINDS, start=1)}
"""The number of each kind."""


def write_labels(path: Path, labels: npt.NDArray[np.uint8], affine: npt.NDArray[np.float64]) -> None:
    """Writes a label map as ``.nii``, or packed as ``.nii.gz``.

    Args:
        path: whose ending says which.
        labels: (columns, rows, slices), numbers of :data:`KINDS`, 0 elsewhere.
        affine: (4, 4), voxel index to RAS mm.
    """
    write = write_packed_mask if path.suffix == ".gz" else write_mask
    write(path, labels, affine)
