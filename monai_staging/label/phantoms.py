"""Studies to try annotation on: phantoms without their truth, and with it as the labels of an annotator who knows."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monai_staging.cohort.phantom import PhantomConfig

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


def write_labelled_phantoms(folder: Path, count: int, seed: int, config: PhantomConfig) -> list[tuple[Path, Path]]:
    """Writes phantoms with their truth as label maps.

    Args:
        folder: gets ``studies/phantom-1.nii``, ... and ``truth/phantom-1.nii.gz``, ...
        count: how many.
        seed: of the phantoms.
        config: what they are.

    Returns:
        Study and label map of each that has a lesion; of the others there is no label map.
    """
    import numpy as np

    from monai_staging.cohort.cohort import Cohort
    from monai_staging.cohort.ingest import IngestOptions, ingest
    from monai_staging.cohort.phantom import write_phantom_tree
    from monai_staging.cohort.splits import SplitOptions
    from monai_staging.cohort.volume import read_mask
    from monai_staging.label.kinds import KINDS, write_labels

    for name in ("studies", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    written = []
    with tempfile.TemporaryDirectory(prefix="monai-staging-") as made:
        raw, workers = Path(made, "raw"), os.cpu_count() or 1
        options = IngestOptions(split=SplitOptions(test=0, folds=0), workers=workers)
        write_phantom_tree(raw, count, seed, config, workers)
        cohort: Cohort = ingest("phantom", raw, Path(made, "cohort"), options).cohort
        for number, case in enumerate(cohort.cases, start=1):
            study, truth = folder / "studies" / f"phantom-{number}.nii", folder / "truth" / f"phantom-{number}.nii.gz"
            shutil.copyfile(cohort.image_path(case), study)
            if not case.lesions:
                continue
            mask, affine = read_mask(cohort.root / str(case.mask))
            labels = np.zeros(mask.shape, dtype=np.uint8, order="F")
            for lesion in case.lesions:
                labels[mask == lesion.label] = KINDS[lesion.kind]
            write_labels(truth, labels, affine)
            written.append((study, truth))
    return written
