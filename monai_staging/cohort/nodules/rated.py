"""Rated nodules of a cohort, cut out of its volumes."""

from __future__ import annotations

from pathlib import Path

from monai_staging.cohort.nodules.nodule import NoduleSet
from monai_staging.errors import DataError


def load_rated(folder: Path) -> NoduleSet:
    """The rated nodules of a cohort."""
    raise DataError(f"{folder}: nodules of a cohort cannot be read yet.")
