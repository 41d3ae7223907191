"""Masks from DICOM SEG and RTSTRUCT on a volume's grid, placed by patient coordinates."""

from __future__ import annotations

from monai_staging.cohort.masks_rtstruct import list_rois, mask_from_rtstruct
from monai_staging.cohort.masks_seg import Segment, list_segments, mask_from_seg, union_from_seg

__all__ = ["Segment", "list_rois", "list_segments", "mask_from_rtstruct", "mask_from_seg", "union_from_seg"]
