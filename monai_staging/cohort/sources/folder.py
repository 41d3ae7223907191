"""Any DICOM tree, with a clinical table or without.

Every readable CT series is a case. The table needs a patient column that holds PatientID. SEG and RTSTRUCT in the tree
become lesions where their regions are named like one.
"""

from __future__ import annotations

from pathlib import Path

from monai_staging.cohort.sources.base import Defaults, Plan, SourceOptions
from monai_staging.cohort.sources.regions import Naming, region_plan

NAMING = Naming(
    kinds=(
        (r"node|lymph|\bgtv[-_ ]?n", "node"),
        (r"metasta", "metastasis"),
        (r"nodule", "nodule"),
        (r"\bgtv|tumou?r|neoplasm|lesion|cancer|carcinoma|\bmass\b", "primary"),
    ),
    split=True,
)


def plan(raw: Path, options: SourceOptions) -> Plan:
    """What there is to ingest; the table is ``clinical.csv`` (``.tsv``, ``.xlsx``) in the tree, or the user's."""
    return region_plan(raw, options, Defaults(), NAMING)
