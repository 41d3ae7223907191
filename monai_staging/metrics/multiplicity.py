"""Several tests, one family: p-values that account for how many were made."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import FloatArray


def holm(p_values: ArrayLike) -> FloatArray:
    """Holm's adjusted p-values: no more than alpha of *any* false finding among all tests with adjusted p <= alpha.

    The i-th smallest of m is multiplied by m - i + 1, and none is smaller than one before it or larger than 1 (Holm,
    1979, Scandinavian Journal of Statistics 6:65-70). No assumption about how the tests depend on each other.

    Args:
        p_values: (tests) unadjusted; NaN is a test that was not made, and does not count.

    Returns:
        (tests) adjusted; NaN where the p-value is.

    Raises:
        UsageError: a p-value is not in 0..1, or they are not in one dimension.
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or (values < 0).any() or (values > 1).any():
        raise UsageError(f"P-values are numbers in 0..1, one a test, got {values.tolist()}.")
    made = np.flatnonzero(~np.isnan(values))
    order = made[np.argsort(values[made], kind="stable")]
    adjusted = np.full(values.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted
