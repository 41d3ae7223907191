from __future__ import annotations

import numpy as np
import pytest

from monai_staging.cohort.lesions import Part
from monai_staging.cohort.volume import Volume
from monai_staging.errors import UsageError
from monai_staging.label.click import outline_clicked, read_clicks, world
from monai_staging.transforms.click import Clicks

SHAPE = (40, 30, 20)
AFFINE = np.array([[-2.0, 0, 0, 10], [0, 1, 0, -5], [0, 0, 3, 7], [0, 0, 0, 1]])


class Outliner:
    """Gives one part, and keeps what it was asked."""

    def __init__(self, part: Part | None) -> None:
        self.part = part

    def clicked(self, volume: Volume, clicks: Clicks, lungs_mm: np.ndarray) -> Part | None:
        self.asked = clicks
        return self.part


@pytest.fixture
def volume() -> Volume:
    return Volume(np.zeros(SHAPE, dtype=np.int16), AFFINE)


def test_clicks_are_voxels_and_places(volume: Volume) -> None:
    clicks = read_clicks([[1, 2, 3], [0.4, 29, 19]], "foreground", SHAPE)
    assert clicks == [(1, 2, 3), (0, 29, 19)]
    np.testing.assert_allclose(world(volume, clicks), [[8, -3, 16], [10, 24, 64]])
    assert read_clicks(None, "background", SHAPE) == []


@pytest.mark.parametrize(
    "given",
    [{}, "1", [1, 2, 3], [[1, 2]], [[1, 2, 20]], [[-1, 0, 0]], [["1", 2, 3]], [[float("nan"), 0, 0]], [[True, 0, 0]]],
)
def test_what_is_no_click_is_refused(given: object) -> None:
    with pytest.raises(UsageError, match="background: "):
        read_clicks(given, "background", SHAPE)


def test_the_outliner_is_told_both_kinds_of_clicks(volume: Volume) -> None:
    part = Part((1, 2, 3), np.ones((2, 2, 2), dtype=bool))
    outliner = Outliner(part)
    assert outline_clicked(outliner, volume, np.zeros((2, 3)), [(1, 2, 3), (5, 2, 3)], [(9, 2, 3)]) is part
    assert outliner.asked == Clicks(((8.0, -3.0, 16.0), (0.0, -3.0, 16.0)), ((-8.0, -3.0, 16.0),))
    assert outline_clicked(Outliner(None), volume, np.zeros((2, 3)), [(1, 2, 3)], []) is None
