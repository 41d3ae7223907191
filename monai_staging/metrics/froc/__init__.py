"""FROC analysis of detected lesions by the rules of LUNA16, with intervals. NumPy only, no torch."""

from monai_staging.metrics.froc.curve import FrocCurve
from monai_staging.metrics.froc.findings import Findings, Marks
from monai_staging.metrics.froc.matching import Matches, match
from monai_staging.metrics.froc.result import POINTS, FrocBand, FrocResult, froc
from monai_staging.metrics.froc.tables import ScanList, read_findings, read_marks, read_scans, size_strata

__all__ = [
    "POINTS",
    "Findings",
    "FrocBand",
    "FrocCurve",
    "FrocResult",
    "Marks",
    "Matches",
    "ScanList",
    "froc",
    "match",
    "read_findings",
    "read_marks",
    "read_scans",
    "size_strata",
]
