from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.errors import UsageError
from monai_staging.transforms.grid import Grid, plan_grid


def test_without_a_size_starts_at_the_first_centre_in_ras() -> None:
    # Stored right to left, back to front (LPS), as DICOM is.
    affine = np.diag([-0.8, -0.8, 2.5, 1.0])
    affine[:3, 3] = [100, 50, -300]
    grid = plan_grid((101, 51, 21), affine, (1.0, 1.0, 1.0))
    assert grid == Grid((81, 41, 51), (1.0, 1.0, 1.0), (20.0, 10.0, -300.0))
    np.testing.assert_allclose(grid.affine @ [80, 40, 50, 1], [100, 50, -250, 1])


def test_a_size_is_centred_on_the_volume_or_on_a_point() -> None:
    grid = plan_grid((11, 11, 11), np.eye(4), (2.0, 2.0, 2.0), (4, 5, 6))
    assert grid.origin_mm == (2.0, 1.0, 0.0)
    there = plan_grid((11, 11, 11), np.eye(4), (2.0, 2.0, 2.0), (4, 5, 6), center_mm=(10.0, 20.0, -30.0))
    assert there.origin_mm == (7.0, 16.0, -35.0)


@settings(max_examples=50)
@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.floats(0.3, 5)] * 3),
    st.tuples(*[st.floats(0.3, 5)] * 3),
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
)
def test_covers_every_voxel_centre(shape: Any, voxel: Any, spacing: Any, order: Any, sign: Any) -> None:
    affine = np.eye(4)
    affine[:3, :3] = (np.diag(voxel) @ np.diag(sign))[order]
    affine[:3, 3] = [12.0, -7.0, 3.0]
    grid = plan_grid(shape, affine, spacing)
    ends = np.array([affine @ [*(np.array(shape) - 1) * corner, 1] for corner in np.ndindex(2, 2, 2)])[:, :3]
    first, last = (grid.affine @ [*index, 1] for index in ((0, 0, 0), np.array(grid.size) - 1))
    np.testing.assert_allclose(first[:3], ends.min(axis=0))
    assert (np.abs(last[:3] - ends.max(axis=0)) <= np.array(spacing) / 2 + 1e-9).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spacing_mm": (1, 0, 1)}, "three lengths above 0 mm are needed"),
        ({"spacing_mm": (1, 1)}, "three lengths above 0 mm are needed"),
        ({"size": (4, 4, 0)}, "three counts above 0 are needed"),
        ({"size": (4, 4)}, "three counts above 0 are needed"),
        ({"center_mm": (0, 0, 0)}, "no size is given"),
    ],
)
def test_wrong_arguments_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_grid((4, 4, 4), np.eye(4), **{"spacing_mm": (1.0, 1.0, 1.0), **arguments})
