"""A folder of studies to try annotation on, where there is none yet: phantoms without their truth."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

COUNT, SEED = 6, 0


def ensure_phantoms(folder: Path, count: int = COUNT, seed: int = SEED) -> Path:
    """The folder, with so many phantoms of cancers in it as NIfTI; what is there is kept.

    Args:
        folder: gets ``phantom-1.nii``, ``phantom-2.nii``, ...
        count: how many.
        seed: of the phantoms.
    """
    paths = [folder / f"phantom-{number}.nii" for number in range(1, count + 1)]
    if all(path.is_file() for path in paths):
        return folder
    from monai_staging.cohort.phantom import PhantomConfig, write_phantom_tree
    from monai_staging.cohort.volume import write_volume
    from monai_staging.predict.study import open_study

    with tempfile.TemporaryDirectory(prefix="monai-staging-") as raw:
        truths = write_phantom_tree(raw, count, seed, PhantomConfig(), os.cpu_count())
        for path, truth in zip(paths, truths, strict=True):
            write_volume(path, open_study(Path(raw, truth.patient), watch=iter).volume)
    return folder
