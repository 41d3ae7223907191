"""The nodules that the malignancy bundle trains on when nobody gives it any: phantoms, made on first use."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from monai_staging.cohort.lock import exclusive
from monai_staging.cohort.nodules.phantom import write_phantom_nodules

DEFAULT_PATH = "data/phantom-nodules"


def default_nodules(path: str | os.PathLike[str] = DEFAULT_PATH, nodules: int = 600, seed: int = 0) -> Path:
    """Makes phantom nodules in ``path`` unless there is something already; gives the folder.

    The folder appears when all of it is there. Where several processes call this at once (one for each GPU), one makes
    the nodules and the others wait. What is there already is left as it is, whatever it is.

    Args:
        path: the folder.
        nodules: how many.
        seed: the same seed gives the same files.
    """
    root = Path(path).resolve()

    def say_waiting() -> None:
        print(f"{root}: another process is making these nodules; waiting for it", file=sys.stderr, flush=True)

    if _is_there(root):
        return root
    with exclusive(root.parent / f".{root.name}.lock", busy="", on_wait=say_waiting):
        if not _is_there(root):
            making = root.with_name(f".{root.name}.making")
            # What a killed run left there may be half a file.
            shutil.rmtree(making, ignore_errors=True)
            write_phantom_nodules(making, nodules, seed)
            if root.is_dir():  # empty; not every system renames onto it
                root.rmdir()
            os.replace(making, root)
    return root


def ensure_nodules(path: str | os.PathLike[str] = DEFAULT_PATH, nodules: int = 600, seed: int = 0) -> Path:
    """The nodules in ``path``: what is there; at ``data/phantom-nodules``, where bundles look by default, made now.

    Args:
        path: a folder or file, see :func:`monai_staging.cohort.nodules.load_nodules`, which says what is wrong with it.
        nodules: how many phantoms.
        seed: of the phantoms.
    """
    root = Path(path).resolve()
    return default_nodules(root, nodules, seed) if root == Path(DEFAULT_PATH).resolve() else root


def _is_there(root: Path) -> bool:
    return root.exists() and not (root.is_dir() and not any(root.iterdir()))
