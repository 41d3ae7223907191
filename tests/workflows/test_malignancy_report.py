"""Pictures of nodules: an outline lies on the slice it was drawn on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_staging.cohort.nodules.patches import PatchTable, write_patches
from monai_staging.transforms.nodule_views import NoduleViews
from monai_staging.workflows.malignancy_report import pictures_of
from monai_staging.workflows.nodule_data import NoduleData


@pytest.mark.parametrize("kind", ["central", "2.5d", "planes", "3d"])
@pytest.mark.parametrize("channels", [["image", "outline"], ["image"]])
def test_the_outline_is_shown_on_its_own_slice(kind: str, channels: list[str], tmp_path: Path) -> None:
    # A nodule that wanders from slice to slice, each outlined where it is.
    image = np.zeros((9, 64, 64), np.uint8)
    for number in range(9):
        left = 10 + 4 * number
        image[number, 28:37, left : left + 9] = 255
    outlines = np.zeros((4, 9, 64, 64), bool)
    outlines[0] = image > 0
    row = {"patient_id": "A", "slice_thickness_mm": 1.0, "pixel_spacing_mm": 1.0, "malignancy_ratings": "5"}
    write_patches(tmp_path / "nodules", PatchTable([row], [image], [outlines]))
    views = NoduleViews(kind, size=33, spacing_mm=1.0, channels=channels)
    (picture,) = pictures_of(NoduleData(tmp_path / "nodules", views, cache=tmp_path / "cache"), ["0"])
    assert picture.shape == (len(channels), 33, 33)
    assert (picture[0] > 127).sum() == 81
    if "outline" in channels:
        np.testing.assert_array_equal(picture[0] > 127, picture[1] > 127)
