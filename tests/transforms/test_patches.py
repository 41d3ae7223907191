from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_staging.cohort.volume import Volume, write_mask, write_volume
from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.patches import RandPatches, RandPatchesd

AFFINE = np.array([[-0.5, 0, 0, 20.0], [0, -0.5, 0, 15.0], [0, 0, 2.0, -30.0], [0, 0, 0, 1]])
SHAPE = (60, 50, 20)


def world(i: float, j: float, k: float) -> list[float]:
    return (AFFINE @ [i, j, k, 1])[:3].tolist()


@pytest.fixture
def item(tmp_path: Path) -> dict[str, Any]:
    i, j, k = np.indices(SHAPE)
    hu = (i + 100 * j).astype(np.int16) - k.astype(np.int16) * 50
    write_volume(tmp_path / "volume.nii", Volume(hu, AFFINE))
    mask = np.zeros(SHAPE, np.uint8)
    mask[28:33, 18:23, 9:12] = 2
    write_mask(tmp_path / "mask.nii", mask, AFFINE)
    lesions = [
        {"kind": "primary", "center_mm": world(30, 20, 10)},
        {"kind": "node", "center_mm": world(5, 5, 3)},
    ]
    return {"image": str(tmp_path / "volume.nii"), "mask": str(tmp_path / "mask.nii"), "lesions": lesions}


def value_at(patch: MetaTensor, index: tuple[int, int, int]) -> tuple[float, float]:
    """The HU of a patch's voxel, and those of the volume where the patch's affine says it lies."""
    point = patch.affine.numpy() @ [*index, 1]
    i, j, k, _ = np.linalg.solve(AFFINE, point)
    return float(patch[(0, *index)]), i + 100 * j - 50 * k


def test_native_patches_around_a_lesion(item: dict[str, Any]) -> None:
    transform = RandPatchesd(
        ("image", "mask"), (11, 11, 5), count=4, lesion_fraction=1, jitter_mm=0, kinds=["primary"], mask_keys="mask"
    ).set_random_state(0)
    patches = transform(item)
    assert len(patches) == 4
    for patch in patches:
        assert patch["image"].shape == (1, 11, 11, 5) and patch["image"].dtype == torch.float32
        assert patch["mask"].dtype == torch.int16 and patch["mask"].sum() == 2 * 5 * 5 * 3
        np.testing.assert_allclose(patch["patch_center_mm"].numpy(), world(30, 20, 10))
        np.testing.assert_allclose(patch["image"].affine.numpy()[:3, 3], world(25, 15, 8))
        found, expected = value_at(patch["image"], (3, 7, 1))
        assert found == pytest.approx(expected)
        assert patch["lesions"] == item["lesions"]


def test_patches_on_an_ras_grid(item: dict[str, Any]) -> None:
    transform = RandPatchesd(
        ("image", "mask"), 9, spacing_mm=0.5, count=2, lesion_fraction=1, jitter_mm=0, kinds=["primary"],
        mask_keys=("mask",),
    )  # fmt: skip
    patch = transform(item)[0]
    np.testing.assert_allclose(patch["image"].affine.numpy()[:3, :3], np.diag([0.5] * 3))
    assert patch["image"].shape == patch["mask"].shape == (1, 9, 9, 9)
    found, expected = value_at(patch["image"], (2, 6, 4))
    assert found == pytest.approx(expected, abs=0.5)
    assert set(patch["mask"].unique().tolist()) == {0, 2}
    assert patch["mask"][0, 4, 4, 4] == 2


def test_patches_elsewhere_lie_inside_the_volume(item: dict[str, Any]) -> None:
    transform = RandPatchesd("image", (16, 16, 6), count=60, lesion_fraction=0).set_random_state(1)
    starts = []
    for patch in transform(item):
        start = np.linalg.solve(AFFINE, patch["image"].affine.numpy()[:, 3])[:3]
        starts.append(start)
        assert not (patch["image"] == -1024).any()
    low, high = np.min(starts, axis=0), np.max(starts, axis=0)
    assert (low >= -0.01).all() and (high <= np.array(SHAPE) - (16, 16, 6) + 0.01).all()
    assert (high - low > 0.6 * (np.array(SHAPE) - (16, 16, 6))).all()
    # Longer than the volume along k: centred there and padded.
    for patch in RandPatchesd("image", (8, 8, 40), count=3, lesion_fraction=0, pad_value=-2000)(item):
        assert (patch["image"][..., :10] == -2000).all() and (patch["image"][..., 30:] == -2000).all()
        assert not (patch["image"][..., 10:30] == -2000).any()
    with_spacing = RandPatchesd("image", (8, 8, 8), spacing_mm=(1, 1, 2), count=30, lesion_fraction=0, pad_value=-5000)
    assert not any((patch["image"] == -5000).any() for patch in with_spacing(item))


def test_the_wanted_fraction_is_around_lesions(item: dict[str, Any]) -> None:
    transform = RandPatches(4, count=400, lesion_fraction=0.7, jitter_mm=1.0).set_random_state(2)
    transform.randomize(([np.array(lesion["center_mm"]) for lesion in item["lesions"]], SHAPE, AFFINE))
    centers = np.array([center for center, _ in transform.places])
    near = [np.abs(centers - lesion["center_mm"]).max(axis=1) <= 1.0 for lesion in item["lesions"]]
    assert np.mean(near[0] | near[1]) == pytest.approx(0.7, abs=0.08)
    assert 0.3 < near[0].sum() / (near[0] | near[1]).sum() < 0.7
    jitter = (centers - item["lesions"][0]["center_mm"])[near[0]]
    assert jitter.min() < -0.8 and jitter.max() > 0.8


def test_seeded_and_the_same_draws_whatever_an_item_holds(item: dict[str, Any]) -> None:
    def second_center(lesions: list[Any], seed: int) -> list[float]:
        transform = RandPatchesd("image", 4, lesion_fraction=0.5).set_random_state(seed)
        transform({**item, "lesions": lesions})
        return transform({**item, "lesions": []})[0]["patch_center_mm"].tolist()

    assert second_center([], 1) == second_center(item["lesions"], 1) != second_center([], 2)


def test_zoomed_patches_are_finer_or_coarser_and_say_so(item: dict[str, Any]) -> None:
    settings = {"size": 6, "spacing_mm": (0.5, 0.5, 1.0), "mask_keys": "mask", "kinds": ["primary"], "pad_value": -5000}
    transform = RandPatchesd(("image", "mask"), count=60, lesion_fraction=0.5, jitter_mm=0, zoom=1.5, **settings)
    factors = []
    for patch in transform.set_random_state(3)(item):
        steps = np.diag(patch["image"].affine.numpy())[:3]
        factors.append(steps[0] / 0.5)
        np.testing.assert_allclose(steps, np.array([0.5, 0.5, 1.0]) * factors[-1])
        assert torch.equal(patch["mask"].affine, patch["image"].affine) and not (patch["image"] == -5000).any()
        if patch["mask"].any():
            # The volume's value at a voxel is that of its place, as without a zoom.
            found, expected = value_at(patch["image"], (2, 3, 3))
            assert found == pytest.approx(expected, abs=0.5)
    assert 1 / 1.5 <= min(factors) < 0.75 and 1.35 < max(factors) <= 1.5
    # As often finer as coarser.
    assert abs(np.log(factors).mean()) < 0.1


@pytest.mark.parametrize(("zoom", "spacing_mm"), [(0.9, 1.0), (1.1, None)])
def test_a_zoom_that_cannot_be_is_refused(zoom: float, spacing_mm: float | None) -> None:
    with pytest.raises(UsageError, match=f"at least 1, and 1 without spacing_mm, found {zoom}"):
        RandPatches(4, spacing_mm, zoom=zoom)


@pytest.mark.parametrize("spacing_mm", [None, (1.0, 1.0, 2.0)])
def test_the_twin_reads_what_the_array_transform_reads(
    item: dict[str, Any], spacing_mm: tuple[float, float, float] | None
) -> None:
    twin = RandPatchesd(("image", "mask"), (9, 8, 5), spacing_mm, count=3, mask_keys="mask").set_random_state(4)
    array = RandPatches((9, 8, 5), spacing_mm, count=3).set_random_state(4)
    lesions_mm = [lesion["center_mm"] for lesion in item["lesions"]]
    for _ in range(3):
        items = twin(item)
        volumes = array(item["image"], lesions_mm)
        masks = array(item["mask"], mask=True, randomize=False)
        for result, volume, mask in zip(items, volumes, masks, strict=True):
            assert torch.equal(result["image"], volume) and torch.equal(result["mask"], mask)
            assert torch.equal(result["image"].affine, volume.affine)
            assert mask.dtype == torch.int16


def test_the_array_transform_takes_paths_from_its_root(item: dict[str, Any], tmp_path: Path) -> None:
    inside, outside = RandPatches(4, root=tmp_path), RandPatches(4)
    (patch,), (same,) = inside.set_random_state(0)("volume.nii"), outside.set_random_state(0)(item["image"])
    assert torch.equal(patch, same)
    with pytest.raises(DataError, match="nowhere.nii"):
        inside("nowhere.nii")


def test_lesions_may_be_objects_or_absent(item: dict[str, Any]) -> None:
    lesion = SimpleNamespace(kind="primary", center_mm=tuple(world(30, 20, 10)))
    transform = RandPatchesd("image", 4, lesion_fraction=1, jitter_mm=0, kinds=("primary",))
    assert transform({**item, "lesions": (lesion,)})[0]["patch_center_mm"].tolist() == world(30, 20, 10)
    del item["lesions"]
    assert transform(item)[0]["image"].shape == (1, 4, 4, 4)


def test_files_of_different_grids_are_refused(item: dict[str, Any], tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 5
    write_mask(tmp_path / "moved.nii", np.zeros(SHAPE, np.uint8), moved)
    transform = RandPatchesd(("image", "mask"), 4, mask_keys="mask", root=tmp_path)
    with pytest.raises(DataError, match="mask must lie on the grid of image .* differs by 5"):
        transform({**item, "mask": "moved.nii"})
    with pytest.raises(DataError, match="image must be a path, found a Tensor"):
        transform({**item, "image": torch.zeros(1)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0}, "must be positive"),
        ({"count": 0}, "must be positive"),
        ({"spacing_mm": (1, 1, 0)}, "must be positive"),
        ({"lesion_fraction": 1.5}, r"lesion_fraction must be in \[0, 1\]"),
        ({"jitter_mm": -1}, "jitter_mm not negative"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RandPatchesd("image", **{"size": 4, **arguments})
