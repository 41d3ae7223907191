"""The nodules that the malignancy bundle trains on when nobody gives it any: phantoms, made on first use."""

from __future__ import annotations

import os
from pathlib import Path

from monai_staging.cohort.lock import exclusive
from monai_staging.cohort.nodules.patches import is_patches
from monai_staging.cohort.nodules.phantom import write_phantom_nodules

DEFAULT_PATH = "data/phantom-nodules"


def ensure_nodules(path: str | os.PathLike[str] = DEFAULT_PATH, nodules: int = 600, seed: int = 0) -> Path:
    """``path``, where phantom nodules are made if it is the default one and nothing is there yet."""
    root = Path(path).resolve()
    if root.exists() or root != Path(DEFAULT_PATH).resolve():
        return root
    with exclusive(root.parent / f".{root.name}.lock", busy=""):
        if not is_patches(root):
            write_phantom_nodules(root, nodules, seed)
    return root
