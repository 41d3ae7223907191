"""Studies as a fixed number of images: which slices, what is between them, and what is cut off."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.cohort.volume import AIR_HU, Volume
from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.slice_boxes import SliceImage
from monai_staging.transforms.study_slices import StudySlices


def made(array: np.ndarray, spacing_z: float = 2.0) -> Volume:
    return Volume(np.asfortranarray(array.astype(np.int16)), np.diag([1.0, 1.0, spacing_z, 1.0]))


def chest() -> np.ndarray:
    """A body of 160 x 120 x 80 mm in a picture of 200 x 160, two lungs in it."""
    array = np.full((200, 160, 40), AIR_HU)
    array[20:180, 20:140] = 40
    array[35:90, 36:124, 2:38] = array[110:165, 36:124, 2:38] = -850
    return array


@given(total=st.integers(1, 400), slices=st.integers(2, 80))
def test_slices_are_spread_evenly_from_foot_to_head(total: int, slices: int) -> None:
    cut = StudySlices(SliceImage(8), slices)
    up = cut.places(total, np.diag([1.0, 1.0, 2.0, 1.0]))
    down = cut.places(total, np.diag([1.0, 1.0, -2.0, 1.0]))
    assert len(up) == slices and (np.diff(up) >= 0).all() and 0 <= up[0] <= up[-1] < total
    # Whether a file counts from foot or head, the same heights are taken.
    assert (down == total - 1 - up).all()
    share = (up + 0.5) / total
    assert np.abs(share - (np.arange(slices) + 0.5) / slices).max() <= 0.5 / total + 1e-9 + 0.5 / total


def test_an_image_is_that_of_its_slice_and_the_order_is_the_bodys() -> None:
    array = np.zeros((32, 32, 10)) - 600
    array += np.arange(10) * 40
    image = SliceImage(32)
    found = StudySlices(image, 5)(made(array))
    for row, place in enumerate(found.places):
        assert torch.equal(found.images[row], image(array[:, :, place].astype(np.int16)))
    flipped = Volume(made(array[:, :, ::-1]).array, np.diag([1.0, 1.0, -2.0, 1.0]))
    assert torch.equal(StudySlices(image, 5)(flipped).images, found.images)


def test_what_lies_between_two_slices_is_seen_in_the_slab_alone() -> None:
    array = np.full((32, 32, 40), -850)
    taken = StudySlices(SliceImage(32), 8).places(40, np.eye(4))
    between = int(taken[3]) + 2
    assert between not in taken
    array[10:14, 10:14, between] = 40
    found = StudySlices(SliceImage(32), 8, slab=True)(made(array)).images
    assert found.shape == (8, 2, 32, 32)
    bright = found.flatten(2).amax(dim=2) > found.min()
    assert not bright[:, 0].any() and int(bright[:, 1].sum()) == 1 and bool(bright[3:5, 1].any())
    # The slab has the slice itself too.
    assert bool((found[:, 1] >= found[:, 0]).all())


def test_slices_are_cut_to_the_lungs() -> None:
    whole, cut = (StudySlices(SliceImage(64), 6, lungs=lungs)(made(chest())) for lungs in (False, True))
    assert (whole.low, whole.shape) == ((0, 0), (200, 160))
    assert 27 <= cut.low[0] <= 35 and 28 <= cut.low[1] <= 36
    # The lungs are found on a grid of 4 mm.
    assert cut.low[0] + cut.shape[0] >= 163 and cut.low[1] + cut.shape[1] >= 122
    assert cut.shape[0] < 150


def test_a_scan_without_lungs_is_refused() -> None:
    with pytest.raises(DataError, match="Lungs: a chest CT has"):
        StudySlices(SliceImage(32), 4, lungs=True)(made(np.full((64, 64, 20), 40)))


def test_slices_that_are_not_axial_are_refused() -> None:
    coronal = np.array([[1.0, 0, 0, 0], [0, 0, 2.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])
    with pytest.raises(DataError, match="axial slices are needed"):
        StudySlices(SliceImage(32), 4).places(20, coronal)


def test_fewer_than_two_slices_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        StudySlices(SliceImage(32), 1)
