"""Lesion maps against balls sampled on the same cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from monai_staging.cohort.volume import write_mask
from monai_staging.errors import UsageError
from monai_staging.transforms.lesion_map import LesionMap, LesionMapd

GROUPS = ("primary", "midline node")
SHAPE = (40, 32, 20)
AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])
AFFINE[:3, 3] = (-39, -31, -38)  # the grid's centre is the origin
# A mask's grid of its own: finer, and left and back first, as DICOM has it.
MASK_SHAPE = (96, 80, 50)
MASK_AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
MASK_AFFINE[:3, 3] = (47, 39, -49)


def ball(
    center: tuple[float, float, float], diameter: float, kind: str = "primary", **more: object
) -> dict[str, object]:
    return {"kind": kind, "site": "7", "center_mm": center, "size_mm": (diameter,) * 3, **more}


def ball_mask(center: tuple[float, float, float], diameter: float, label: int = 1) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, MASK_SHAPE), indexing="ij"), axis=-1)
    points = index @ MASK_AFFINE[:3, :3].T + MASK_AFFINE[:3, 3]
    return np.asfortranarray((np.linalg.norm(points - center, axis=-1) <= diameter / 2).astype(np.uint8) * label)


def cell_centers() -> np.ndarray:
    # Cell centres lie 4 voxels of 2 mm apart, from 1.5 voxels in.
    heights = -38 + 4 * np.arange(SHAPE[2])
    return np.stack(np.meshgrid(-36 + 8 * np.arange(10), -28 + 8 * np.arange(8), heights, indexing="ij"), axis=-1)


balls = {
    "x": st.floats(-15, 15),
    "y": st.floats(-10, 10),
    "z": st.floats(-15, 15),
    "diameter": st.floats(24, 40),
    "masked": st.booleans(),
}


@settings(max_examples=40, deadline=None)
@given(**balls)
def test_a_ball_s_cells_are_those_in_it(x: float, y: float, z: float, diameter: float, masked: bool) -> None:
    center = (x, y, z)
    given_mask = (ball_mask(center, diameter), MASK_AFFINE) if masked else (None, None)
    result = LesionMap(GROUPS, stride=4)([ball(center, diameter, label=1)], AFFINE, SHAPE, *given_mask)
    assert result.shape == (2, 10, 8, 20)
    heights = -38 + 4 * np.arange(SHAPE[2])
    chord = 2 * np.sqrt(np.clip((diameter / 2) ** 2 - (heights - z) ** 2, 0, None))
    # A mask's slices of 2 mm are cut elsewhere, and its ball is made of voxels.
    tolerance = 4.5 if masked else 1e-3
    np.testing.assert_allclose(result[0].amax((0, 1))[chord > 18], chord[chord > 18], atol=tolerance)
    assert float(result[1].abs().max()) == 0
    found = np.asarray(result[0]) > 0
    distance = np.linalg.norm(cell_centers() - center, axis=-1)
    assert found[distance < diameter / 2 - 3].all()
    # A cell is 8 x 8 x 4 mm: further out than half its diagonal nothing can be.
    assert not found[distance > diameter / 2 + 6.1].any()


@settings(max_examples=40, deadline=None)
@given(x=st.floats(-30, 30), y=st.floats(-24, 24), z=st.floats(-30, 30), masked=st.booleans())
def test_no_lesion_falls_between_the_cells(x: float, y: float, z: float, masked: bool) -> None:
    given_mask = (ball_mask((x, y, z), 4), MASK_AFFINE) if masked else (None, None)
    result = LesionMap(GROUPS, stride=4)([ball((x, y, z), 4, label=1)], AFFINE, SHAPE, *given_mask)
    # A ball whose centre is a voxel's reaches half a voxel further on either side in its mask.
    assert 4 <= float(result[0].max()) <= (5 if masked else 4)


def test_the_diameter_is_the_solid_part_s() -> None:
    sizes = [ball((0, 0, 0), 30), ball((0, 0, 0), 30, diameter_mm=33.0)]
    sizes += [ball((0, 0, 0), 30, diameter_mm=32.0, solid_diameter_mm=solid) for solid in (16.0, 0.0, 40.0)]
    sizes += [ball((0, 0, 0), 130)]
    found = [float(LesionMap(GROUPS, 4)([one], AFFINE, SHAPE).max()) for one in sizes]
    # No slice runs through the very centre.
    assert found == pytest.approx([30, 30, 15, 4, 30, 100], rel=0.02)


def test_the_larger_counts_and_lesions_of_other_groups_are_left_out() -> None:
    lesions = [ball((5, 0, 2), 10), ball((5, 0, 2), 20), ball((5, 0, 2), 30, "nodule")]
    assert float(LesionMap(GROUPS, 4)(lesions, AFFINE, SHAPE).max()) == pytest.approx(20)


def test_a_lesion_that_the_mask_does_not_have_is_taken_from_its_box() -> None:
    lesions = [ball((5, 0, 2), 20, label=1), ball((-8, 0, 10), 8, "node", label=2)]
    with_mask = LesionMap(GROUPS, 4)(lesions, AFFINE, SHAPE, ball_mask((5, 0, 2), 20), MASK_AFFINE)
    assert torch.equal(with_mask[1], LesionMap(GROUPS, 4)(lesions, AFFINE, SHAPE)[1])


def test_the_dictionary_twin_reads_the_image_s_grid_and_the_mask_s_file(tmp_path: Path) -> None:
    image = MetaTensor(torch.zeros(1, *SHAPE), affine=torch.from_numpy(AFFINE))
    lesions = [ball((9, 3, 2), 24, label=1), ball((-6, 0, 10), 8, "node")]
    result = LesionMapd("image", GROUPS, stride=4)({"image": image, "lesions": lesions})
    assert "lesions" not in result
    assert torch.equal(result["lesion_mm"], LesionMap(GROUPS, 4)(lesions, AFFINE, SHAPE))
    mask = ball_mask((9, 3, 2), 24)
    write_mask(tmp_path / "mask.nii", mask, MASK_AFFINE)
    item = {"image": image, "lesions": lesions, "mask": str(tmp_path / "mask.nii")}
    result = LesionMapd("image", GROUPS, stride=4)(item)
    assert "mask" not in result
    expected = LesionMap(GROUPS, 4)(lesions, AFFINE, SHAPE, mask, MASK_AFFINE)
    assert torch.equal(result["lesion_mm"], expected)


def test_a_stride_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="found 0"):
        LesionMap(GROUPS, stride=0)
