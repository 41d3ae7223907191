"""Volume and mask files: exact, memory-mapped, read by ITK and nibabel as we read them."""

from __future__ import annotations

import errno
import gzip
import os
import resource
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from monai_staging.cohort.volume import Volume, read_mask, read_patch, read_volume, write_mask, write_volume
from monai_staging.errors import DataError, UsageError

SHAPE = (9, 8, 7)


def oblique(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(rng=rng).as_matrix() * rng.uniform(0.3, 5, 3)
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    return affine


def example(seed: int = 0) -> Volume:
    rng = np.random.default_rng(seed)
    array = rng.integers(-32768, 32768, SHAPE).astype(np.int16)
    return Volume(array, oblique(seed))


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "volume.nii"
    write_volume(path, example())
    return path


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.sampled_from("CF"))
def test_a_volume_comes_back_exactly(tmp_path, seed, order):
    volume = example(seed)
    path = tmp_path / "volume.nii"
    write_volume(path, Volume(np.array(volume.array, order=order), volume.affine))
    again = read_volume(path)
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_allclose(again.affine, volume.affine, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(again.spacing_mm, np.linalg.norm(volume.affine[:3, :3], axis=0), rtol=1e-5)


def test_other_readers_agree(stored):
    volume = read_volume(stored)
    by_nibabel = nibabel.load(stored)
    np.testing.assert_array_equal(np.asarray(by_nibabel.dataobj), volume.array)
    np.testing.assert_array_equal(by_nibabel.affine, volume.affine)
    assert (int(by_nibabel.header["qform_code"]), int(by_nibabel.header["sform_code"])) == (1, 1)
    by_itk = sitk.ReadImage(str(stored))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(by_itk).T, volume.array)
    corner = by_itk.TransformContinuousIndexToPhysicalPoint([8.0, 7.0, 6.0])
    ours = volume.affine @ (8, 7, 6, 1)
    np.testing.assert_allclose(corner, ours[:3] * (-1, -1, 1), atol=1e-3)


def test_reading_maps_and_does_not_copy(stored):
    volume = read_volume(stored)
    assert isinstance(volume.array, np.memmap)
    assert not volume.array.flags.writeable
    assert stored.stat().st_size == 352 + 2 * np.prod(SHAPE)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(*[st.integers(-12, 14)] * 3),
    st.tuples(*[st.integers(1, 12)] * 3),
    st.sampled_from([-1024, 0]),
)
def test_a_patch_is_a_crop_of_the_padded_volume(tmp_path, start, size, pad):
    volume = example()
    path = tmp_path / "volume.nii"
    if not path.exists():
        write_volume(path, volume)
    padded = np.pad(volume.array, 30, constant_values=pad)
    crop = tuple(slice(a + 30, a + 30 + n) for a, n in zip(start, size, strict=True))
    np.testing.assert_array_equal(read_patch(path, start, size, pad=pad), padded[crop])


def test_masks_of_both_types(tmp_path):
    path = tmp_path / "mask.nii"
    for dtype in (np.uint8, np.uint16):
        mask = np.random.default_rng(1).integers(0, 200, SHAPE).astype(dtype)
        write_mask(path, mask, oblique(3))
        again, affine = read_mask(path)
        assert again.dtype == dtype
        np.testing.assert_array_equal(again, mask)
        np.testing.assert_allclose(affine, oblique(3), rtol=1e-6)
        assert read_patch(path, (1, 1, 1), (2, 2, 2), pad=0).dtype == dtype


@pytest.mark.parametrize(
    ("start", "size"),
    [((0, 0), (1, 1)), ((0, 0, 0), (1, 1, 0)), ((0.5, 0, 0), (1, 1, 1)), ((0, 0, 0), (1.0, 1, 1))],
)
def test_a_patch_that_makes_no_sense(stored, start, size):
    with pytest.raises(UsageError, match="patch"):
        read_patch(stored, start, size)


def test_arrays_that_are_no_volume_or_mask(tmp_path):
    with pytest.raises(UsageError, match="int16 array; got 3-D float32"):
        Volume(np.zeros(SHAPE, np.float32), np.eye(4))
    with pytest.raises(UsageError, match=r"\(4, 4\); got \(3, 3\)"):
        Volume(np.zeros(SHAPE, np.int16), np.eye(3))
    with pytest.raises(UsageError, match="got 3-D int16"):
        write_mask(tmp_path / "mask.nii", np.zeros(SHAPE, np.int16), np.eye(4))
    with pytest.raises(UsageError, match=r"uncompressed \.nii, .* got volume\.nii\.gz"):
        write_volume(tmp_path / "volume.nii.gz", example())


def test_files_that_are_no_volume_of_ours(stored, tmp_path):
    def written(shape=SHAPE, dtype=np.int16):
        image = nibabel.Nifti1Image(np.zeros(shape, dtype), np.eye(4))
        path = tmp_path / "other.nii"
        path.write_bytes(image.to_bytes())
        return path

    with pytest.raises(DataError, match=r"none\.nii: cannot be read"):
        read_volume(tmp_path / "none.nii")
    with pytest.raises(DataError, match="NIfTI data type 16; expected int16"):
        read_volume(written(dtype=np.float32))
    with pytest.raises(DataError, match="NIfTI data type 2; expected int16"):
        read_volume(written(dtype=np.uint8))
    with pytest.raises(DataError, match="4 dimensions"):
        read_volume(written(shape=(2, 3, 4, 5)))
    with pytest.raises(DataError, match="expected uint8 or uint16"):
        read_mask(stored)


def test_a_header_that_would_be_read_wrongly_is_refused(stored):
    whole = stored.read_bytes()

    def patched(offset: int, data: bytes) -> None:
        stored.write_bytes(whole[:offset] + data + whole[offset + len(data) :])

    patched(112, np.array([2.0, 0.0], "<f4").tobytes())
    with pytest.raises(DataError, match="scaled by 2 and 0"):
        read_volume(stored)
    patched(254, b"\0\0")
    with pytest.raises(DataError, match="no sform"):
        read_volume(stored)
    stored.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=f"truncated, {len(whole) - 1} bytes of {len(whole)}"):
        read_volume(stored)
    stored.write_bytes(gzip.compress(whole))
    with pytest.raises(DataError, match="not a little-endian, uncompressed NIfTI-1 file"):
        read_volume(stored)


def test_a_failed_write_leaves_the_old_file(stored, monkeypatch):
    before = stored.read_bytes()
    monkeypatch.setattr(np, "ascontiguousarray", lambda *_, **__: (_ for _ in ()).throw(MemoryError("no room")))
    with pytest.raises(MemoryError):
        write_volume(stored, example(5))
    assert stored.read_bytes() == before
    assert [path.name for path in stored.parent.iterdir()] == [stored.name]


def test_a_disk_without_room_is_said(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
            write_volume(tmp_path / "a.nii", example())
        except OSError as error:
            code = error.errno
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == errno.EFBIG
    assert list(tmp_path.iterdir()) == []
