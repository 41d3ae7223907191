"""Regions, distance merging and z-merging against loops that do the same one pair at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

from monai_staging.detection.candidates import EXTENT, CandidateRules, find_candidates, linked
from monai_staging.errors import UsageError
from monai_staging.transforms.grid import Grid


def joined(count: int, close) -> list[set[int]]:
    """Groups by looking at every pair until nothing changes."""
    groups = [{place} for place in range(count)]
    changed = True
    while changed:
        changed = False
        for a in range(len(groups)):
            for b in range(a + 1, len(groups)):
                if any(close(i, j) for i in groups[a] for j in groups[b]):
                    groups[a] |= groups.pop(b)
                    changed = True
                    break
            if changed:
                break
    return groups


def in_loops(probability: np.ndarray, grid: Grid, rules: CandidateRules) -> list[tuple[list[float], float]]:
    """Each candidate's box and score, sorted; scikit-image's regions, slice by slice. Rounding parts no two."""
    regions: list[list[tuple[int, int, int]]] = []
    for k in range(probability.shape[2]):
        numbers = label(probability[:, :, k] >= rules.threshold, connectivity=2)
        regions += [[(int(i), int(j), k) for i, j in np.argwhere(numbers == n)] for n in range(1, numbers.max() + 1)]

    def center(voxels: list[tuple[int, int, int]]) -> np.ndarray:
        weights = np.array([float(probability[voxel]) for voxel in voxels])
        points = np.array(voxels) * grid.spacing_mm + grid.origin_mm
        return (points * weights[:, None]).sum(axis=0) / weights.sum()

    for reach, gap in ((rules.merge_mm, 0.0), (rules.z_merge_mm, max(rules.gap_mm, grid.spacing_mm[2]))):
        middles = [center(voxels) for voxels in regions]
        pixel = grid.spacing_mm[0] * grid.spacing_mm[1]
        reaches = [max(reach, rules.radii * np.sqrt(len(voxels) * pixel / np.pi)) for voxels in regions]

        def close(i: int, j: int, middles=middles, reaches=reaches, gap=gap) -> bool:
            apart = np.abs(middles[i] - middles[j])
            near = np.hypot(apart[0], apart[1]) <= max(reaches[i], reaches[j]) + 1e-6
            return bool(near and apart[2] <= gap + 1e-6)

        regions = [sum((regions[i] for i in sorted(group)), []) for group in joined(len(regions), close)]
    found = []
    for voxels in regions:
        peak = max(float(probability[voxel]) for voxel in voxels)
        core = np.array([voxel for voxel in voxels if probability[voxel] >= EXTENT * peak])
        ends = np.array([core.min(axis=0) - 0.5, core.max(axis=0) + 0.5]) * grid.spacing_mm + grid.origin_mm
        found.append((ends.flatten().round(6).tolist(), peak))
    return sorted(found)


@settings(max_examples=60)
@given(
    st.integers(0, 10_000),
    st.sampled_from([0.1, 0.35, 0.6]),
    st.tuples(*[st.sampled_from([0.7, 1.3, 2.9])] * 3),
    st.tuples(*[st.floats(0, 6)] * 3, st.sampled_from([0.0, 1.0, 1.7])),
    st.floats(0.01, 0.2),
)
def test_candidates_are_those_of_loops_over_all_pairs(seed, threshold, spacing, distances, density) -> None:
    random = np.random.default_rng(seed)
    probability = random.random((9, 8, 7)).astype(np.float32) * (random.random((9, 8, 7)) < density)
    grid = Grid((9, 8, 7), spacing, (-30.0, 12.5, 400.0))
    rules = CandidateRules(threshold, *distances)
    boxes, scores = find_candidates(probability, grid, rules)
    found = sorted((box.round(6).tolist(), score) for box, score in zip(boxes, scores.tolist(), strict=True))
    assert found == in_loops(probability, grid, rules)


@given(st.integers(0, 10_000), st.integers(1, 25), st.floats(0, 5), st.floats(0, 5))
def test_links_are_those_of_loops_over_all_pairs(seed, count, largest, gap) -> None:
    random = np.random.default_rng(seed)
    points, reach = random.uniform(0, 12, (count, 3)), random.uniform(0, largest, count)
    flat = points[:, None] - points[None]
    near = (np.hypot(flat[..., 0], flat[..., 1]) <= np.maximum(reach[:, None], reach) + 1e-6) & (
        np.abs(flat[..., 2]) <= gap + 1e-6
    )
    expected = {frozenset(group) for group in joined(count, lambda i, j: near[i, j])}
    groups = linked(points, reach, gap)
    assert {frozenset(np.flatnonzero(groups == n).tolist()) for n in range(groups.max() + 1)} == expected


def test_a_missed_slice_does_not_part_a_lesion_and_a_far_one_stays_apart() -> None:
    probability = np.zeros((40, 40, 12), np.float32)
    for k in (1, 2, 4, 5):  # one slice missed
        probability[10:14, 10:14, k] = 0.9
    probability[10:14, 10:14, 10:] = 0.4  # above it, 10 mm further
    probability[30, 30, 1:6] = 0.2  # beside it
    grid = Grid((40, 40, 12), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0))
    boxes, scores = find_candidates(probability, grid, CandidateRules(gap_mm=4.0))
    found = sorted(zip(scores.round(3).tolist(), boxes.tolist(), strict=True))
    assert found == [
        (0.2, [29.5, 29.5, 1.0, 30.5, 30.5, 11.0]),
        (0.4, [9.5, 9.5, 19.0, 13.5, 13.5, 23.0]),
        (0.9, [9.5, 9.5, 1.0, 13.5, 13.5, 11.0]),
    ]


def test_the_pieces_of_a_large_lesion_are_one_and_a_small_one_beside_it_is_another() -> None:
    grid = Grid((60, 60, 16), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0))
    x, y, z = np.indices(grid.size) * np.array(grid.spacing_mm)[:, None, None, None]
    # Of a lesion of 28 mm a rim at the left and right, and whole slices elsewhere, as networks see it.
    apart = np.sqrt((x - 25) ** 2 + (y - 30) ** 2 + (z - 15) ** 2)
    probability = np.where((apart < 14) & ((np.abs(x - 25) > 3) | (np.abs(z - 15) > 6)), 0.9, 0.0).astype(np.float32)
    probability[np.sqrt((x - 46) ** 2 + (y - 30) ** 2 + (z - 15) ** 2) < 3] = 0.8
    boxes, scores = find_candidates(probability, grid)
    assert len(find_candidates(probability, grid, CandidateRules(radii=0.0))[0]) > 2
    order = np.argsort(-scores)
    np.testing.assert_allclose(scores[order], [0.9, 0.8], rtol=1e-6)
    np.testing.assert_allclose(boxes[order[0], 3:] - boxes[order[0], :3], [27, 27, 28], atol=1)


def test_nothing_above_the_threshold_is_no_candidate() -> None:
    boxes, scores = find_candidates(np.zeros((4, 4, 4), np.float32), Grid((4,) * 3, (1.0,) * 3, (0.0,) * 3))
    assert boxes.shape == (0, 6) and scores.shape == (0,)


@pytest.mark.parametrize(
    "wrong", [{"threshold": 0.0}, {"threshold": 1.0}, {"merge_mm": -1.0}, {"gap_mm": -0.1}, {"radii": -1.0}]
)
def test_rules_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match="CandidateRules: a threshold above 0"):
        CandidateRules(**wrong)
