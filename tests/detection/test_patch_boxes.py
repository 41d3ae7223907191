from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor

from monai_staging.cohort.volume import Volume, write_volume
from monai_staging.detection.patch_boxes import LesionBoxesd, boxes_to_grid, boxes_to_world, only_groups
from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.grid import Grid
from monai_staging.transforms.patches import RandPatchesd

SPACINGS = st.tuples(*[st.floats(0.4, 5)] * 3)
POINTS = st.tuples(*[st.floats(-400, 400)] * 3)


@given(SPACINGS, POINTS, st.tuples(*[st.integers(0, 30)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_a_box_of_whole_voxels_lies_on_their_edges(spacing, origin, start, count) -> None:
    affine = Grid((50, 50, 50), spacing, origin).affine
    # In the world, a voxel reaches half its spacing beyond its centre.
    low = (affine @ [*start, 1])[:3] - np.array(spacing) / 2
    high = (affine @ [*(np.add(start, count) - 1), 1])[:3] + np.array(spacing) / 2
    boxes = boxes_to_grid(np.concatenate([low, high])[None], affine)
    np.testing.assert_allclose(boxes, [[*start, *np.add(start, count)]], atol=1e-9)
    np.testing.assert_allclose(boxes_to_world(boxes, affine), [np.concatenate([low, high])], atol=1e-9)


def test_a_grid_that_is_turned_is_refused() -> None:
    with pytest.raises(UsageError, match="axis-aligned RAS grid"):
        boxes_to_grid(np.zeros((1, 6)), np.diag([-1.0, 1.0, 1.0, 1.0]))


def test_lesions_whose_middle_is_in_the_patch_are_learned_cut_to_it() -> None:
    patch = MetaTensor(torch.zeros(1, 10, 10, 10), affine=torch.diag(torch.tensor([2.0, 2, 2, 1])))
    lesions = [
        {"center_mm": (9.0, 9.0, 9.0), "size_mm": (4.0, 4.0, 4.0)},
        {"center_mm": (0.0, 9.0, 9.0), "size_mm": (6.0, 4.0, 4.0)},
        {"center_mm": (-2.0, 9.0, 9.0), "size_mm": (6.0, 4.0, 4.0)},
    ]
    item = LesionBoxesd("image")({"image": patch, "lesions": lesions})
    assert item["boxes"].tolist() == [[4, 4, 4, 6, 6, 6], [0, 4, 4, 2, 6, 6]]
    assert item["labels"].tolist() == [0, 0] and item["labels"].dtype == torch.long
    empty = LesionBoxesd("image")({"image": patch, "lesions": []})
    assert empty["boxes"].shape == (0, 6)
    with pytest.raises(DataError, match="image must have an affine"):
        LesionBoxesd("image")({"image": torch.zeros(1, 4, 4, 4), "lesions": []})


@pytest.mark.parametrize("order", list(permutations(range(3)))[::2])
@pytest.mark.parametrize("signs", list(product((-1, 1), repeat=3))[::3])
def test_boxes_lie_on_the_bright_voxels_of_any_volume(tmp_path: Path, order: tuple, signs: tuple) -> None:
    spacing = (0.7, 1.1, 2.0)
    matrix = np.zeros((3, 3))
    for axis, (world, sign, step) in enumerate(zip(order, signs, spacing, strict=True)):
        matrix[world, axis] = sign * step
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, (-40.0, 25.0, 310.0)
    hu = np.full((60, 48, 36), -900, np.int16)
    hu[20:38, 14:25, 10:17] = 100
    corners = np.array(list(product((19.5, 37.5), (13.5, 24.5), (9.5, 16.5)))) @ matrix.T + affine[:3, 3]
    low, high = corners.min(axis=0), corners.max(axis=0)
    write_volume(tmp_path / "v.nii", Volume(hu, affine))
    lesion = {"center_mm": tuple((low + high) / 2), "size_mm": tuple(high - low)}
    draw = RandPatchesd("image", size=24, spacing_mm=1.25, lesion_fraction=1.0, jitter_mm=3.0).set_random_state(3)
    (item,) = draw({"image": tmp_path / "v.nii", "lesions": [lesion]})
    found = LesionBoxesd("image")(item)
    bright = np.argwhere(found["image"][0].numpy() > -400)
    (box,) = found["boxes"].numpy()
    np.testing.assert_allclose(box[:3], bright.min(axis=0), atol=0.51)
    np.testing.assert_allclose(box[3:], bright.max(axis=0) + 1, atol=0.51)


def test_only_lesions_of_the_groups_are_learned() -> None:
    lesions = [{"kind": "nodule", "site": None}, {"kind": "node", "site": "4R"}, {"kind": "metastasis", "site": "lung"}]
    first, second = only_groups([{"study": "a", "lesions": lesions}, {"study": "b", "lesions": []}], ["nodule"])
    assert [one["kind"] for one in first["lesions"]] == ["nodule", "metastasis"] and second["lesions"] == []
    with pytest.raises(DataError, match="at least one lesion of the groups primary is needed .* none in 1 scans"):
        only_groups([{"study": "a", "lesions": lesions}], ["primary"])
