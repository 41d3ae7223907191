from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from monai_staging.cohort.lesions import Part
from monai_staging.cohort.readers import Grid, Outline, Reading, ReadingRefused, consensus, group_readings, region

AFFINE = np.diag([-0.8, -0.7, 3.0, 1.0])
AFFINE[2, 3] = -212.0
GRID = Grid((14, 12, 5), AFFINE, {"1.2.2": 2})


def square(x0: int, y0: int, x1: int, y1: int, z_mm: float = -212.0, included: bool = True) -> Outline:
    """Corners alone: what lies between them is for the reader to know."""
    return Outline(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), z_mm, included)


def reading(*outlines: Outline, name: str = "A") -> Reading:
    return Reading(name, outlines, 3)


def voxels(part: Part) -> set[tuple[int, ...]]:
    return {tuple(row) for row in (np.argwhere(part.mask) + part.corner).tolist()}


def test_a_region_is_what_lies_within_the_outline() -> None:
    found = voxels(region(reading(square(2, 3, 6, 7), square(3, 4, 5, 6, -209.0)), GRID))
    expected = {(i, j, 0) for i in (3, 4, 5) for j in (4, 5, 6)} | {(4, 5, 1)}
    assert found == expected


def test_an_excluded_region_takes_its_outline_with_it_wherever_it_stands_in_the_file() -> None:
    outer, hole = square(0, 0, 10, 10), square(4, 4, 6, 6, included=False)
    expected = {(i, j, 0) for i in range(1, 10) for j in range(1, 10)} - {
        (i, j, 0) for i in (4, 5, 6) for j in (4, 5, 6)
    }
    assert voxels(region(reading(outer, hole), GRID)) == expected
    assert voxels(region(reading(hole, outer), GRID)) == expected


@given(st.integers(0, 2**31))
def test_regions_of_smooth_outlines_are_filled_holes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blob = ndimage.binary_dilation(np.zeros((30, 30), bool), iterations=1)
    blob[15, 15] = True
    for _ in range(rng.integers(1, 6)):
        blob = ndimage.binary_dilation(blob, ndimage.generate_binary_structure(2, int(rng.integers(1, 3))))
    # Its outline as LIDC's readers drew it: the pixels around it, each a neighbour of the one before.
    ring = ndimage.binary_dilation(blob) & ~blob
    points = np.argwhere(ring)
    angle = np.arctan2(*(points - 15).T)
    outline = Outline(tuple(map(tuple, points[np.argsort(angle)].tolist())), -212.0)
    found = region(reading(outline), Grid((30, 30, 2), AFFINE))
    assert voxels(found) == {(i, j, 0) for i, j in np.argwhere(blob).tolist()}


def test_the_slice_is_that_of_the_instance_and_else_that_of_the_position() -> None:
    outline = square(2, 3, 6, 7, -206.0)
    assert {k for *_, k in voxels(region(reading(outline), GRID))} == {2}
    named = replace(outline, sop_uid="1.2.2", z_mm=-205.0)
    assert {k for *_, k in voxels(region(reading(named), GRID))} == {2}
    unknown = replace(outline, sop_uid="1.2.99")
    assert {k for *_, k in voxels(region(reading(unknown), GRID))} == {2}


@pytest.mark.parametrize(
    ("outline", "rule", "found"),
    [
        (square(2, 3, 14, 7), "annotation-outside-image", r"the point \(14, 3\); the image is 14x12"),
        (square(2, -1, 6, 7), "annotation-outside-image", r"the point \(2, -1\)"),
        (square(2, 3, 6, 7, -210.5), "annotation-without-image", "no slice with z=-210.5 mm"),
        (square(2, 3, 6, 7, -215.0), "annotation-without-image", "no slice with z=-215 mm"),
        (square(2, 3, 6, 7, float("nan")), "annotation-without-image", "no slice with z=nan mm"),
        (replace(square(2, 3, 6, 7), sop_uid="1.2.2"), "slice-disagrees", "z=-212 mm on slice 1.2.2 at z=-206 mm"),
        (square(2, 3, 3, 4), "empty-outline", "nodule A: its outlines enclose no pixel"),
    ],
)
def test_refuses_a_reading(outline: Outline, rule: str, found: str) -> None:
    with pytest.raises(ReadingRefused, match=found) as caught:
        region(reading(outline), GRID)
    assert caught.value.rule == rule


def test_consensus_is_what_half_of_the_readers_have() -> None:
    parts = [region(reading(square(0, 0, x, 5)), GRID) for x in (4, 6, 8, 10)]
    # Columns 1 to 3 are four readers', 4 and 5 three readers', 6 and 7 two readers', 8 and 9 one reader's.
    agreed = consensus(parts)
    assert agreed is not None
    assert {i for i, *_ in voxels(agreed)} == set(range(1, 8))
    three = consensus(parts[1:])
    assert three is not None
    assert {i for i, *_ in voxels(three)} == set(range(1, 8))  # 6 and 7: two of three
    apart = [region(reading(square(x, 0, x + 2, 5)), GRID) for x in (0, 3, 6)]
    assert consensus(apart) is None
    assert voxels(consensus(apart[:1]) or parts[0]) == voxels(apart[0])


def test_groups_by_the_nearest_points() -> None:
    own = [
        reading(square(0, 0, 3, 3)),
        reading(square(10, 0, 13, 3)),
        reading(square(0, 0, 3, 3, -209.0)),  # 3 mm above the first
        reading(square(5, 0, 7, 3)),  # 2 columns of 0.8 mm beside the first
    ]
    assert group_readings(own, (0.8, 0.7), 3.0) == [[0, 1, 2, 3]]  # 3 columns from 7 to 10: 2.4 mm
    assert group_readings(own, (0.8, 0.7), 2.0) == [[0, 3], [1], [2]]
    assert group_readings(own, (2.0, 0.7), 3.0) == [[0, 2], [1], [3]]
    assert group_readings([], (0.8, 0.7), 3.0) == []


def test_more_than_four_readings_are_grouped_again_with_less() -> None:
    near = [reading(square(0, 0, 3, 3)) for _ in range(3)]
    beside = [reading(square(5, 0, 7, 3)) for _ in range(3)]  # 1.6 mm away
    assert group_readings([*near, *beside], (0.8, 0.7), 3.0) == [[0, 1, 2], [3, 4, 5]]
    # Those that touch stay together however many they are.
    assert group_readings([*near, *near], (0.8, 0.7), 3.0) == [[0, 1, 2, 3, 4, 5]]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 5)), min_size=1, max_size=9),
    st.floats(0.5, 6),
)
def test_groups_are_those_of_every_pair_s_distance(corners: list[tuple[int, int, int]], tolerance_mm: float) -> None:
    own = [reading(square(x, y, x + 3, y + 2, 2.5 * k)) for x, y, k in corners]
    clouds = [np.array([(0.8 * x, 0.7 * y, o.z_mm) for o in each.outlines for x, y in o.points], float) for each in own]
    apart = np.array([[cdist(a, b).min() for b in clouds] for a in clouds])
    found = group_readings(own, (0.8, 0.7), tolerance_mm)
    while True:
        near = apart <= tolerance_mm
        for _ in own:
            near = near @ near
        expected = sorted({tuple(np.flatnonzero(row).tolist()) for row in near})
        tolerance_mm *= 0.9
        if max(map(len, expected)) <= 4 or tolerance_mm < 0.1:
            break
    assert found == [list(group) for group in expected]
