"""Raw data to cohort: cases, DICOM, clinical tables, sources, splits, audit and phantoms."""

from __future__ import annotations

from monai_staging.cohort.case import Case, Lesion
from monai_staging.cohort.cohort import Cohort, load_cohort

__all__ = ["Case", "Cohort", "Lesion", "load_cohort"]
