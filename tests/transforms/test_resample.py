from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from monai_staging.errors import DataError
from monai_staging.transforms import resample as resample_module
from monai_staging.transforms.grid import Grid, plan_grid
from monai_staging.transforms.resample import Interpolation, aligned_axes, axis_taps, resample

Array = npt.NDArray[Any]


def random_volume(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(-1024, 2000, shape, dtype=np.int16)


def reference(volume: Array, affine: Array, grid: Grid, order: int = 1, pad: float = -1024.0) -> Array:
    """Every output voxel looked up on its own by SciPy; outside begins half a voxel beyond the outermost centre."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.size], indexing="ij"), axis=-1)
    world = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    inverse = np.linalg.inv(affine)
    at = world @ inverse[:3, :3].T + inverse[:3, 3]
    count = np.array(volume.shape)
    reach = 0.5 * np.maximum(np.abs(inverse[:3, :3] @ grid.affine[:3, :3]).sum(axis=1), 1) + 1e-6
    outside = ((at < -reach) | (at > count - 1 + reach)).any(axis=-1)
    value = map_coordinates(volume.astype(float), np.moveaxis(at, -1, 0), order=order, mode="nearest")
    return np.where(outside, pad, value)


def signed_axes(order: Any, sign: Any, voxel_mm: Any) -> Array:
    affine = np.eye(4)
    affine[:3, :3] = (np.diag(voxel_mm) @ np.diag(sign))[list(order)]
    affine[:3, 3] = [12.0, -7.0, 3.0]
    return affine


orientations = st.tuples(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))


@settings(max_examples=60)
@given(
    orientations,
    st.tuples(*[st.integers(1, 12)] * 3),
    st.tuples(*[st.floats(0.5, 4)] * 3),
    st.tuples(*[st.floats(0.5, 4)] * 3),
    st.none() | st.tuples(*[st.integers(1, 14)] * 3),
    st.sampled_from(["C", "F"]),
)
def test_is_trilinear_interpolation_in_every_orientation(
    orientation: Any, shape: Any, voxel: Any, spacing: Any, size: Any, memory: Any
) -> None:
    affine = signed_axes(*orientation, voxel)
    volume = np.asarray(random_volume(shape), order=memory)
    grid = plan_grid(shape, affine, spacing, size)
    found = resample(volume, affine, grid, antialias=False)
    assert found.dtype == torch.float32 and tuple(found.shape) == grid.size
    # Samples half way between in and out may fall to either side by rounding; Hypothesis does find them.
    expected = reference(volume, affine, grid)
    np.testing.assert_allclose(found.numpy(), expected, atol=0.5)


def test_many_parts_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    affine = signed_axes((1, 2, 0), (-1, 1, -1), (0.7, 1.3, 2.1))
    volume = random_volume((13, 12, 11))
    for spacing in ((1.0, 1.0, 1.0), (2.1, 0.7, 1.3), (4.0, 2.0, 0.5)):
        grid = plan_grid(volume.shape, affine, spacing)
        monkeypatch.setattr(resample_module, "CHUNK", 2**19)
        whole = resample(volume, affine, grid)
        monkeypatch.setattr(resample_module, "CHUNK", 300)
        assert torch.equal(resample(volume, affine, grid), whole)


def test_nearest_voxel_for_masks_of_any_type() -> None:
    affine = signed_axes((2, 0, 1), (-1, 1, -1), (0.7, 1.3, 2.1))
    grid = plan_grid((9, 8, 7), affine, (1.0, 1.0, 1.0), (10, 30, 12))
    for dtype in (np.uint8, np.uint16, np.int32, ">i2"):
        mask = np.random.default_rng(1).integers(0, 250, (9, 8, 7)).astype(dtype)
        found = resample(mask, affine, grid, "nearest", pad_value=0)
        np.testing.assert_array_equal(found.numpy(), reference(mask, affine, grid, order=0, pad=0))


def test_identity_copies_and_flips_are_exact() -> None:
    volume = random_volume((5, 6, 7))
    affine = np.diag([0.7, 0.7, 1.25, 1.0])
    same = resample(volume, affine, plan_grid(volume.shape, affine, (0.7, 0.7, 1.25)))
    np.testing.assert_array_equal(same.numpy(), volume)
    lps = np.diag([-0.7, -0.7, 1.25, 1.0])
    # The voxel sizes of a NIfTI header are single precision.
    flipped = resample(volume, lps.astype(np.float32), plan_grid(volume.shape, lps, (0.7, 0.7, 1.25)))
    np.testing.assert_array_equal(flipped.numpy(), volume[::-1, ::-1])


def test_agrees_with_simpleitk() -> None:
    volume = random_volume((16, 14, 9))
    image = sitk.GetImageFromArray(volume.transpose(2, 1, 0))
    image.SetSpacing((0.8, 0.8, 2.0))
    image.SetOrigin((5.0, -3.0, 20.0))
    # ITK speaks LPS, so an identity direction is RAS with x and y negative.
    affine = np.diag([-0.8, -0.8, 2.0, 1.0])
    affine[:3, 3] = [-5.0, 3.0, 20.0]
    grid = plan_grid(volume.shape, affine, (1.1, 0.6, 0.9))
    filter_ = sitk.ResampleImageFilter()
    filter_.SetInterpolator(sitk.sitkLinear)
    filter_.SetOutputSpacing(grid.spacing_mm)
    filter_.SetSize(grid.size)
    filter_.SetOutputDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    filter_.SetOutputOrigin((-grid.origin_mm[0], -grid.origin_mm[1], grid.origin_mm[2]))
    filter_.SetOutputPixelType(sitk.sitkFloat32)
    filter_.SetDefaultPixelValue(-1024)
    expected = sitk.GetArrayFromImage(filter_.Execute(image)).transpose(2, 1, 0)
    found = resample(volume, affine, grid).numpy()
    # ITK pads where a sample lies outside by rounding; everywhere else both agree.
    assert (expected != -1024).mean() > 0.8
    np.testing.assert_allclose(found[expected != -1024], expected[expected != -1024], atol=0.01)


@pytest.mark.parametrize("angle", [0.02, 0.6])
def test_oblique_volumes(angle: float) -> None:
    volume = random_volume((12, 11, 10))
    cos, sin = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag([-0.9, 1.1, 2.0])
    affine[:3, 3] = [3.0, 4.0, 5.0]
    assert aligned_axes(affine, volume.shape) is None
    grid = plan_grid(volume.shape, affine, (1.0, 1.2, 1.71), (13, 13, 14))
    expected = reference(volume, affine, grid)
    assert 0 < (expected == -1024).sum() < expected.size * 0.8
    np.testing.assert_allclose(resample(volume, affine, grid).numpy(), expected, atol=0.5)
    nearest = resample(volume, affine, grid, "nearest").numpy()
    np.testing.assert_array_equal(nearest, reference(volume, affine, grid, order=0))


def test_coarse_grid_takes_the_mean_over_its_voxel() -> None:
    volume = random_volume((12, 9, 8))
    grid = Grid((4, 3, 2), (3.0, 3.0, 4.0), (1.0, 1.0, 1.5))
    expected = volume.reshape(4, 3, 3, 3, 2, 4).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(resample(volume, np.eye(4), grid).numpy(), expected, rtol=1e-4, atol=0.01)
    # An oblique volume is averaged by whole voxels first.
    tilted = np.eye(4)
    tilted[0, 1] = 0.01
    assert aligned_axes(tilted, volume.shape) is None
    np.testing.assert_allclose(resample(volume, tilted, grid).numpy(), expected, atol=40)
    # Without it, single voxels are picked.
    np.testing.assert_array_equal(
        resample(volume, np.eye(4), Grid((4, 3, 2), (3.0, 3.0, 4.0), (1.0, 1.0, 1.0)), antialias=False).numpy(),
        volume[1::3, 1::3, 1::4],
    )


@settings(max_examples=60)
@given(st.integers(1, 30), st.floats(0.4, 6), st.floats(-8, 30), st.integers(1, 20), st.booleans())
def test_weights_along_an_axis(count: int, step: float, first: float, samples: int, antialias: bool) -> None:
    position = first + step * np.arange(samples)
    taps = axis_taps(position, count, Interpolation.LINEAR, antialias)
    assert 0 <= taps.start <= taps.stop <= samples
    if not len(taps.index):
        return
    assert int(taps.index.min()) >= 0 and int(taps.index.max()) < count
    torch.testing.assert_close(taps.weight.sum(dim=1), torch.ones(taps.stop - taps.start))
    # A ramp comes out as the ramp, wherever the samples' surroundings are whole.
    ramp = (taps.index * taps.weight).sum(dim=1).numpy()
    at = position[taps.start : taps.stop]
    whole = (at - step / 2 >= -0.5) & (at + step / 2 <= count - 0.5) & (at >= 0) & (at <= count - 1)
    np.testing.assert_allclose(ramp[whole], at[whole], atol=0.13 if antialias else 1e-3)


def test_a_thin_bright_sheet_keeps_its_mass_when_averaged() -> None:
    volume = np.zeros((1, 1, 40), dtype=np.int16)
    volume[..., 17] = 1000
    grid = Grid((1, 1, 8), (1.0, 1.0, 5.0), (0.0, 0.0, 2.0))
    assert float(resample(volume, np.eye(4), grid).sum()) == pytest.approx(200)
    assert float(resample(volume, np.eye(4), grid, antialias=False).sum()) in (0.0, 1000.0)


def test_outside_is_padding_and_wholly_outside_too() -> None:
    volume = np.full((4, 4, 4), 100, dtype=np.int16)
    found = resample(volume, np.eye(4), Grid((8, 4, 4), (1.0,) * 3, (-2.0, 0.0, 0.0)), pad_value=-7)
    assert found[:2].eq(-7).all() and found[2:6].eq(100).all() and found[6:].eq(-7).all()
    assert resample(volume, np.eye(4), Grid((2, 2, 2), (1.0,) * 3, (50.0, 0.0, 0.0)), pad_value=-7).eq(-7).all()


def test_reads_a_read_only_memory_map_without_a_warning(tmp_path: Path) -> None:
    volume = np.asfortranarray(random_volume((6, 5, 4)))
    volume.T.tofile(tmp_path / "v")
    mapped = np.memmap(tmp_path / "v", np.int16, "r", 0, (6, 5, 4), order="F")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = resample(mapped, np.eye(4), plan_grid((6, 5, 4), np.eye(4), (1.0, 1.0, 1.0)))
    np.testing.assert_array_equal(found.numpy(), volume)


def test_nearly_aligned_counts_as_aligned() -> None:
    affine = np.diag([0.8, 0.8, 2.0, 1.0])
    affine[0, 1] = 1e-6
    assert aligned_axes(affine, (512, 512, 200)) == (0, 1, 2)
    affine[0, 1] = 1e-3
    assert aligned_axes(affine, (512, 512, 200)) is None


def test_nonsense_is_refused() -> None:
    grid = plan_grid((4, 4, 4), np.eye(4), (1.0, 1.0, 1.0))
    with pytest.raises(DataError, match=r"found shape \(4, 4\)"):
        resample(np.zeros((4, 4)), np.eye(4), grid)
    with pytest.raises(DataError, match="with voxels"):
        resample(np.zeros((4, 0, 4)), np.eye(4), grid)
    for affine in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3)):
        with pytest.raises(DataError, match=r"invertible \(4, 4\) affine"):
            resample(np.zeros((4, 4, 4)), affine, grid)
