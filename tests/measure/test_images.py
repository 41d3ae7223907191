"""Files of voxels, and whether two lie on one grid."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from monai_staging.cohort.dicom import SeriesRefused
from monai_staging.errors import DataError
from monai_staging.measure.images import Image, check_same_grid, read_image

AFFINE = np.array([[0.0, -0.7, 0.1, 30], [0.8, 0, 0, -20], [0, 0, 2.5, -500], [0, 0, 0, 1]])
VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 50


def nifti(path: Path, values: np.ndarray = VALUES, affine: np.ndarray | None = AFFINE, **header: object) -> Path:
    image = nibabel.Nifti1Image(values, affine)
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def values(image: Image) -> np.ndarray:
    return image.read(image.whole)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ"])
def test_nifti(tmp_path: Path, name: str) -> None:
    image = read_image(nifti(tmp_path / name))
    assert image.shape == (4, 5, 6)
    assert np.allclose(image.affine, AFFINE, atol=1e-5)
    assert np.array_equal(values(image), VALUES)
    assert np.array_equal(image.read((slice(1, 3), slice(0, 5), slice(2, 4))), VALUES[1:3, :, 2:4])


def test_nifti_of_other_types_and_with_a_dimension_of_one(tmp_path: Path) -> None:
    scaled = nibabel.Nifti1Image(VALUES, AFFINE)
    scaled.header.set_slope_inter(2, -1000)
    nibabel.save(scaled, tmp_path / "scaled.nii")
    stored = np.asarray(nibabel.load(tmp_path / "scaled.nii").dataobj)
    assert np.allclose(values(read_image(tmp_path / "scaled.nii")), stored)
    flat = read_image(nifti(tmp_path / "flat.nii", VALUES.astype(np.float32)[..., None]))
    assert flat.shape == (4, 5, 6)
    assert np.array_equal(flat.read((slice(1, 3), slice(0, 5), slice(2, 4))), VALUES[1:3, :, 2:4])
    second = nibabel.Nifti2Image(VALUES, AFFINE)
    nibabel.save(second, tmp_path / "second.nii")
    assert np.array_equal(values(read_image(tmp_path / "second.nii")), VALUES)


def test_metaimage_lies_where_nifti_does(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(VALUES.T)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-100, 20, -300))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    for name in ("a.mhd", "a.nii.gz"):
        SimpleITK.WriteImage(image, tmp_path / name)
    meta, other = read_image(tmp_path / "a.mhd"), read_image(tmp_path / "a.nii.gz")
    check_same_grid(meta, other)
    assert np.array_equal(values(meta), values(other))


def test_what_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        read_image(tmp_path / "none.nii")
    with pytest.raises(DataError, match="expected one CT series; found 0"):
        read_image(tmp_path)
    for name in ("a.nrrd", "a.mha"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VALUES.T), tmp_path / name)
        with pytest.raises(DataError, match=rf"^{name}: an image is .nii, .nii.gz, .mhd with its data beside it or a"):
            read_image(tmp_path / name)
    (tmp_path / "a.mhd").write_text("ObjectType = Image")
    with pytest.raises(SeriesRefused, match=r"a.mhd"):
        read_image(tmp_path / "a.mhd")


def test_damaged_nifti(tmp_path: Path) -> None:
    (tmp_path / "text.nii").write_text("voxels")
    with pytest.raises(DataError, match="text.nii: not read as NIfTI"):
        read_image(tmp_path / "text.nii")
    whole = nifti(tmp_path / "whole.nii").read_bytes()
    (tmp_path / "cut.nii").write_bytes(whole[:-20])
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(whole)[:-20])
    for name in ("cut.nii", "cut.nii.gz"):
        with pytest.raises(DataError, match=f"{name}: (its voxels are not read|not read as NIfTI)"):
            values(read_image(tmp_path / name))


@pytest.mark.parametrize(
    ("array", "affine", "header", "found"),
    [
        (VALUES[..., 0], AFFINE, {}, "three dimensions are measured; found 4 x 5"),
        (np.stack([VALUES, VALUES], -1), AFFINE, {}, "three dimensions are measured; found 4 x 5 x 6 x 2"),
        (VALUES.astype(np.complex64), AFFINE, {}, "a voxel is one number; found complex64"),
        (VALUES, AFFINE, {"xyzt_units": 1}, "must be in mm; found NIfTI unit 1"),
        (VALUES, None, {}, "neither sform nor qform"),
    ],
)
def test_nifti_that_cannot_be_trusted(tmp_path: Path, array, affine, header, found: str) -> None:
    with pytest.raises(DataError, match=f"^a.nii: .*{found}"):
        read_image(nifti(tmp_path / "a.nii", array, affine, **header))


def test_voxels_for_which_there_is_no_memory_are_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError

    path = tmp_path / "large.nii"
    nibabel.Nifti1Image(np.zeros((5, 4, 3), np.int16), np.eye(4)).to_filename(path)
    image = read_image(path)
    monkeypatch.setattr(nibabel.arrayproxy.ArrayProxy, "__getitem__", exhausted)
    with pytest.raises(DataError, match=r"large.nii: its 5 x 4 x 3 voxels \(int16\) take more memory than there is"):
        image.read(image.whole)


def test_voxels_without_a_volume(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", qform_code=0)
    content = bytearray(path.read_bytes())
    content[280:292] = bytes(12)  # the first row of the sform, but for its offset
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a.nii: An affine gives voxels a volume; found"):
        read_image(path)


def image(affine: np.ndarray, shape: tuple[int, ...] = (40, 30, 20)) -> Image:
    return Image(Path("x.nii"), shape, affine, np.zeros(shape).__getitem__)


def test_grids_agree_but_for_what_writing_them_loses() -> None:
    check_same_grid(image(AFFINE), image(AFFINE.astype(np.float32).astype(np.float64)))
    check_same_grid(image(AFFINE), image(np.array([[float(f"{v:.6g}") for v in row] for row in AFFINE])))


@pytest.mark.parametrize(
    ("row", "column", "by"), [(0, 3, 0.01), (2, 3, -0.5), (2, 2, 0.001), (0, 0, 0.001), (1, 0, -1.6)]
)
def test_other_grids_are_refused(row: int, column: int, by: float) -> None:
    other = AFFINE.copy()
    other[row, column] += by
    with pytest.raises(DataError, match=r"must share one grid; found voxel \(\d+, \d+, \d+\) lies .* mm apart"):
        check_same_grid(image(AFFINE), image(other))


def test_other_shapes_are_refused_and_voxels_of_other_size_even_alone() -> None:
    with pytest.raises(DataError, match="found 40 x 30 x 19 and 40 x 30 x 20 voxels; refuse to resample"):
        check_same_grid(image(AFFINE), image(AFFINE, (40, 30, 19)))
    other = AFFINE.copy()
    other[:3, :3] *= 2
    with pytest.raises(DataError, match="must share one grid"):
        check_same_grid(image(AFFINE, (1, 1, 1)), image(other, (1, 1, 1)))
