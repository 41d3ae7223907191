"""Which parts are compared before one is called a repeat of another."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.cohort.lesions import Part, overlap, part_of_mask
from monai_staging.cohort.sources.region_repeats import SAME_LESION_OVERLAP, Boxes


@st.composite
def parts(draw: st.DrawFn) -> Part:
    """A part with a few holes, somewhere in a volume of 9 x 8 x 7 voxels."""
    mask = np.zeros((9, 8, 7), bool)
    low = [draw(st.integers(0, size - 1)) for size in mask.shape]
    high = [draw(st.integers(start + 1, size)) for start, size in zip(low, mask.shape, strict=True)]
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    mask &= np.random.default_rng(draw(st.integers(0, 99))).random(mask.shape) > draw(st.sampled_from([0.0, 0.3]))
    mask[tuple(low)] = True
    part = part_of_mask(mask)
    assert part is not None
    return part


@given(st.lists(parts(), min_size=2, max_size=6))
def test_no_repeat_is_passed_over(found: list[Part]) -> None:
    boxes = Boxes(len(found))
    for place, part in enumerate(found):
        repeats = [other for other in range(place) if overlap(part, found[other]) >= SAME_LESION_OVERLAP]
        assert set(repeats) <= set(boxes.alike(part))
        boxes.add(part)


def test_thousands_of_specks_are_hardly_compared() -> None:
    corners = np.argwhere(np.ones((20, 20, 10)))
    boxes, compared = Boxes(len(corners)), 0
    for i, j, k in corners.tolist():
        speck = Part((2 * i, 2 * j, 2 * k), np.ones((1, 1, 1), bool))
        compared += len(boxes.alike(speck))
        boxes.add(speck)
    assert compared == 0
