from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_staging.cohort.volume import Volume, read_volume, write_mask, write_volume
from monai_staging.errors import DataError
from monai_staging.transforms.loading import LoadVolume, LoadVolumed

AFFINE = np.diag([-0.75, -0.75, 2.5, 1.0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    hu = generator.integers(-1024, 2000, (7, 6, 5), dtype=np.int16)
    write_volume(tmp_path / "volume.nii", Volume(hu, AFFINE))
    write_mask(tmp_path / "mask.nii", (hu > 0).astype(np.uint8), AFFINE)
    return tmp_path


def test_volume_with_its_affine_by_relative_or_absolute_path(folder: Path) -> None:
    expected = read_volume(folder / "volume.nii")
    for found in (LoadVolume(root=folder)("volume.nii"), LoadVolume()(folder / "volume.nii")):
        assert isinstance(found, MetaTensor) and found.dtype == torch.int16
        np.testing.assert_array_equal(found.numpy()[0], expected.array)
        np.testing.assert_allclose(found.affine.numpy(), AFFINE)


def test_writing_to_it_never_reaches_the_file(folder: Path) -> None:
    before = (folder / "volume.nii").read_bytes()
    volume = LoadVolume(folder)("volume.nii")
    volume.fill_(7)
    assert bool((volume == 7).all())
    assert (folder / "volume.nii").read_bytes() == before


def test_dictionary_twin_reads_masks_as_masks(folder: Path) -> None:
    item = {"image": "volume.nii", "mask": "mask.nii", "t": ["T1a"]}
    found = LoadVolumed(("image", "mask"), root=folder, mask_keys="mask")(item)
    assert found["mask"].dtype == torch.uint8 and found["t"] == ["T1a"]
    assert torch.equal(found["mask"].as_tensor().bool(), found["image"].as_tensor() > 0)
    assert item["image"] == "volume.nii"
    assert "mask" not in LoadVolumed(("image", "mask"), folder, ["mask"], allow_missing_keys=True)(
        {"image": "volume.nii"}
    )


def test_what_is_no_volume_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="expected 4|data type"):
        LoadVolume(folder)("mask.nii")
    with pytest.raises(DataError, match="data type"):
        LoadVolume(folder, mask=True)("volume.nii")
    with pytest.raises(DataError, match=r"absent\.nii"):
        LoadVolume(folder)("absent.nii")
    with pytest.raises(DataError, match=r"a \.nii file is needed, found a folder"):
        LoadVolume(mask=True)(folder)
    with pytest.raises(DataError, match="image must be a path, found a Tensor"):
        LoadVolumed("image")({"image": torch.zeros(1)})


def test_a_folder_is_read_as_dicom(lidc_series: Path) -> None:
    found = LoadVolume()(lidc_series)
    assert found.shape == (1, 512, 512, 275) and found.dtype == torch.int16
    np.testing.assert_allclose(np.linalg.norm(found.affine.numpy()[:3, :3], axis=0), [0.78125, 0.78125, 1.0])
    assert int(found.min()) < -900 and int(found.max()) > 500


def test_a_folder_without_a_series_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one CT series"):
        LoadVolume()(tmp_path)
