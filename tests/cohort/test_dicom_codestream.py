"""Compressed slices: cut codestreams and lost pixels are refused, whatever the header says or does not say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import set_pixel_data
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    JPEG2000MC,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from monai_staging.cohort.dicom import Rule, SeriesRefused, load_series
from monai_staging.cohort.dicom.header import read_header
from monai_staging.cohort.dicom.pixels import read_planes
from monai_staging.cohort.dicom.rules import BrokenRule

SHAPE = (40, 48)
LOSSLESS = [JPEGLosslessSV1, JPEGLossless, JPEGLSLossless, JPEG2000Lossless]


def stored(count: int = 1) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 4096, (count, *SHAPE)).astype(np.uint16)


def codestream(ds: pydicom.Dataset, pixels: np.ndarray, syntax: str, **options) -> bytes:
    """``pixels`` of one frame as the file of a syntax holds them."""
    if syntax in (JPEGLosslessSV1, JPEGLossless):
        path = Path(ds.filename).with_name("itk.dcm")
        writer = sitk.ImageFileWriter()
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        writer.Execute(sitk.GetImageFromArray(pixels[None].astype(np.int16)), str(path), True, -1)
        own = pydicom.dcmread(path)
        path.unlink()
        # Its predictor is the first, which the general syntax has too.
        assert own.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    else:
        own = pydicom.dcmread(ds.filename)
        set_pixel_data(own, pixels, "MONOCHROME2", 12, generate_instance_uid=False)
        own.compress(syntax, generate_instance_uid=False, **options)
    return next(generate_frames(own.PixelData, number_of_frames=1))


def save(path: Path, frames: list[bytes], syntax: str, *, fragments: int = 1, table: bool = True, **values) -> None:
    ds = pydicom.dcmread(path)
    ds.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=table)
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax
    ds.BitsStored, ds.HighBit = 12, 11
    if len(frames) > 1:
        ds.NumberOfFrames = len(frames)
    for name, value in values.items():
        setattr(ds, name, value)
    ds.save_as(path, enforce_file_format=True)


def hounsfield(path: Path) -> np.ndarray:
    header = read_header(path)
    array = np.empty((header.frames, header.rows, header.columns), np.int16)
    read_planes(header, {0: array[0]})
    return array


@pytest.fixture
def one(write_ct):
    return write_ct(count=1, shape=SHAPE).files[0]


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("padding", [b"", b"\0\0\0\0", b"\xff", b" \0", b"\n"])
def test_a_whole_codestream_is_read_exactly(one, syntax, padding):
    pixels = stored()[0]
    save(one, [codestream(pydicom.dcmread(one), pixels, syntax) + padding], syntax)
    np.testing.assert_array_equal(hounsfield(one)[0], pixels.astype(int) - 1024)


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("part", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("fragments", [1, 3])
def test_a_cut_codestream_in_a_whole_fragment_is_refused(one, syntax, part, fragments):
    whole = codestream(pydicom.dcmread(one), stored()[0], syntax).rstrip(b"\0")
    save(one, [whole[: int(part * len(whole))]], syntax, fragments=fragments)
    with pytest.raises(BrokenRule) as caught:
        hounsfield(one)
    assert caught.value.rule is Rule.TRUNCATED
    assert f"frame 1 of 1 in {one.name} has no end (FF D9)" in caught.value.found


@pytest.mark.filterwarnings("ignore:The end of the encapsulated pixel data:UserWarning:pydicom")
@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("fragments", [1, 2])
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_any_cut_frame_of_several_is_refused(one, fragments, table, cut):
    ds = pydicom.dcmread(one)
    frames = [codestream(ds, pixels, JPEGLSLossless).rstrip(b"\0") for pixels in stored(3)]
    frames[cut] = frames[cut][:-100]
    save(one, frames, JPEGLSLossless, fragments=fragments, table=table)
    with pytest.raises(BrokenRule) as caught:
        hounsfield(one)
    assert caught.value.rule is Rule.TRUNCATED


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless, JPEGLSLossless])
def test_one_cut_slice_refuses_the_series(write_ct, syntax):
    written = write_ct(count=4, shape=SHAPE)
    for k, (path, pixels) in enumerate(zip(written.files, stored(4), strict=True)):
        frame = codestream(pydicom.dcmread(path), pixels, syntax).rstrip(b"\0")
        save(path, [frame[: len(frame) // 2] if k == 2 else frame], syntax)
    with pytest.raises(SeriesRefused, match="Case LUNG1-001: the codestream of frame 1 of 1 in IM0002") as caught:
        load_series(written.folder)
    assert caught.value.rule is Rule.TRUNCATED


def series(write_ct, made_with: str, syntax: str, values: dict[str, str], **options):
    """A series compressed by one syntax and stored under another; its exact HU."""
    written = write_ct(count=3, shape=SHAPE)
    pixels = stored(3)
    for path, own in zip(written.files, pixels, strict=True):
        save(path, [codestream(pydicom.dcmread(path), own, made_with, **options)], syntax, **values)
    return written.folder, pixels.astype(int) - 1024


STATED = {"LossyImageCompression": "00"}


@pytest.mark.parametrize(
    ("made_with", "options", "syntax", "stated", "words"),
    [
        (JPEG2000, {"j2k_cr": [5]}, JPEG2000, {}, "irreversible wavelet"),
        (JPEG2000, {"j2k_cr": [5]}, JPEG2000, STATED, "irreversible wavelet"),
        (JPEG2000, {"j2k_cr": [5]}, JPEG2000MC, STATED, "irreversible wavelet"),
        (JPEG2000, {"j2k_cr": [5]}, HTJ2K, STATED, "irreversible wavelet"),
        (JPEG2000, {"j2k_cr": [5]}, JPEG2000Lossless, {}, "irreversible wavelet"),
        (JPEG2000Lossless, {}, JPEG2000, {}, "not stated to be lossless (JPEG 2000"),
        (JPEGLSNearLossless, {"jls_error": 2}, JPEGLSNearLossless, {}, "NEAR 2"),
        (JPEGLSNearLossless, {"jls_error": 2}, JPEGLSLossless, STATED, "NEAR 2"),
        (JPEGLossless, {}, JPEGExtended12Bit, STATED, "JPEG Extended"),
    ],
)
def test_what_may_have_lost_something_is_refused(write_ct, made_with, options, syntax, stated, words):
    folder, _ = series(write_ct, made_with, syntax, stated, **options)
    with pytest.raises(SeriesRefused) as caught:
        load_series(folder)
    assert (caught.value.rule, words in caught.value.found) == (Rule.LOSSY, True), caught.value.found


@pytest.mark.parametrize(
    ("made_with", "syntax", "stated"),
    [(JPEG2000Lossless, JPEG2000, STATED), (JPEGLSLossless, JPEGLSNearLossless, {}), (JPEGLossless, JPEGLossless, {})],
)
def test_what_is_lossless_under_a_syntax_that_need_not_be_is_read(write_ct, made_with, syntax, stated):
    folder, expected = series(write_ct, made_with, syntax, stated)
    np.testing.assert_array_equal(load_series(folder).array.T, expected)


def test_lossy_codestreams_are_read_when_asked_for(write_ct):
    folder, expected = series(write_ct, JPEGLSNearLossless, JPEGLSNearLossless, {}, jls_error=2)
    assert np.abs(load_series(folder, allow_lossy=True).array.T - expected).max() == 2


@pytest.mark.parametrize(
    "content", [b"\xff\xd8\xff", b"\xff\xd8\xff\xf7\x00\x0b\x08", b"\xff\x4f\xff\x51\x00", b"none"]
)
def test_a_codestream_that_says_nothing_is_not_taken_for_lossless(write_ct, content):
    written = write_ct(count=2, shape=SHAPE)
    for path in written.files:
        save(path, [content], JPEG2000)
    with pytest.raises(SeriesRefused, match="not stated to be lossless"):
        load_series(written.folder)


def test_a_codestream_of_several_tiles_tells_the_wavelet_of_each(write_ct):
    written = write_ct(count=2, shape=SHAPE)
    for path in written.files:
        frame = codestream(pydicom.dcmread(path), stored()[0], JPEG2000Lossless).rstrip(b"\0")
        tile = frame.find(b"\xff\x90")
        length = int.from_bytes(frame[tile + 6 : tile + 10], "big")
        # Another COD in a second tile-part, whose transformation is the irreversible one.
        cod = frame[frame.find(b"\xff\x52") :][:14]
        second = cod[:13] + b"\0" + b"\xff\x93"
        part = b"\xff\x90\x00\x0a\x00\x00" + (12 + len(second)).to_bytes(4, "big") + b"\x01\x02" + second
        save(path, [frame[: tile + length] + part + b"\xff\xd9"], JPEG2000Lossless)
    with pytest.raises(SeriesRefused, match="irreversible wavelet"):
        load_series(written.folder)
