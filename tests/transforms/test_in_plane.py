"""In-plane moves against SciPy's affine resampling, and the affines that go with them against nibabel's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from nibabel import Nifti1Image
from nibabel.affines import apply_affine
from nibabel.processing import resample_from_to
from scipy import ndimage

from monai_staging.transforms.in_plane import RandInPlane, RandInPlaned


def smooth_study(shape: tuple[int, int, int]) -> torch.Tensor:
    volume = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), (4, 4, 1)) * 3000
    return torch.from_numpy(volume)[None].to(torch.float32)


def test_moves_are_those_of_scipy() -> None:
    image = smooth_study((48, 36, 3))
    move = RandInPlane(rotate_degrees=10, shift_voxels=5, prob=1, pad_value=0).set_random_state(3)
    result = move(image)[0].numpy()
    assert move.parameters is not None
    angle, shift_x, shift_y = move.parameters
    assert abs(angle) > 0.01 and abs(shift_x) > 0.1
    cos, sin = np.cos(angle), np.sin(angle)
    # Output voxel o comes from input voxel R (o - c) + c + shift.
    matrix = np.array([[cos, sin], [-sin, cos]])
    center = (np.array(image.shape[1:3]) - 1) / 2
    offset = center - matrix @ center + (shift_x, shift_y)
    expected = np.stack(
        [ndimage.affine_transform(image[0, :, :, k].numpy(), matrix, offset, order=1, cval=0) for k in range(3)],
        axis=-1,
    )
    inner = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(result[inner], expected[inner], atol=2)


def test_the_same_seed_moves_alike_and_integers_stay_integers() -> None:
    image = smooth_study((16, 16, 2)).to(torch.int16)
    moves = [RandInPlaned("image", prob=1) for _ in range(2)]
    results = [move.set_random_state(7)({"image": image})["image"] for move in moves]
    assert torch.equal(*results)
    assert results[0].dtype == torch.int16


def test_size_is_kept() -> None:
    grid = np.indices((64, 64)).astype(float) - 31.5
    disc = torch.from_numpy((np.hypot(*grid) < 15).astype(np.float32) * 1000 - 1000)[None, :, :, None]
    move = RandInPlaned("image", rotate_degrees=30, shift_voxels=8, prob=1)
    move.set_random_state(1)
    moved = move({"image": disc})["image"]
    assert abs(float((moved > -500).sum()) / float((disc > -500).sum()) - 1) < 0.02


def test_a_label_keeps_its_values() -> None:
    # Between 30 mm and nothing lies no lesion of 15 mm.
    diameter_mm = torch.zeros(2, 16, 16, 3)
    diameter_mm[0, 5:8, 5:7, 1], diameter_mm[1, 11, 4, 2] = 30.0, 8.0
    study = {"image": smooth_study((128, 128, 3)), "lesion_mm": diameter_mm}
    move = RandInPlaned(
        ["image", "lesion_mm"], rotate_degrees=8, shift_voxels=5, prob=1, pad_value=0, mode=["bilinear", "nearest"]
    )
    for seed in range(5):
        moved = move.set_random_state(seed)(study)["lesion_mm"]
        assert set(moved[0].unique().tolist()) == {0.0, 30.0}
        assert set(moved[1].unique().tolist()) <= {0.0, 8.0}
        assert 4 <= int((moved[0] > 0).sum()) <= 9


def test_the_twin_moves_every_key_as_the_array_transform_does() -> None:
    image, coarse = smooth_study((48, 32, 3)), smooth_study((6, 4, 3))
    twin = RandInPlaned(("image", "map"), pad_value=(-1024, 0), mode=("bilinear", "nearest")).set_random_state(2)
    array = RandInPlane(pad_value=-1024).set_random_state(2)
    moved = 0
    for _ in range(10):
        result = twin({"image": image, "map": coarse})
        assert torch.equal(result["image"], array(image))
        expected = array(coarse, mode="nearest", pad_value=0, size_xy=(48, 32), randomize=False)
        assert torch.equal(result["map"], expected)
        moved += array.parameters is not None
    assert 0 < moved < 10


def test_a_study_costs_four_draws_whatever_comes_of_it() -> None:
    """The same seed moves the same studies alike for ever: trainings can be done again."""
    twin = RandInPlaned("image", rotate_degrees=10, shift_voxels=4, prob=0.5).set_random_state(11)
    stream = np.random.RandomState(11)
    image = torch.zeros(1, 4, 4, 1)
    outcomes = []
    for _ in range(30):
        twin({"image": image})
        chance, (angle, shift_x, shift_y) = stream.random(), stream.uniform(-1, 1, 3)
        expected = (np.deg2rad(angle * 10), shift_x * 4, shift_y * 4) if chance < 0.5 else None
        assert twin.transform.parameters == expected
        outcomes.append(expected is None)
    assert len(set(outcomes)) == 2


def test_arrays_are_taken_too() -> None:
    volume = np.zeros((1, 8, 8, 2), dtype=np.int16)
    for prob in (0, 1):
        result = RandInPlane(prob=prob, pad_value=0)(volume)
        assert isinstance(result, torch.Tensor) and result.dtype == torch.int16 and result.shape == volume.shape


def ramp(shape: tuple[int, int, int], affine: np.ndarray) -> MetaTensor:
    """A study whose values are those of `height` at its voxels' world positions: interpolation leaves it exact."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    values = height(apply_affine(affine, index)).astype(np.float32)
    return MetaTensor(torch.from_numpy(values)[None], affine=torch.from_numpy(affine), meta={"case": "A"})


def height(points_mm: np.ndarray) -> np.ndarray:
    return points_mm @ (3.0, -5.0, 2.0) + 40.0


@pytest.mark.parametrize("spacing_mm", [(2.5, 2.5, 5.0), (0.7, 1.1, 2.0)])
def test_what_a_voxel_shows_keeps_its_world_position(spacing_mm: tuple[float, float, float]) -> None:
    affine = np.diag([-spacing_mm[0], *spacing_mm[1:], 1.0])
    affine[:3, 3] = 50.0, -20.0, 4.0
    # The map's cells are 4 x 2 voxels: neither their size nor their shape is that of the voxels.
    coarse_affine = affine @ np.diag([4.0, 2.0, 1.0, 1.0])
    coarse_affine[:3, 3] = apply_affine(affine, [1.5, 0.5, 0])
    study = {"image": ramp((64, 48, 3), affine), "map": ramp((16, 24, 3), coarse_affine)}
    move = RandInPlaned(("image", "map"), rotate_degrees=15, shift_voxels=6, prob=1, pad_value=0)
    for seed in range(5):
        result = move.set_random_state(seed)(study)
        for key, moved in result.items():
            _, x, y, z = (size // 2 for size in moved.shape)
            inner = np.array([[i, j, z] for i in range(x - x // 2, x + x // 2) for j in range(y - y // 2, y + y // 2)])
            there = height(apply_affine(moved.affine.numpy(), inner))
            np.testing.assert_allclose(moved[0].numpy()[tuple(inner.T)], there, atol=0.02)
            # The old affine would have been far off.
            before = height(apply_affine(study[key].affine.numpy(), inner))
            assert np.abs(before - there).max() > 2 and moved.meta["case"] == "A"
        np.testing.assert_array_equal(study["image"].affine.numpy(), affine)


def test_a_moved_study_comes_back_through_the_world() -> None:
    """Resampled by nibabel to the grid it came from, each study is what it was, but for two interpolations' blur."""
    affine = np.diag([0.8, 1.2, 3.0, 1.0])
    image = MetaTensor(smooth_study((64, 48, 3)), affine=torch.from_numpy(affine))
    moved = RandInPlane(rotate_degrees=15, shift_voxels=6, prob=1, pad_value=0).set_random_state(3)(image)
    back = resample_from_to(
        Nifti1Image(moved[0].numpy(), moved.affine.numpy()), Nifti1Image(image[0].numpy(), affine), order=1
    ).get_fdata()
    inner = (slice(14, -14), slice(14, -14))
    difference = np.abs(back - image[0].numpy())[inner].max()
    assert difference < 0.1 * np.abs(moved.numpy() - image.numpy())[0][inner].max()


def test_an_affine_follows_its_voxels_only() -> None:
    affine = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=torch.float64))
    image = MetaTensor(smooth_study((8, 8, 2)), affine=affine)
    assert RandInPlane(prob=0)(image) is image
    assert not isinstance(RandInPlane(prob=1)(image.as_tensor()), MetaTensor)
    moved = RandInPlane(rotate_degrees=0, shift_voxels=5, prob=1).set_random_state(1)
    result = moved(image)
    assert moved.parameters is not None
    # Voxel (0, 0, 0) shows what lay the shift away.
    np.testing.assert_allclose(result.affine[:3, 3].numpy(), [2 * moved.parameters[1], 2 * moved.parameters[2], 0])
