"""Scores with honest intervals: classification, calibration, staging, paired comparisons. NumPy and SciPy, no torch."""

from monai_staging.metrics.binary import binary_metrics
from monai_staging.metrics.intervals import Estimate, patient_bootstrap, resample
from monai_staging.metrics.levels import LEVELS, label_counts, level_classes
from monai_staging.metrics.operating_points import threshold_at_sensitivity, threshold_at_specificity
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.metrics.staging import staging_metrics

__all__ = [
    "LEVELS",
    "Estimate",
    "StagingPredictions",
    "binary_metrics",
    "label_counts",
    "level_classes",
    "patient_bootstrap",
    "resample",
    "staging_metrics",
    "threshold_at_sensitivity",
    "threshold_at_specificity",
]
