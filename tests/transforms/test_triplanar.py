from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy.ndimage import map_coordinates

from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.triplanar import TriplanarPatches, TriplanarPatchesd


@settings(max_examples=25)
@given(st.tuples(*[st.floats(-12, 12)] * 3), st.floats(6, 30), st.integers(4, 12), st.integers(0, 100))
def test_planes_are_where_their_world_coordinates_say(
    center: tuple[float, float, float], size_mm: float, pixels: int, seed: int
) -> None:
    affine = np.array([[0, -0.9, 0, 12.0], [-1.1, 0, 0, 10.0], [0, 0, 2.0, -14.0], [0, 0, 0, 1]])
    hu = np.random.default_rng(seed).integers(-1000, 1000, (20, 24, 15)).astype(np.float32)
    # The step is under 1.5 voxels, so nothing is averaged.
    size_mm = min(size_mm, 1.3 * pixels)
    found = TriplanarPatches(size_mm, pixels)(hu[None], center, affine)
    assert found.shape == (3, 1, pixels, pixels)
    offset = (np.arange(pixels) - (pixels - 1) / 2) * size_mm / pixels
    first, second = np.meshgrid(offset, offset, indexing="ij")
    zero = np.zeros_like(first)
    inverse = np.linalg.inv(affine)
    for plane, shift in zip(
        found[:, 0].numpy(), [(first, second, zero), (first, zero, second), (zero, first, second)], strict=True
    ):
        world = np.stack(shift, axis=-1) + center
        at = world @ inverse[:3, :3].T + inverse[:3, 3]
        expected = map_coordinates(hu, np.moveaxis(at, -1, 0), order=1, mode="nearest")
        inside = ((at > -0.49) & (at < np.array(hu.shape) - 0.51)).all(axis=-1)
        np.testing.assert_allclose(plane[inside], expected[inside], atol=0.5)
        far = ((at < -0.8) | (at > np.array(hu.shape) - 0.2)).any(axis=-1)
        assert (plane[far] == -1024).all()


def test_dictionary_twin_and_channels() -> None:
    affine = torch.from_numpy(np.diag([-1.0, -1.0, 1.0, 1.0]))
    image = MetaTensor(torch.stack([torch.zeros(9, 9, 9), torch.ones(9, 9, 9)]), affine=affine)
    found = TriplanarPatchesd("image", size_mm=4, pixels=4)({"image": image, "center_mm": [-4.0, -4.0, 4.0]})
    assert found["image"].shape == (3, 2, 4, 4)
    assert not found["image"][:, 0].any() and bool((found["image"][:, 1] == 1).all())


def test_wrong_use_is_refused() -> None:
    with pytest.raises(UsageError, match="must be positive, found 0 mm"):
        TriplanarPatches(0, 4)
    with pytest.raises(DataError, match=r"found shape \(4, 4, 4\)"):
        TriplanarPatches()(torch.zeros(4, 4, 4), (0, 0, 0), np.eye(4))
    with pytest.raises(DataError, match="a point"):
        TriplanarPatches()(torch.zeros(1, 4, 4, 4), (0, 0), np.eye(4))
    with pytest.raises(DataError, match="without one"):
        TriplanarPatches()(torch.zeros(1, 4, 4, 4), (0, 0, 0))
