"""NSCLC-Radiogenomics (TCIA, DOI 10.7937/K9/TCIA.2017.7hs46erv).

CT series, the tumour as a SEG for most patients, and a table of pathological T, N and M (prefix p, 7th edition) with
"Not Collected" where there was no surgery here. A SEG's only segment is the primary.
"""

from __future__ import annotations

from pathlib import Path

from monai_staging.cohort.clinical import ALIASES
from monai_staging.cohort.sources.base import Defaults, Plan, SourceOptions
from monai_staging.cohort.sources.regions import Naming, region_plan

NAMING = Naming(kinds=((r"tumou?r|neoplasm|nodule|lesion|\bgtv", "primary"),), lone_kind="primary")
DEFAULTS = Defaults(
    edition="7",
    prefix="p",
    aliases={**ALIASES, "age": ("age at histological diagnosis",)},
    table=("NSCLCR01Radiogenomic*.csv", "clinical.csv"),
)


def plan(raw: Path, options: SourceOptions) -> Plan:
    """What there is to ingest; the table is the collection's ``NSCLCR01Radiogenomic ... .csv``, or the user's."""
    return region_plan(raw, options, DEFAULTS, NAMING)
