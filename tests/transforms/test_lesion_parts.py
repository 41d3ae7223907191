"""Lesions from probabilities, against interpolating all of the scan at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from monai_staging.errors import UsageError
from monai_staging.transforms.grid import Grid
from monai_staging.transforms.lesion_parts import LesionParts
from monai_staging.transforms.resample import resample

GRID = Grid((30, 26, 20), (1.5, 1.5, 2.5), (-20.0, -18.0, -25.0))
BENT = np.array([[0.8, 0.05, 0], [-0.05, 0.8, 0], [0, 0, 1.2]])


def scan_affine(spacing_mm: tuple[float, float, float], signs: tuple[int, int, int], bent: bool) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = (BENT if bent else np.diag(spacing_mm)) * signs
    shape = scan_shape(affine)
    affine[:3, 3] = [0.0, -1.0, 2.0] - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine


def scan_shape(affine: np.ndarray) -> tuple[int, int, int]:
    return tuple((np.array([50.0, 44.0, 56.0]) / np.linalg.norm(affine[:3, :3], axis=0)).astype(int).tolist())


def blobs(seed: int, count: int) -> np.ndarray:
    """Probabilities with some smooth hills."""
    draw = np.random.default_rng(seed)
    peaks = np.zeros(GRID.size)
    for _ in range(count):
        peaks[tuple(draw.integers(0, GRID.size))] = draw.uniform(0.3, 1)
    smooth = ndimage.gaussian_filter(peaks, draw.uniform(0.8, 2.0), mode="constant")
    return (smooth / smooth.max() * draw.uniform(0.6, 1)).astype(np.float32)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(1, 8),
    spacing=st.sampled_from([(0.7, 0.7, 1.0), (1.0, 0.9, 5.0), (3.5, 3.5, 2.0)]),
    signs=st.sampled_from([(-1, -1, 1), (1, 1, 1), (1, -1, -1)]),
    bent=st.booleans(),
)
def test_parts_are_those_of_the_whole_scan(
    seed: int, count: int, spacing: tuple[float, float, float], signs: tuple[int, int, int], bent: bool
) -> None:
    chance = torch.from_numpy(blobs(seed, count))
    affine = scan_affine(spacing, signs, bent)
    shape = scan_shape(affine)
    found = LesionParts(0.5, 0.0)(chance, GRID, shape, affine)
    # The scan's index space is the target's world.
    whole = resample(chance, np.linalg.inv(affine) @ GRID.affine, Grid(shape, (1.0,) * 3, (0.0,) * 3), pad_value=0.0)
    mask = whole.numpy() >= 0.5
    labels, number = ndimage.label(mask, np.ones((3, 3, 3)))
    drawn = np.zeros(shape, dtype=int)
    for place, part in enumerate(found, start=1):
        assert not drawn[part.box][part.mask].any()
        drawn[part.box][part.mask] = place
    np.testing.assert_array_equal(drawn > 0, mask)
    assert len(found) == number
    assert all(len(np.unique(labels[drawn == place])) == 1 for place in range(1, number + 1))
    sizes = [part.voxels for part in found]
    assert sizes == sorted(sizes, reverse=True)


def test_small_parts_are_left_out_by_their_volume() -> None:
    chance = torch.zeros(GRID.size)
    chance[5:9, 5:9, 5:9] = 1.0
    chance[20, 20, 15] = 1.0
    affine = GRID.affine
    voxel_mm3 = 1.5 * 1.5 * 2.5
    both = LesionParts(0.5, voxel_mm3)(chance, GRID, GRID.size, affine)
    assert [part.voxels for part in both] == [64, 1] and both[1].corner == (20, 20, 15)
    assert [part.voxels for part in LesionParts(0.5, voxel_mm3 + 0.1)(chance, GRID, GRID.size, affine)] == [64]
    assert LesionParts(0.5)(torch.zeros(GRID.size), GRID, GRID.size, affine) == []


def test_what_does_not_reach_the_bound_is_no_lesion() -> None:
    chance = torch.zeros(GRID.size)
    chance[5:9, 5:9, 5:9] = chance[20:22, 20:22, 15:17] = 1.0
    bound = torch.zeros(GRID.size, dtype=torch.bool)
    bound[8:, :, :10] = True
    # The one that reaches into it is kept whole.
    assert [part.voxels for part in LesionParts(0.5)(chance, GRID, GRID.size, GRID.affine, bound)] == [64]


def test_settings_out_of_range_are_refused() -> None:
    for threshold, volume in ((0.0, 1.0), (1.0, 1.0), (0.5, -1.0)):
        with pytest.raises(UsageError, match="found"):
            LesionParts(threshold, volume)
