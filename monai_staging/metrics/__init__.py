"""Scores with honest intervals: classification, calibration, staging, paired comparisons. NumPy and SciPy, no torch."""

from monai_staging.metrics.binary import binary_metrics
from monai_staging.metrics.conclusions import conclusion
from monai_staging.metrics.delong import delong_interval, delong_test, delong_variance
from monai_staging.metrics.folds import by_fold
from monai_staging.metrics.intervals import Estimate, patient_bootstrap, resample
from monai_staging.metrics.learning_curve import epochs_to_reach, seconds_to_reach
from monai_staging.metrics.levels import LEVELS, label_counts, level_classes
from monai_staging.metrics.multiplicity import holm
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
    "conclusion",
    "delong_interval",
    "delong_test",
    "delong_variance",
    "epochs_to_reach",
    "holm",
    "label_counts",
    "level_classes",
    "paired_difference",
    "patient_bootstrap",
    "permutation_p_value",
    "resample",
    "seconds_to_reach",
    "staging_metrics",
    "threshold_at_sensitivity",
    "threshold_at_specificity",
]
