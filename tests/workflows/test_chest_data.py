"""Whole scans of a cohort: which are used, and patches of them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_staging.cohort import load_cohort
from monai_staging.cohort.case import Case, Lesion
from monai_staging.cohort.cohort import Cohort, mask_name, volume_name
from monai_staging.cohort.lesions import lesion_of_part, part_of_mask
from monai_staging.cohort.volume import Volume, read_mask, read_volume, write_mask, write_volume
from monai_staging.errors import DataError, UsageError
from monai_staging.tnm.categories import categories
from monai_staging.transforms.chest_view import ChestViews
from monai_staging.workflows import chest_patches
from monai_staging.workflows.chest_data import chest_cases
from monai_staging.workflows.chest_patches import ChestPatches
from monai_staging.workflows.hard_places import POINTS, HardPlaces
from monai_staging.workflows.window_inferer import BoundedWindowInferer

SHAPE = (72, 60, 40)
AFFINE = np.array([[-4.5, 0, 0, 160.0], [0, -4.5, 0, 130.0], [0, 0, 7.0, -140.0], [0, 0, 0, 1.0]])
VIEWS = ChestViews((3.0, 3.0, 5.0), ["lung"])
SIZE = (24, 24, 16)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three chests: a tumour and a nodule, a node as well, and one whose tumour nobody outlined."""
    root = tmp_path_factory.mktemp("chests")
    boxes = {1: ((14, 20, 15), (24, 30, 22)), 2: ((50, 30, 25), (53, 33, 27)), 3: ((34, 28, 20), (38, 32, 24))}
    kinds = {1: ("nodule", "LUL"), 2: ("primary", "RUL"), 3: ("node", "7")}
    cases = []
    for number, labels in enumerate(((1, 2), (1, 2, 3), (2,))):
        hu = np.full(SHAPE, -1000, np.int16)
        hu[6:-6, 6:-6] = 40
        hu[10:32, 12:46, 5:34] = hu[-32:-10, 12:46, 5:34] = -850
        mask = np.zeros(SHAPE, np.uint8)
        for label in labels:
            low, high = boxes[label]
            mask[tuple(slice(*pair) for pair in zip(low, high, strict=True))] = label
        hu[mask > 0] = 40
        series = f"1.2.{number}"
        write_volume(root / volume_name(series), Volume(hu, AFFINE))
        write_mask(root / mask_name(series), mask, AFFINE)
        lesions = [
            lesion_of_part(part_of_mask(mask == label), AFFINE, kind=kinds[label][0], label=label, site=kinds[label][1])
            for label in labels
        ]
        if number == 2:
            lesions = [replace(lesion, label=None) for lesion in lesions]
        unknown = {letter: categories(letter, "8") for letter in "tnm"}
        files = {"image": volume_name(series), "mask": mask_name(series)}
        cases.append(
            Case(f"p{number}", f"1.1.{number}", series, **files, lesions=tuple(lesions), **unknown, edition="8")
        )
    Cohort(root, "chests", "test", training=tuple(cases)).save()
    return root


def test_the_target_is_what_lies_in_the_lung(cohort: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        first, second = chest_cases(cohort, "training")
    assert "1 of 3 scans of training are left out" in caplog.text
    assert first.labels == second.labels == (2, 1)  # the primary first
    tumour, nodule = second.reference()
    mask, _ = read_mask(second.mask)
    for part, label in ((tumour, 2), (nodule, 1)):
        drawn = np.zeros(SHAPE, dtype=bool)
        drawn[part.box] = part.mask
        np.testing.assert_array_equal(drawn, mask == label)
    assert not first.name.startswith("p") and first.name != second.name
    assert chest_cases(cohort, "training", groups=["midline node"])[1].labels == (3,)
    everything = chest_cases(cohort, ["training", "test"], outlined=False)
    assert len(everything) == 3 and everything[0].reference() == [] and everything[0].labels == ()
    assert len(first.centers_mm) == 2 and everything[0].centers_mm == first.centers_mm  # known without a mask
    assert len(chest_cases(cohort, "training", limit=1)) == 1


def test_what_cannot_be_used_is_refused(cohort: Path) -> None:
    with pytest.raises(DataError, match="part test needs an outlined scan"):
        chest_cases(cohort, "test")
    with pytest.raises(UsageError, match="a part is one of"):
        chest_cases(cohort, "tests")
    with pytest.raises(UsageError, match="lesion group"):
        chest_cases(cohort, "training", groups=["tumour"])
    broken = replace(chest_cases(cohort, "training")[0], labels=(9,))
    with pytest.raises(DataError, match="lesion 9 has no voxel"):
        broken.reference()
    for settings in (
        {"size": (0, 1, 1)}, {"count": 0}, {"lesion_fraction": 1.1}, {"reach": 0.6},
        {"hard_fraction": -0.1}, {"lesion_fraction": 0.7, "hard_fraction": 0.4},
    ):  # fmt: skip
        with pytest.raises(UsageError, match="ChestPatches"):
            ChestPatches([], VIEWS, **settings)


def test_patches_are_balanced_and_repeatable(cohort: Path, tmp_path: Path) -> None:
    cases = chest_cases(cohort, "training")
    patches = ChestPatches(cases, VIEWS, SIZE, count=30, lesion_fraction=1.0, reach=0.3, cache=tmp_path)
    assert len(patches) == 60
    torch.manual_seed(3)
    drawn = [patches[index] for index in range(len(patches))]
    assert all(item["image"].shape == (1, *SIZE) and item["image"].dtype == torch.uint8 for item in drawn)
    shares = torch.stack([item["share"] for item in drawn])
    assert shares.shape == (60, 1, *SIZE) and (shares.flatten(1).amax(dim=1) > 127).all()
    # Each lesion is as likely as the other, however small it is.
    voxel_mm3, small_mm3 = 3.0 * 3.0 * 5.0, 27 / 1.5 * 4.5 * 4.5 * 7.0
    of_the_small = (shares.float().sum(dim=(1, 2, 3, 4)) / 255 * voxel_mm3 < 1.1 * small_mm3).float().mean()
    assert 0.3 < of_the_small < 0.7
    torch.manual_seed(3)
    assert torch.equal(patches[0]["image"], drawn[0]["image"])
    none = ChestPatches(cases, VIEWS, SIZE, count=30, lesion_fraction=0.0, cache=tmp_path)
    assert sum(bool(none[index]["share"].any()) for index in range(60)) < 60


def test_a_patch_is_where_the_scan_is(cohort: Path, tmp_path: Path) -> None:
    (case, _) = chest_cases(cohort, "training")
    patches = ChestPatches([case], VIEWS, SIZE, cache=tmp_path)
    lesion: Lesion = next(one for one in load_cohort(cohort).training[0].lesions if one.kind == "primary")
    item = patches.read(0, np.array(lesion.center_mm))
    mass = item["share"][0].float() / 255
    middle = torch.stack(torch.meshgrid(*map(torch.arange, SIZE), indexing="ij")).float()
    center = (middle * mass).sum(dim=(1, 2, 3)) / mass.sum()
    np.testing.assert_allclose(center.numpy(), (np.array(SIZE) - 1) / 2, atol=0.3)
    assert float(mass.sum()) * 45.0 == pytest.approx(np.prod(lesion.size_mm), rel=0.15)
    assert item["image"][0][tuple(size // 2 for size in SIZE)] > item["image"].float().mean()
    far = patches.read(0, np.array([1000.0, 0.0, 0.0]))
    assert not far["share"].any() and far["image"].unique().numel() == 1


def test_a_patch_says_where_in_the_chest_it_lies(cohort: Path, tmp_path: Path) -> None:
    (case, _) = chest_cases(cohort, "training")
    views = ChestViews(VIEWS.spacing_mm, ["lung"], place=True)
    patches = ChestPatches([case], views, SIZE, cache=tmp_path)
    volume = read_volume(case.image)
    whole = views(volume.array, volume.affine)
    start = np.array([8, 6, 2])
    center = np.array(whole.grid.origin_mm) + (start + (np.array(SIZE) - 1) / 2) * whole.grid.spacing_mm
    patch = patches.read(0, center)["image"].float() / 255
    box = tuple(slice(low, low + size) for low, size in zip(start, SIZE, strict=True))
    torch.testing.assert_close(patch, whole.image[(slice(None), *box)], atol=0.51 / 255, rtol=0)
    assert patch.shape[0] == views.channels == 4 and views.colours == 1


def test_lungs_are_looked_for_once(cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = chest_cases(cohort, "training")
    first = ChestPatches(cases, VIEWS, SIZE, cache=tmp_path).places
    files = sorted((tmp_path / "chest").iterdir())
    assert len(files) == 2
    files[0].write_bytes(b"damaged")  # and made again
    looked = []
    monkeypatch.setattr(
        chest_patches, "lung_bound", lambda *args, own=chest_patches.lung_bound: looked.append(1) or own(*args)
    )
    again = ChestPatches(cases, VIEWS, SIZE, cache=tmp_path).places
    assert len(looked) == 1
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.elsewhere, other.elsewhere)
        np.testing.assert_array_equal(one.lungs_mm, other.lungs_mm)
        assert all(map(np.array_equal, one.lesions, other.lesions))
    no_folder = tmp_path / "file"
    no_folder.write_text("")
    assert len(ChestPatches(cases[:1], VIEWS, SIZE, cache=no_folder).places) == 1


def test_a_scan_without_lungs_is_named(cohort: Path, tmp_path: Path) -> None:
    (case, _) = chest_cases(cohort, "training")
    write_volume(tmp_path / "solid.nii", Volume(np.zeros(SHAPE, np.int16), AFFINE))
    with pytest.raises(DataError, match=rf"Case {case.name}: Lungs: a chest CT"):
        ChestPatches([replace(case, image=tmp_path / "solid.nii")], VIEWS, SIZE, cache=tmp_path)


class BrightIsLesion(torch.nn.Module):
    """Outlines all soft tissue."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return (image[:, :1] - 0.5) * 20


def hard_places(cohort: Path, cache: Path, **settings) -> HardPlaces:
    patches = ChestPatches(
        chest_cases(cohort, "training"), VIEWS, SIZE, count=20, lesion_fraction=0.4, hard_fraction=0.6, cache=cache
    )
    inferer = BoundedWindowInferer("cpu", (64, 64, 32), amp=False)
    return HardPlaces(patches, BrightIsLesion().train(), inferer, **{"epochs": 6, **settings})


def test_patches_are_drawn_where_the_network_was_wrong(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = hard_places(cohort, tmp_path)
    patches = places.patches
    centers: list[np.ndarray] = []
    monkeypatch.setattr(patches, "read", lambda case, center: centers.append(center) or {})

    def draw() -> np.ndarray:
        centers.clear()
        torch.manual_seed(5)
        assert all(patches[index] for index in range(len(patches)))
        return np.array(centers)

    before = draw()
    for epoch in (1, 2, 4):
        places.mine(epoch)
    assert not patches.hard and places.starts == {3, 5}
    places.mine(3)
    assert set(patches.hard) == {case.name for case in patches.cases} and places.network.training
    for case in patches.cases:
        mask, affine = read_mask(case.mask)
        points = np.concatenate(patches.hard[case.name])
        assert all(0 < len(part) <= POINTS for part in patches.hard[case.name])
        voxels = np.rint(np.linalg.solve(affine, np.c_[points, np.ones(len(points))].T)[:3]).astype(int)
        # What it outlines is bright, and none of it is a lesion or close to one.
        assert (read_volume(case.image).array[tuple(voxels)] > -500).mean() > 0.95
        lesion = (np.argwhere(np.isin(mask, case.labels)) @ affine[:3, :3].T) + affine[:3, 3]
        assert np.linalg.norm(points[:, None] - lesion[None], axis=2).min() > 4.0
    after = draw()
    moved = (before != after).any(axis=1)
    # Those with a lesion stay; all others are at hard places now.
    assert moved.mean() == pytest.approx(0.6, abs=0.2)
    names = [patches.cases[index % 2].name for index in range(len(patches))]
    for name, center in zip(np.array(names)[moved], after[moved], strict=True):
        away = np.abs(np.concatenate(patches.hard[name]) - center)
        assert (away <= patches.extent_mm / 2 + 1e-3).all(axis=1).any()


def test_hard_places_go_on_after_a_kill_and_cover_other_scans_each_round(cohort: Path, tmp_path: Path) -> None:
    assert hard_places(cohort, tmp_path, at_once=True).starts == {1, 3, 5}
    without = ChestPatches(chest_cases(cohort, "training"), VIEWS, SIZE, cache=tmp_path)
    inferer = BoundedWindowInferer("cpu", amp=False)
    assert not HardPlaces(without, BrightIsLesion(), inferer, epochs=6, at_once=True).starts
    places = hard_places(cohort, tmp_path, scans=1, rounds=6)
    looked = set()
    for epoch in range(2, 7):
        places.patches.hard = {}
        places.mine(epoch)
        looked |= set(places.patches.hard)
    assert len(looked) == 2
    again = hard_places(cohort, tmp_path)
    torch.save(places.state_dict(), tmp_path / "state.pt")
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for name, parts in places.patches.hard.items():
        for one, other in zip(parts, again.patches.hard[name], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("settings", [{"rounds": 0}, {"rounds": 7}, {"scans": 0}, {"threshold": 1.0}])
def test_rounds_that_cannot_be_are_refused(cohort: Path, tmp_path: Path, settings: dict) -> None:
    with pytest.raises(UsageError, match="HardPlaces: 1 to 6 rounds"):
        hard_places(cohort, tmp_path, **settings)
