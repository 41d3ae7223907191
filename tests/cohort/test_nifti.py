from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.cohort.dicom import SeriesRefused
from monai_staging.cohort.nifti import read_nifti, read_nifti_labels

AFFINE = np.array([[-0.75, 0, 0, 195], [0, 0.5, 0, -190], [0, 0, 2.5, -378], [0, 0, 0, 1]])
HU = np.arange(-1000, -976, dtype=np.int16).reshape(4, 3, 2)


def write(path: Path, values: np.ndarray = HU, affine: Any = AFFINE, **header: Any) -> Path:
    """A file of nibabel's, but for the header's fields that are given."""
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    if header:
        content = path.read_bytes()
        fields = nibabel.Nifti1Header(content[:348], check=False)
        for name, value in header.items():
            fields[name] = value
        path.write_bytes(fields.binaryblock + content[348:])
    return path


@settings(max_examples=30)
@given(
    st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]),
    st.sampled_from(["scan.nii", "scan.nii.gz"]),
    st.tuples(*[st.integers(2, 5)] * 3),
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.integers(0, 99),
)
def test_agrees_with_simple_itk(tmp_path_factory, kind, name, shape, order, signs, seed) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    low = -2000 if np.issubdtype(kind, np.floating) else max(np.iinfo(kind).min, -2000)
    array = rng.integers(low, 255 if kind == np.uint8 else 3000, shape[::-1]).astype(kind)
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((0.625, 0.75, 2.5))
    image.SetOrigin(tuple(rng.uniform(-300, 300, 3).round(3)))
    image.SetDirection((np.eye(3)[list(order)] * signs).ravel().tolist())
    path = tmp_path_factory.mktemp("itk") / name
    SimpleITK.WriteImage(image, str(path))
    volume = read_nifti(path)
    assert volume.array.dtype == np.int16
    assert (volume.array == array.transpose(2, 1, 0)).all()
    for index in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), tuple(n - 1 for n in shape)):
        world = np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        assert volume.affine[:3] @ [*index, 1] == pytest.approx(world, abs=1e-3)


@pytest.mark.parametrize("endianness", ["<", ">"])
def test_scaled_values_and_either_byte_order(tmp_path: Path, endianness: str) -> None:
    header = nibabel.Nifti1Header(endianness=endianness)
    header.set_data_dtype(np.dtype(np.uint16).newbyteorder(endianness))
    image = nibabel.Nifti1Image(HU + 1024, AFFINE, header)
    image.header.set_slope_inter(1, -1024)
    # nibabel divides by the slope as it writes: these bytes are written as they are.
    content = bytearray(image.to_bytes())
    content[-48:] = (HU + 1024).astype(f"{endianness}u2").tobytes(order="F")
    content[112:120] = np.array([1, -1024], f"{endianness}f4").tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    assert (read_nifti(tmp_path / "a.nii").array == HU).all()


def test_the_qform_serves_where_there_is_no_sform(tmp_path: Path) -> None:
    turned = AFFINE.copy()
    cosine, sine = np.cos(0.3), np.sin(0.3)
    turned[:3, :3] = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) @ AFFINE[:3, :3]
    image = nibabel.Nifti1Image(HU, turned)
    image.set_qform(turned, code=1)
    image.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    assert np.allclose(read_nifti(tmp_path / "a.nii.gz").affine, turned, atol=1e-4)


def sheared(by: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[1, 2] = by
    return affine


def stretched() -> np.ndarray:
    affine = AFFINE.copy()
    affine[0, 3] += 1
    return affine


@pytest.mark.parametrize(
    ("values", "affine", "header", "rule", "words"),
    [
        (HU, None, {}, "missing-geometry", "neither sform nor qform"),
        (HU, AFFINE, {"xyzt_units": 1}, "missing-geometry", "found NIfTI unit 1"),
        (HU, AFFINE, {"srow_x": [0, 0, 0, 5]}, "missing-geometry", "gives voxels no volume"),
        (HU, AFFINE, {"srow_x": [np.nan, 0, 0, 5]}, "missing-geometry", "gives voxels no volume"),
        (HU, np.eye(4), {}, "missing-geometry", "is the identity"),
        (HU, AFFINE, {"srow_x": [-1.75, 0, 0, 195]}, "missing-geometry", r"\[0.75, 0.5, 2.5\] and \[1.75, 0.5, 2.5\]"),
        (HU, sheared(0.3), {}, "not-orthogonal", "axes are not perpendicular"),
        (HU[..., 0], AFFINE, {}, "pixel-layout", "found 4 x 3"),
        (np.stack([HU, HU], -1), AFFINE, {}, "pixel-layout", "found 4 x 3 x 2 x 2"),
        (HU[..., :1], AFFINE, {}, "too-few-slices", "1 slice"),
        (HU.astype(np.complex64), AFFINE, {}, "pixel-layout", "found complex64"),
        (HU / np.float32(3000), AFFINE, {}, "fractional-hu", "slice 0 has values that are no whole numbers, as -0.33"),
        (HU.astype(np.int32) * 100, AFFINE, {}, "out-of-range", "slice 0 has values from -100000 to -97800"),
        (np.where(HU == -977, np.nan, HU), AFFINE, {}, "out-of-range", "slice 1 has values from nan"),
    ],
)
def test_what_cannot_be_trusted_is_refused(
    tmp_path: Path, values: np.ndarray, affine: Any, header: dict[str, Any], rule: str, words: str
) -> None:
    path = write(tmp_path / "a.nii", values, affine, **header)
    with pytest.raises(SeriesRefused, match=rf"a\.nii: .*{words}") as refused:
        read_nifti(path)
    assert (refused.value.rule.value, refused.value.files) == (rule, (path,))


def test_forms_that_contradict_each_other(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(HU, AFFINE)
    image.set_qform(stretched(), code=1)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(SeriesRefused, match="sform and qform put a corner 1 mm apart; refuse to choose"):
        read_nifti(tmp_path / "a.nii")


def flipped(content: bytes) -> bytes:
    """A file of stored (not deflated) blocks with one voxel's bit turned: only the checksum tells."""
    stored = bytearray(gzip.compress(content, compresslevel=0))
    stored[-20] ^= 1
    return bytes(stored)


@pytest.mark.parametrize(
    ("name", "damage", "rule", "words"),
    [
        ("a.nii", lambda content: content[:-5], "truncated", "43 bytes of voxels, of 48"),
        ("a.nii", lambda content: content + b"\0", "pixel-layout", "more than the 48 bytes"),
        ("a.nii", lambda content: content[:200], "unreadable", "header is not read"),
        ("a.nii", lambda _: b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(400), "unreadable", ""),
        ("a.nii", lambda content: content[:344] + b"ni1\0" + content[348:], "unreadable", "magic"),
        ("a.nii.gz", lambda content: gzip.compress(content)[:-20], "truncated", "ends before the file does"),
        ("a.nii.gz", lambda content: content, "undecodable", "Not a gzipped file"),
        ("a.nii.gz", flipped, "undecodable", "CRC check failed"),
    ],
)
def test_damage(tmp_path: Path, name: str, damage: Callable[[bytes], bytes], rule: str, words: str) -> None:
    content = write(tmp_path / "whole.nii").read_bytes()
    (tmp_path / name).write_bytes(damage(content))
    with pytest.raises(SeriesRefused, match=rf"{name}: .*{words}") as refused:
        read_nifti(tmp_path / name)
    assert refused.value.rule.value == rule


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(SeriesRefused, match="none.nii: cannot be read .No such file"):
        read_nifti(tmp_path / "none.nii")


def test_labels(tmp_path: Path) -> None:
    marked = (HU > -980).astype(np.float32)
    labels, affine = read_nifti_labels(write(tmp_path / "a.nii.gz", marked))
    assert (labels == marked).all()
    assert np.allclose(affine, AFFINE)
    with pytest.raises(SeriesRefused, match="no whole numbers, as 0.5") as refused:
        read_nifti_labels(write(tmp_path / "half.nii", marked / 2))
    assert refused.value.rule.value == "not-a-mask"
