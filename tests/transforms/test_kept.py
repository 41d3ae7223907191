from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Compose

from monai_staging.cohort.volume import Volume, read_mask, read_volume, write_mask, write_volume
from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.kept import KeepResampled, KeepResampledd
from monai_staging.transforms.patches import RandPatches, RandPatchesd

AFFINE = np.array([[-0.5, 0, 0, 20.0], [0, -0.5, 0, 15.0], [0, 0, 2.0, -30.0], [0, 0, 0, 1]])
SHAPE = (60, 50, 20)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    i, j, k = np.indices(SHAPE)
    write_volume(tmp_path / "volume.nii", Volume((i + 7 * j - 5 * k).astype(np.int16), AFFINE))
    mask = np.zeros(SHAPE, np.uint8)
    mask[20:40, 10:30, 5:15] = 3
    write_mask(tmp_path / "mask.nii", mask, AFFINE)
    return {"image": str(tmp_path / "volume.nii"), "mask": str(tmp_path / "mask.nii")}


def test_patches_of_what_is_kept_are_those_that_are_resampled_alone(files: dict[str, str], tmp_path: Path) -> None:
    keep = KeepResampledd(("image", "mask"), tmp_path / "kept", 1.5, mask_keys="mask")
    draw = RandPatchesd(("image", "mask"), 8, count=6, lesion_fraction=0, mask_keys="mask").set_random_state(1)
    again = RandPatches(8, spacing_mm=1.5)
    for patch in Compose([keep, draw])(files):
        center = patch["image"].affine.numpy() @ [3.5, 3.5, 3.5, 1]
        for key in ("image", "mask"):
            alone = again.read(Path(files[key]), center[:3], AFFINE, mask=key == "mask")
            assert torch.allclose(patch[key].affine, alone.affine)
            assert (patch[key] - alone).abs().max() <= (0 if key == "mask" else 0.5)
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_a_volume_is_resampled_once_and_again_when_it_changes(files: dict[str, str], tmp_path: Path) -> None:
    keep = KeepResampled(tmp_path / "kept", (1.0, 1.0, 2.0))
    first = keep(files["image"])
    written = first.stat().st_mtime_ns
    assert keep(files["image"]) == first and first.stat().st_mtime_ns == written
    assert read_volume(first).spacing_mm == (1.0, 1.0, 2.0) and read_volume(first).array.dtype == np.int16
    write_volume(files["image"], Volume(np.zeros(SHAPE, np.int16), AFFINE))
    os.utime(files["image"], ns=(written + 1, written + 1))
    second = keep(files["image"])
    assert second != first and not read_volume(second).array.any()
    assert KeepResampled(tmp_path / "kept", 2.0)(files["image"]) != second


def test_a_mask_keeps_its_labels(files: dict[str, str], tmp_path: Path) -> None:
    kept, _ = read_mask(KeepResampled(tmp_path / "kept", 0.7, mask=True)(files["mask"]))
    assert set(np.unique(kept)) == {0, 3} and kept.dtype == np.uint8


def test_what_cannot_be_kept(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="above 0 mm are needed, found 0"):
        KeepResampled(tmp_path, 0)
    with pytest.raises(DataError, match=r"nowhere.nii cannot be read \(No such file"):
        KeepResampled(tmp_path, 1)("nowhere.nii")
    with pytest.raises(DataError, match="image must be a path, found a int"):
        KeepResampledd("image", tmp_path, 1)({"image": 3})
