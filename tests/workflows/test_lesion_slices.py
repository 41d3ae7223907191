"""Axial patches through lesions: what is on them, and how often there is a lesion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.cohort.volume import Volume, write_volume
from monai_staging.errors import UsageError
from monai_staging.transforms.grid import Grid
from monai_staging.workflows.lesion_slices import LesionSlices, lesion_share


@settings(max_examples=30)
@given(
    st.tuples(*[st.floats(4, 12)] * 3),
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.tuples(st.floats(0.8, 1.5), st.floats(0.8, 1.5), st.floats(1, 3)),
)
def test_the_share_is_what_counting_points_in_the_ellipsoid_gives(half, center, spacing) -> None:
    grid = Grid((40, 36, 3), spacing, tuple(-(n - 1) / 2 * step for n, step in zip((40, 36, 3), spacing, strict=True)))
    center = np.array(center)
    share = lesion_share(np.concatenate([center - half, center + half])[None], grid).numpy()
    # 5 x 5 points a pixel, in the plane of the middle slice.
    fine = [grid.origin_mm[axis] + (np.arange(grid.size[axis] * 5) / 5 - 0.4) * spacing[axis] for axis in (0, 1)]
    x, y = np.meshgrid(*fine, indexing="ij")
    inside = ((x - center[0]) / half[0]) ** 2 + ((y - center[1]) / half[1]) ** 2 + (center[2] / half[2]) ** 2 < 1
    counted = inside.reshape(40, 5, 36, 5).mean(axis=(1, 3))
    # Whole pixels agree; the rim is a ramp in place of an exact share.
    assert (np.abs(share - counted) < 0.55).all()
    assert abs((share >= 0.5).sum() - (counted >= 0.5).sum()) <= 0.08 * (counted > 0).sum() + 6


def test_a_lesion_smaller_than_a_voxel_is_one() -> None:
    grid = Grid((9, 9, 3), (2.0, 2.0, 2.0), (-8.0, -8.0, -2.0))
    share = lesion_share(np.array([[-0.2, -0.2, -0.2, 0.2, 0.2, 0.2]]), grid)
    assert (share >= 0.5).nonzero().tolist() == [[4, 4]]
    assert not lesion_share(np.zeros((0, 6)), grid).any()


@pytest.fixture
def scans(tmp_path: Path) -> list[dict]:
    """Two scans of 60 mm with flipped axes, HU rising with z; one has a sphere of 12 mm, and it is bright."""
    affine = np.diag([-1.0, 1.0, 1.5, 1.0])
    affine[:3, 3] = 30.0, -30.0, 100.0
    shape = (60, 60, 40)
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    hu = np.full(shape, -900, np.int16)
    write_volume(tmp_path / "empty.nii", Volume(hu, affine))
    center = np.array([5.0, -8.0, 130.0])
    hu[((points - center) ** 2).sum(axis=-1) < 36] = 300
    write_volume(tmp_path / "sphere.nii", Volume(hu, affine))
    lesion = {"center_mm": center.tolist(), "size_mm": [12.0] * 3, "kind": "nodule", "site": "lung"}
    return [
        {"image": str(tmp_path / "sphere.nii"), "case": "case-1", "lesions": [lesion]},
        {"image": str(tmp_path / "empty.nii"), "case": "case-2", "lesions": []},
    ]


def test_the_share_lies_on_what_is_bright(scans: list[dict]) -> None:
    data = LesionSlices(
        scans[:1], 32, (1.0, 1.0, 2.0), windows=[(-300.0, 1200.0)], count=40, lesion_fraction=1.0, jitter_mm=8
    )
    torch.manual_seed(0)
    overlaps, areas = [], []
    for index in range(len(data)):
        item = data[index]
        assert item["image"].shape == (3, 32, 32) and item["share"].shape == (1, 32, 32)
        bright, share = item["image"][1] > 127, item["share"][0] > 127
        areas.append(int(share.sum()))
        if areas[-1] > 45:
            overlaps.append(float((bright & share).sum() / (bright | share).sum()))
    assert np.min(overlaps) > 0.7
    # From its largest slice to just beyond its ends.
    assert max(areas) > 100 and 0 in areas


def test_lesions_of_some_scans_make_up_for_those_without(scans: list[dict]) -> None:
    torch.manual_seed(0)
    data = LesionSlices(scans, 24, count=200, lesion_fraction=0.4, jitter_mm=5)
    bright = [bool((data[index]["image"][1] > 200).any()) for index in range(len(data))]
    assert len(data) == 400 and not any(bright[1::2])
    assert 0.25 < np.mean(bright) < 0.45
    torch.manual_seed(1)
    first = data[0]
    torch.manual_seed(1)
    assert torch.equal(data[0]["image"], first["image"])


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"size": 0}, {"slices": 2}, {"count": 0}, {"lesion_fraction": 1.2}, {"jitter_mm": -1.0}):
        with pytest.raises(UsageError, match="LesionSlices: size and count"):
            LesionSlices([], **wrong)
