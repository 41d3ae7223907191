"""Nodules that several tests look at: real ones, phantoms, and files in MedMNIST's form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from monai_staging.cohort.nodules.phantom import write_phantom_nodules

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def phantom_nodules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 12 phantom nodules; not to be changed."""
    return write_phantom_nodules(tmp_path_factory.mktemp("nodules") / "phantoms", 12, seed=4)


@pytest.fixture
def medmnist_arrays() -> Callable[..., Arrays]:
    """The six arrays of a file, of images of any shape."""

    def make(shape: tuple[int, ...], classes: int = 2, findings: int = 1) -> Arrays:
        random = np.random.default_rng(0)
        arrays: Arrays = {}
        for part, count in (("train", 8), ("val", 4), ("test", 6)):
            arrays[f"{part}_images"] = random.integers(0, 256, (count, *shape), dtype=np.uint8)
            labels = random.integers(0, classes, (count, findings))
            labels[:classes, 0] = np.arange(min(classes, count))
            arrays[f"{part}_labels"] = labels.astype(np.uint8)
        return arrays

    return make
