"""Ellipsoids in boxes, drawn on a grid."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.transforms.ellipsoids import ellipsoid_share

SIZE = (24, 20, 22)


@settings(max_examples=25)
@given(st.tuples(*[st.floats(2, 8)] * 3), st.tuples(*[st.floats(7, 13)] * 3))
def test_the_share_is_what_counting_points_in_the_ellipsoid_gives(half: tuple, center: tuple) -> None:
    box = torch.tensor([[*np.subtract(center, half), *np.add(center, half)]])
    share = ellipsoid_share(box, SIZE).numpy()
    # 4 x 4 x 4 points a cell.
    fine = np.meshgrid(*[(np.arange(count * 4) + 0.5) / 4 for count in SIZE], indexing="ij")
    inside = sum(((axis - c) / h) ** 2 for axis, c, h in zip(fine, center, half, strict=True)) < 1
    counted = inside.reshape(SIZE[0], 4, SIZE[1], 4, SIZE[2], 4).mean(axis=(1, 3, 5))
    # Whole cells agree; the rim is a ramp in place of an exact share.
    assert (np.abs(share - counted) < 0.65).all()
    assert abs((share >= 0.5).sum() - counted.sum()) <= 0.12 * counted.sum() + 4


def test_ellipsoids_that_meet_specks_and_what_is_outside() -> None:
    speck = torch.tensor([[4.4, 5.4, 6.4, 4.6, 5.6, 6.6]])
    share = ellipsoid_share(speck, SIZE)
    assert (share >= 0.5).nonzero().tolist() == [[4, 5, 6]]
    ball = torch.tensor([[0.0, 0, 0, 10, 10, 10]])
    both = ellipsoid_share(torch.cat([speck, ball]), SIZE)
    assert torch.equal(both, torch.maximum(share, ellipsoid_share(ball, SIZE)))
    assert not ellipsoid_share(ball - 20, SIZE).any() and not ellipsoid_share(ball[:0], SIZE).any()


def test_one_cell_deep_it_is_the_cut_through_the_middle() -> None:
    box = torch.tensor([[4.0, 4, -1, 14, 12, 2]])
    # Half of its height of 3 is less than that of a cell along the others, but says nothing about the rim in plane.
    cut = ellipsoid_share(box, (24, 20, 1))[..., 0]
    x, y = torch.meshgrid(torch.arange(24) + 0.5, torch.arange(20) + 0.5, indexing="ij")
    inside = ((x - 9) / 5) ** 2 + ((y - 8) / 4) ** 2 < 1
    assert torch.equal(cut >= 0.5, inside)
