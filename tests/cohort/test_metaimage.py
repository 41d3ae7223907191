from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.cohort.dicom import Rule, SeriesRefused
from monai_staging.cohort.metaimage import read_meta_header, read_metaimage

HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = -195 -190 -378
CenterOfRotation = 0 0 0
AnatomicalOrientation = RAI
ElementSpacing = 0.75 0.5 2.5
DimSize = 4 3 2
ElementType = MET_SHORT
ElementDataFile = image.raw
"""
HU = np.arange(-1000, -976, dtype=np.int16).reshape(2, 3, 4)  # slice, row, column


def write(folder: Path, *changes: tuple[str, str], data: bytes | None = None) -> Path:
    text = HEADER
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "image.mhd").write_text(text)
    (folder / "image.raw").write_bytes(HU.tobytes() if data is None else data)
    return folder / "image.mhd"


def test_hu_and_ras(tmp_path: Path) -> None:
    volume = read_metaimage(write(tmp_path))
    assert (volume.array == HU.transpose(2, 1, 0)).all()
    assert (volume.shape, volume.spacing_mm) == ((4, 3, 2), (0.75, 0.5, 2.5))
    assert volume.affine.tolist() == [[-0.75, 0, 0, 195], [0, -0.5, 0, 190], [0, 0, 2.5, -378], [0, 0, 0, 1]]


def world(image: SimpleITK.Image, index: tuple[int, int, int]) -> np.ndarray:
    return np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)


@settings(max_examples=25)
@given(
    st.sampled_from([np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32]),
    st.booleans(),
    st.tuples(*[st.integers(2, 5)] * 3),
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.integers(0, 99),
)
def test_agrees_with_simple_itk(tmp_path_factory, kind, compressed, shape, order, signs, seed) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    low = max(np.iinfo(kind).min, -2000)
    array = rng.integers(low, min(np.iinfo(kind).max, 3000), shape[::-1]).astype(kind)
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((0.625, 0.75, 2.5))
    image.SetOrigin(tuple(rng.uniform(-300, 300, 3).round(3)))
    image.SetDirection((np.eye(3)[list(order)] * signs).ravel().tolist())
    path = tmp_path_factory.mktemp("itk") / "scan.mhd"
    SimpleITK.WriteImage(image, str(path), useCompression=compressed)
    volume = read_metaimage(path)
    assert (volume.array == array.transpose(2, 1, 0)).all()
    for index in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), tuple(n - 1 for n in shape)):
        assert volume.affine[:3] @ [*index, 1] == pytest.approx(world(image, index), abs=1e-4)


def test_an_oblique_image_agrees_with_simple_itk(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(HU)
    angle = np.deg2rad(30)
    image.SetDirection((np.cos(angle), -np.sin(angle), 0, np.sin(angle), np.cos(angle), 0, 0, 0, 1))
    SimpleITK.WriteImage(image, str(tmp_path / "scan.mhd"))
    volume = read_metaimage(tmp_path / "scan.mhd")
    assert volume.affine[:3] @ [3, 2, 1, 1] == pytest.approx(world(image, (3, 2, 1)), abs=1e-4)


def test_big_endian_and_gzip(tmp_path: Path) -> None:
    swapped = HU.astype(">i2").tobytes()
    path = write(tmp_path, ("ByteOrderMSB = False", "ByteOrderMSB = True"), data=swapped)
    assert (read_metaimage(path).array == HU.transpose(2, 1, 0)).all()
    path = write(tmp_path, ("CompressedData = False", "CompressedData = True"), data=gzip.compress(HU.tobytes()))
    assert (read_metaimage(path).array == HU.transpose(2, 1, 0)).all()


@pytest.mark.parametrize(
    ("old", "new", "rule", "found"),
    [
        ("ObjectType = Image", "ObjectType = Tube", Rule.PIXEL_LAYOUT, "ObjectType must be Image; found 'Tube'"),
        ("NDims = 3", "NDims = 4", Rule.PIXEL_LAYOUT, "NDims must be 3"),
        ("NDims = 3\n", "", Rule.UNREADABLE, "no NDims"),
        ("BinaryData = True", "BinaryData = False", Rule.PIXEL_LAYOUT, "BinaryData must be True"),
        ("NDims = 3", "NDims = 3\nHeaderSize = -1", Rule.PIXEL_LAYOUT, "HeaderSize must be 0; found '-1'"),
        ("NDims = 3", "NDims = 3\nElementNumberOfChannels = 3", Rule.PIXEL_LAYOUT, "ElementNumberOfChannels"),
        ("MET_SHORT", "MET_FLOAT", Rule.PIXEL_LAYOUT, "found 'MET_FLOAT'"),
        ("4 3 2", "4 3", Rule.MISSING_GEOMETRY, "DimSize must be 3 numbers; found '4 3'"),
        ("4 3 2", "4 3.5 2", Rule.PIXEL_LAYOUT, "whole numbers"),
        ("4 3 2", "4 0 2", Rule.PIXEL_LAYOUT, "whole numbers"),
        ("4 3 2", "400000 400000 400000", Rule.PIXEL_LAYOUT, "from 1 to 32767"),
        ("4 3 2", "4 3 1", Rule.TOO_FEW_SLICES, "1 slice"),
        ("0.75 0.5 2.5", "0.75 0.5 0", Rule.MISSING_GEOMETRY, "positive"),
        ("0.75 0.5 2.5", "a b c", Rule.MISSING_GEOMETRY, "ElementSpacing must be 3 numbers; found 'a b c'"),
        ("-195 -190 -378", "-195 -190 inf", Rule.MISSING_GEOMETRY, "Offset must be 3 numbers"),
        ("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0.2 1", Rule.NOT_ORTHOGONAL, "perpendicular unit vectors"),
        ("CompressedData = False", "CompressedData = Maybe", Rule.UNREADABLE, "must be True or False; found 'Maybe'"),
        ("image.raw", "LOCAL", Rule.UNREADABLE, "one file beside it; found 'LOCAL'"),
        ("image.raw", "../image.raw", Rule.UNREADABLE, "found '../image.raw'"),
        ("image.raw", "/etc/passwd", Rule.UNREADABLE, "found '/etc/passwd'"),
        ("image.raw", "image%02d.raw 1 2 1", Rule.UNREADABLE, "one file"),
        ("NDims = 3", "NDims = 3\nNDims = 3", Rule.UNREADABLE, "'NDims' twice"),
        ("NDims = 3", "NDims", Rule.UNREADABLE, "'NDims' without a value"),
    ],
)
def test_refuses_a_header(tmp_path: Path, old: str, new: str, rule: Rule, found: str) -> None:
    path = write(tmp_path, (old, new))
    with pytest.raises(SeriesRefused, match=found) as caught:
        read_meta_header(path)
    assert (caught.value.rule, caught.value.files) == (rule, (path,))


def test_refuses_what_is_no_header(tmp_path: Path) -> None:
    with pytest.raises(SeriesRefused, match=r"nothing.mhd cannot be read \(No such file"):
        read_meta_header(tmp_path / "nothing.mhd")
    for content, found in ((b"\xff\xfe\x00", "is no text"), (b"\n" * 70000, "longer than a header")):
        (tmp_path / "image.mhd").write_bytes(content)
        with pytest.raises(SeriesRefused, match=found):
            read_meta_header(tmp_path / "image.mhd")


COMPRESSED = ("CompressedData = False", "CompressedData = True")
WIDE = ("MET_SHORT", "MET_INT")


@pytest.mark.parametrize(
    ("changes", "data", "rule", "found"),
    [
        ((), HU.tobytes()[:-1], Rule.TRUNCATED, "47 bytes of 48"),
        ((), HU.tobytes() + b"\0", Rule.PIXEL_LAYOUT, "more than the 48 bytes"),
        ((COMPRESSED,), zlib.compress(HU.tobytes()[:-2]), Rule.TRUNCATED, "46 bytes of 48"),
        ((COMPRESSED,), zlib.compress(bytes(10**6)), Rule.PIXEL_LAYOUT, "more than the 48 bytes"),
        ((COMPRESSED,), b"no zlib at all", Rule.UNDECODABLE, "cannot be decompressed"),
        ((WIDE,), (HU.astype("<i4") + 40000).tobytes(), Rule.OUT_OF_RANGE, "values from 39000 to 39023"),
    ],
)
def test_refuses_data(
    tmp_path: Path, changes: tuple[tuple[str, str], ...], data: bytes, rule: Rule, found: str
) -> None:
    path = write(tmp_path, *changes, data=data)
    with pytest.raises(SeriesRefused, match=found) as caught:
        read_metaimage(path)
    assert (caught.value.rule, caught.value.files) == (rule, (path, tmp_path / "image.raw"))


def test_refuses_data_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "image.raw").unlink()
    with pytest.raises(SeriesRefused, match=r"image.raw: cannot be read \(No such file"):
        read_metaimage(path)
