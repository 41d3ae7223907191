"""DICOM trees to CT volumes: grouped by headers, sorted by position, exact in HU, refused where they cannot be trusted.

>>> for series in scan("raw"):                                                        # doctest: +SKIP
...     if series.modality == "CT":
...         volume = read_series(series)
"""

from __future__ import annotations

from monai_staging.cohort.dicom.rules import Rejection, Rule, SeriesRefused
from monai_staging.cohort.dicom.scan import Scan, Series, scan, with_progress
from monai_staging.cohort.dicom.series import load_series, read_series, series_positions

__all__ = [
    "Rejection",
    "Rule",
    "Scan",
    "Series",
    "SeriesRefused",
    "load_series",
    "read_series",
    "scan",
    "series_positions",
    "with_progress",
]
