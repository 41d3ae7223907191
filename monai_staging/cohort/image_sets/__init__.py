"""Small sets of images that backbones are pretrained on, read from local files; one module a set, one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from monai_staging.cohort.image_sets.base import ImageSet
from monai_staging.cohort.image_sets.cifar10 import read_cifar10
from monai_staging.cohort.image_sets.digits import read_digits
from monai_staging.cohort.image_sets.mnist import read_mnist
from monai_staging.errors import UsageError

PUBLIC_SETS: dict[str, Callable[[Path], tuple[ImageSet, ImageSet]]] = {
    "digits": read_digits,
    "mnist": read_mnist,
    "cifar10": read_cifar10,
}
"""Labelled sets by name: each reads a folder and gives the training and the test part."""

__all__ = ["PUBLIC_SETS", "ImageSet", "read_public_set"]


def read_public_set(name: str, folder: str | Path) -> tuple[ImageSet, ImageSet]:
    """Training and test part of a labelled public set.

    Args:
        name: one of `PUBLIC_SETS`.
        folder: where its published files lie; ``digits`` comes with scikit-learn and looks at no folder.

    Raises:
        UsageError: a name that is not known.
        DataError: files that are not there or not as published.
    """
    if name not in PUBLIC_SETS:
        raise UsageError(f"Image set: one of {', '.join(PUBLIC_SETS)} is needed, found {name!r}")
    return PUBLIC_SETS[name](Path(folder))
