"""Outlines from which the pixels come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn
from pydicom import Dataset

from monai_staging.cohort.dicom.structures import Contour, ImageSeries, Structure, add_structures, contours_of
from monai_staging.cohort.masks_rtstruct import fill


@given(stn.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_pixels_are_inside_an_odd_number_of_outlines(mask):
    if mask.any():
        outlines = contours_of(mask)
        np.testing.assert_array_equal(fill(outlines, mask.T.shape), mask.T)
        assert all(np.isin(np.abs(line * 2) % 2, (0, 1)).all() for line in outlines)


@pytest.mark.parametrize("frame", [None, 7])
def test_structures_are_described(frame):
    points = np.array([[0, 0, -1.00005], [1, 0, -1], [1, 1.5, -1]])
    structures = [Structure(3, "Lesion 3", "AUTOMATIC", [Contour(points, ("1.2", "9.1"), frame)])]
    dataset = Dataset()
    add_structures(dataset, "LESIONS", ImageSeries("1", "2", "3", [("1.2", "9.1"), ("1.2", "9.2")]), structures)
    (roi,), (outline,) = dataset.StructureSetROISequence, dataset.ROIContourSequence
    assert (roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm) == (3, "Lesion 3", "AUTOMATIC")
    (contour,) = outline.ContourSequence
    assert contour.NumberOfContourPoints == 3
    assert list(map(str, contour.ContourData))[:5] == ["0.0000", "0.0000", "-1.0001", "1.0000", "0.0000"]
    (image,) = contour.ContourImageSequence
    assert (image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber")) == ("9.1", frame)
    (reference,) = dataset.ReferencedFrameOfReferenceSequence
    assert reference.FrameOfReferenceUID == roi.ReferencedFrameOfReferenceUID == "3"
