"""The size of a lesion from its mask: volumes, diameters and the T category that the size gives."""

from __future__ import annotations

from monai_staging.measure.lesion import SOLID_ABOVE_HU, Measurement, measure_lesion

__all__ = ["SOLID_ABOVE_HU", "Measurement", "measure_lesion"]
