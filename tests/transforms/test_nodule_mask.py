"""From probabilities to masks."""

from __future__ import annotations

import numpy as np
import pytest

from monai_staging.errors import UsageError
from monai_staging.transforms.nodule_mask import NoduleMask


def parts() -> np.ndarray:
    """A speck near the middle, a larger part beside it and the largest far off."""
    probability = np.zeros((3, 20, 20), dtype=np.float32)
    probability[1, 9:11, 9:11] = 0.9
    probability[1, 9:12, 14:17] = 0.8
    probability[0, :4, :4] = 0.7
    probability[1, 15, 15] = 0.3
    return probability


def test_which_parts_are_kept() -> None:
    probability = parts()
    assert NoduleMask(keep="all")(probability).sum() == 4 + 9 + 16
    assert NoduleMask(keep="largest")(probability).sum() == 16
    # Nearer to the middle than what is far off, and more than a speck.
    np.testing.assert_array_equal(NoduleMask()(probability, (1.5, 1.5, 1.5)), probability == np.float32(0.8))
    # Where distances are large, the speck is nearer by far.
    np.testing.assert_array_equal(NoduleMask()(probability, (50.0, 9.0, 9.0)), probability == np.float32(0.9))
    np.testing.assert_array_equal(
        NoduleMask(smallest_voxels=5)(probability, (50.0, 9.0, 9.0)), probability == np.float32(0.8)
    )
    assert NoduleMask(keep="all", smallest_voxels=5)(probability).sum() == 9 + 16
    assert NoduleMask(keep="all", smallest_voxels=500)(probability).sum() == 16  # there is a nodule


def test_nearness_is_in_millimetres() -> None:
    probability = np.zeros((5, 11, 11), dtype=np.float32)
    probability[3, 5, 5] = 1
    probability[2, 5, 8] = 1
    assert NoduleMask()(probability)[3, 5, 5]
    assert NoduleMask()(probability, (5.0, 1.0, 1.0))[2, 5, 8]


def test_of_two_as_near_the_larger() -> None:
    probability = np.zeros((1, 11, 11), dtype=np.float32)
    probability[0, 5, 2] = 1
    probability[0, 5, 8:10] = 1
    assert NoduleMask()(probability).sum() == 2


def test_corners_connect() -> None:
    probability = np.eye(6, dtype=np.float32)[None]
    assert NoduleMask()(probability).sum() == 6


def test_a_mask_is_empty_only_where_all_is_impossible() -> None:
    faint = np.full((1, 4, 4), 0.05, dtype=np.float32)
    faint[0, 1:3, 1:3] = 0.2
    assert NoduleMask()(faint).sum() == 4
    assert not NoduleMask()(np.zeros((1, 4, 4), dtype=np.float32)).any()


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="found 1.0 and 1"):
        NoduleMask(threshold=1.0)
    with pytest.raises(UsageError, match="all, largest, central; found 'middle'"):
        NoduleMask(keep="middle")
