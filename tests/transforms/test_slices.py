from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor

from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.slices import (
    AxialSlices,
    AxialSlicesd,
    SampleSlices,
    SampleSlicesd,
    SliceHeights,
    SliceHeightsd,
    SliceMode,
    slice_indices,
)


def volume(slices: int) -> MetaTensor:
    affine = torch.diag(torch.tensor([1.0, 1.0, 2.5, 1.0], dtype=torch.float64))
    return MetaTensor(torch.arange(slices).float().expand(1, 2, 3, slices).clone(), affine=affine)


@given(st.integers(1, 200), st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_thinned_slices_spread_evenly_over_the_whole(total: int, count: int, phase: float) -> None:
    taken = slice_indices(total, count, SliceMode.THINNED, phase)
    assert len(taken) == count and taken == sorted(taken)
    assert taken[0] >= 0 and taken[-1] < total
    # One in each of `count` equal intervals.
    step = total / count
    assert all(int(k * step) <= index <= int((k + 1) * step) for k, index in enumerate(taken))
    if count <= total:
        assert len(set(taken)) == count


@given(st.integers(1, 200), st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_contiguous_slices_are_neighbours(total: int, count: int, phase: float) -> None:
    taken = slice_indices(total, count, SliceMode.CONTIGUOUS, phase)
    assert len(taken) == count and taken[0] >= 0 and taken[-1] < total
    if count <= total:
        assert taken == list(range(taken[0], taken[0] + count))


def test_a_phase_next_to_one_stays_in_its_interval() -> None:
    phase = float(np.nextafter(1, 0))
    assert slice_indices(3, 3, SliceMode.THINNED, phase) == [0, 1, 2]
    assert slice_indices(200, 100, SliceMode.CONTIGUOUS, phase) == list(range(100, 200))


def test_every_contiguous_start_can_be_drawn() -> None:
    starts = {slice_indices(10, 4, SliceMode.CONTIGUOUS, phase)[0] for phase in np.linspace(0, 0.999, 50)}
    assert starts == set(range(7))


def test_fixed_slices_are_the_middle_ones_and_the_affine_follows() -> None:
    found = SampleSlices(4)(volume(20))
    assert found[0, 0, 0].tolist() == [2, 7, 12, 17]
    np.testing.assert_allclose(found.affine.numpy()[2], [0, 0, 12.5, 5.0])
    assert SampleSlices(4, "contiguous")(volume(20))[0, 0, 0].tolist() == [8, 9, 10, 11]
    assert SampleSlices(None)(volume(5))[0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    short = SampleSlices(4)(volume(2))
    assert short[0, 0, 0].tolist() == [0, 0, 1, 1]
    one = SampleSlices(3)(volume(1))
    assert one[0, 0, 0].tolist() == [0, 0, 0] and float(one.affine[2, 2]) == 2.5


def test_random_slices_are_seeded_and_vary() -> None:
    def draws(seed: int) -> list[list[float]]:
        transform = SampleSlices(5, random=True).set_random_state(seed)
        return [transform(volume(50))[0, 0, 0].tolist() for _ in range(6)]

    assert draws(1) == draws(1) != draws(2)
    assert len({tuple(d) for d in draws(1)}) > 1


def test_dictionary_twin_takes_the_same_slices_of_every_key() -> None:
    transform = SampleSlicesd(("image", "mask"), 5, random=True).set_random_state(3)
    item = {"image": volume(40), "mask": volume(40)[..., :].clone(), "t": 1}
    found = transform(item)
    assert torch.equal(found["image"].as_tensor(), found["mask"].as_tensor())
    assert found["slices"].tolist() == found["image"][0, 0, 0].int().tolist()
    assert torch.equal(transform.set_random_state(3)(item)["slices"], found["slices"])
    assert "slices" not in SampleSlicesd("image", 2, indices_key=None)(item)
    with pytest.raises(DataError, match=r"equally many slices, found \{'image': 40, 'mask': 3\}"):
        transform({"image": volume(40), "mask": volume(3)})


def test_stack_of_axial_slices() -> None:
    image = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    stack = AxialSlices()(image)
    assert stack.shape == (5, 2, 3, 4) and torch.equal(stack[3], image[..., 3])
    assert torch.equal(AxialSlicesd("image")({"image": image})["image"], stack)
    assert AxialSlicesd(["image", "x"], allow_missing_keys=True)({"image": image})["image"].shape == stack.shape


def test_wrong_use_is_refused() -> None:
    with pytest.raises(UsageError, match="count must be at least 1, found 0"):
        SampleSlices(0)
    with pytest.raises(UsageError, match="found 'middle'"):
        SampleSlices(3, "middle")
    with pytest.raises(DataError, match=r"found \(2, 3, 4\)"):
        SampleSlices(3)(torch.zeros(2, 3, 4))
    with pytest.raises(DataError, match=r"found shape \(2, 3, 4\)"):
        AxialSlices()(torch.zeros(2, 3, 4))


def test_heights_are_the_world_s() -> None:
    turned = np.array([[0.0, 2, 0, 5], [2, 0, 0, -7], [0, 0, -1.25, 300], [0, 0, 0, 1]])
    tilted = nib.affines.from_matvec(
        np.array([[0.7, 0, 0], [0, 0.6, -0.3], [0, 0.3, 2.4]]), np.array([-10.0, -20.0, -430.0])
    )
    for affine in (turned, tilted):
        image = MetaTensor(torch.zeros(1, 4, 6, 5), affine=torch.from_numpy(affine))
        expected = nib.affines.apply_affine(affine, [[1.5, 2.5, k] for k in range(5)])[:, 2]
        assert SliceHeights()(image).tolist() == pytest.approx(expected.tolist(), abs=1e-4)
        found = SliceHeightsd("image")({"image": image})
        assert found["slice_z_mm"].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
    with pytest.raises(DataError, match="affine is needed"):
        SliceHeights()(torch.zeros(1, 2, 2, 2))
