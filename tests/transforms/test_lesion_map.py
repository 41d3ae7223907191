"""Lesion maps against balls sampled on the same cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from monai_staging.errors import UsageError
from monai_staging.transforms.lesion_map import LesionMap, LesionMapd

KINDS = ("primary", "node")
SHAPE = (40, 32, 20)
AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])
AFFINE[:3, 3] = (-39, -31, -38)  # the grid's centre is the origin


def ball(center: tuple[float, float, float], diameter: float, kind: str = "primary") -> dict[str, object]:
    return {"kind": kind, "center_mm": center, "size_mm": (diameter,) * 3}


@settings(max_examples=40, deadline=None)
@given(x=st.floats(-15, 15), y=st.floats(-10, 10), z=st.floats(-15, 15), diameter=st.floats(24, 40))
def test_a_ball_has_the_chords_of_a_ball(x: float, y: float, z: float, diameter: float) -> None:
    result = LesionMap(KINDS, stride=4)([ball((x, y, z), diameter)], AFFINE, SHAPE)
    assert result.shape == (2, 10, 8, 20)
    heights = -38 + 4 * np.arange(SHAPE[2])
    chord = 2 * np.sqrt(np.clip((diameter / 2) ** 2 - (heights - z) ** 2, 0, None))
    np.testing.assert_allclose(result[0].amax((0, 1))[chord > 10], chord[chord > 10], rtol=1e-4)
    assert float(result[1].abs().max()) == 0
    # Cell centres lie 4 voxels of 2 mm apart, from 1.5 voxels in.
    centers = np.stack(np.meshgrid(-36 + 8 * np.arange(10), -28 + 8 * np.arange(8), heights, indexing="ij"), axis=-1)
    inside = np.linalg.norm(centers - (x, y, z), axis=-1) < diameter / 2 - 0.01
    assert (np.asarray(result[0])[inside] > 0).all()


@settings(max_examples=40, deadline=None)
@given(x=st.floats(-30, 30), y=st.floats(-24, 24), z=st.floats(-30, 30))
def test_no_lesion_falls_between_the_cells(x: float, y: float, z: float) -> None:
    result = LesionMap(KINDS, stride=4)([ball((x, y, z), 4)], AFFINE, SHAPE)
    assert float(result[0].max()) > 0


def test_kinds_merge_the_larger_counts_and_sizes_are_cut_off() -> None:
    lesions = [ball((5, 0, 2), 10, "nodule"), ball((5, 0, 2), 20, "primary"), ball((5, 0, 2), 30, "cyst")]
    assert float(LesionMap(KINDS, 4, merge={"nodule": "primary"})(lesions, AFFINE, SHAPE).max()) == pytest.approx(20)
    assert float(LesionMap(KINDS, 4, largest_mm=15)(lesions, AFFINE, SHAPE).max()) == pytest.approx(15)


def test_the_dictionary_twin_reads_the_image_s_grid() -> None:
    image = MetaTensor(torch.zeros(1, *SHAPE), affine=torch.from_numpy(AFFINE))
    lesions = [ball((9, 3, 2), 24), ball((-6, 0, 10), 8, "node")]
    result = LesionMapd("image", KINDS, stride=4)({"image": image, "lesions": lesions})
    assert "lesions" not in result
    assert torch.equal(result["lesion_mm"], LesionMap(KINDS, 4)(lesions, AFFINE, SHAPE))


def test_a_stride_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="found 0"):
        LesionMap(KINDS, stride=0)
