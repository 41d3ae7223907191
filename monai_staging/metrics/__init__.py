"""Scores with honest intervals: classification, calibration, staging, paired comparisons. NumPy and SciPy, no torch."""

from monai_staging.metrics.binary import binary_metrics
from monai_staging.metrics.delong import delong_interval, delong_test, delong_variance
from monai_staging.metrics.folds import by_fold
from monai_staging.metrics.intervals import Estimate, patient_bootstrap, resample
from monai_staging.metrics.levels import LEVELS, label_counts, level_classes
from monai_staging.metrics.operating_points import threshold_at_sensitivity, threshold_at_specificity
from monai_staging.metrics.paired import PairedDifference, paired_difference, permutation_p_value
from monai_staging.metrics.predictions import StagingPredictions
from monai_staging.metrics.staging import staging_metrics

__all__ = [
    "LEVELS",
    "Estimate",
    "PairedDifference",
    "StagingPredictions",
    "binary_metrics",
    "by_fold",
    "delong_interval",
    "delong_test",
    "delong_variance",
    "label_counts",
    "level_classes",
    "paired_difference",
    "patient_bootstrap",
    "permutation_p_value",
    "resample",
    "staging_metrics",
    "threshold_at_sensitivity",
    "threshold_at_specificity",
]
