"""NSCLC-Radiomics, "Lung1" (TCIA, DOI 10.7937/K9/TCIA.2015.PF0M9REI).

One CT series a patient, the primary outlined as GTV-1 in an RTSTRUCT and again in a SEG; the RTSTRUCT, the original, is
taken where both are there. The table groups like the 6th edition (T4 N0 M0 is IIIb). What its codes T 5, N 4 and M 3
mean is not documented: those letters stay unknown, and the codes are counted.
"""

from __future__ import annotations

from pathlib import Path

from monai_staging.cohort.sources.base import Defaults, Plan, SourceOptions
from monai_staging.cohort.sources.regions import Naming, RegionFile, region_plan

NAMING = Naming(kinds=((r"^gtv[-_ ]?1$", "primary"), (r"^neoplasm, primary$", "primary")))
DEFAULTS = Defaults(
    edition="6",
    table=("*[Ll]ung1*clinical*.csv", "*[Ll]ung1*clinical*.xlsx", "clinical.csv"),
)


def plan(raw: Path, options: SourceOptions) -> Plan:
    """What there is to ingest; the table is the collection's ``... Lung1.clinical ... .csv``, or the user's."""
    return region_plan(raw, options, DEFAULTS, NAMING, _original)


def _original(files: tuple[RegionFile, ...]) -> tuple[RegionFile, ...]:
    return tuple(file for file in files if file.modality == "RTSTRUCT") or files
