"""Label maps as OHIF's panel of MONAI Label asks for them: NRRD, one byte a voxel, not compressed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from monai_staging.measure.images import read_image

ENDING = ".nrrd"


def as_nrrd(path: Path) -> Path:
    """The label map at ``path`` as NRRD in its place.

    Voxels stay in their order, which is that of the DICOM images; the geometry is in LPS mm, as its header says.
    """
    import nrrd

    image = read_image(path)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    header = {
        "space": "left-posterior-superior",
        "space directions": affine[:3, :3].T,
        "space origin": affine[:3, 3],
        "encoding": "raw",
    }
    written = path.with_name(path.name.removesuffix(".nii.gz") + ENDING)
    nrrd.write(str(written), image.read(image.whole).astype(np.uint8), header, index_order="F")
    path.unlink()
    return written
