"""Scores with honest intervals: classification, calibration and the staging report. NumPy only, no torch."""

from monai_staging.metrics.intervals import Estimate, patient_bootstrap
from monai_staging.metrics.levels import LEVELS, label_counts, level_classes
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.metrics.staging import staging_metrics

__all__ = [
    "LEVELS",
    "Estimate",
    "StagingPredictions",
    "label_counts",
    "level_classes",
    "patient_bootstrap",
    "staging_metrics",
]
