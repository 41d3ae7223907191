"""Stored pixels to HU: every layout a CT may have, exact, or refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.pixels import apply_rescale, set_pixel_data
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from monai_staging.cohort.dicom.header import read_header
from monai_staging.cohort.dicom.pixels import read_planes
from monai_staging.cohort.dicom.rules import BrokenRule, Rule

PLAIN = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
SHAPE = (40, 48)
COMPRESSED = [JPEGLSLossless, JPEG2000Lossless, RLELossless]


def hounsfield(path: Path) -> np.ndarray:
    header = read_header(path)
    array = np.empty((header.frames, header.rows, header.columns), np.int16)
    read_planes(header, {frame: array[frame] for frame in range(header.frames)})
    return array


def refused(path: Path) -> BrokenRule:
    with pytest.raises(BrokenRule) as caught:
        hounsfield(path)
    return caught.value


def save(ds: pydicom.Dataset, path: Path, stored: np.ndarray, syntax: str, bits: int) -> None:
    signed = stored.dtype.kind == "i"
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, int(signed)
    if syntax in COMPRESSED:
        set_pixel_data(ds, stored, "MONOCHROME2", bits, generate_instance_uid=False)
        ds.compress(syntax, generate_instance_uid=False)
        ds.save_as(path, enforce_file_format=True)
        return
    big = syntax == ExplicitVRBigEndian
    ds.PixelData = stored.astype(stored.dtype.newbyteorder(">" if big else "<")).tobytes()
    ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = syntax
    implicit = syntax == ImplicitVRLittleEndian
    pydicom.dcmwrite(path, ds, implicit_vr=implicit, little_endian=not big, enforce_file_format=True)


@pytest.fixture
def one(write_ct):
    """One slice's file, and its data set to change."""
    data_sets = []
    written = write_ct(lambda k, ds: data_sets.append(ds), count=1, shape=SHAPE)
    return written.files[0], data_sets[0]


@pytest.mark.parametrize("syntax", [*PLAIN, *COMPRESSED])
@pytest.mark.parametrize(("bits", "signed"), [(12, False), (12, True), (16, False), (16, True), (13, True)])
def test_every_syntax_gives_the_same_hu(one, syntax, bits, signed):
    path, ds = one
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    # Within int16 after the intercept.
    low, high = max(low, -31000), min(high, 32767)
    stored = np.random.default_rng(3).integers(low, high, SHAPE).astype(np.int16 if signed else np.uint16)
    save(ds, path, stored, syntax, bits)
    np.testing.assert_array_equal(hounsfield(path)[0], stored.astype(int) - 1024)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_uncompressed_pixels_equal_pydicoms_for_any_layout(one, data):
    path, ds = one
    signed = data.draw(st.booleans())
    bits = data.draw(st.integers(8, 16))
    slope = data.draw(st.sampled_from([1, 2, -1, 3]))
    intercept = data.draw(st.integers(-2000, 2000))
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    room = sorted(((-32768 - intercept) / slope, (32767 - intercept) / slope))
    low, high = max(low, int(np.ceil(room[0]))), min(high, int(np.floor(room[1])))
    seed = data.draw(st.integers(0, 999))
    stored = np.random.default_rng(seed).integers(low, high + 1, SHAPE).astype(np.int16 if signed else np.uint16)
    ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
    save(ds, path, stored, ExplicitVRLittleEndian, bits)
    again = pydicom.dcmread(path)
    np.testing.assert_array_equal(hounsfield(path)[0], apply_rescale(again.pixel_array, again))


def test_a_sign_that_was_not_carried_into_the_unused_bits(one):
    path, ds = one
    stored = np.random.default_rng(3).integers(-2048, 2048, SHAPE)
    ds.PixelRepresentation = 1
    ds.PixelData = (stored & 0x0FFF).astype("<u2").tobytes()
    ds.save_as(path)
    np.testing.assert_array_equal(hounsfield(path)[0], stored - 1024)


def test_padding_values_are_kept(one):
    path, ds = one
    stored = np.zeros(SHAPE, np.int16)
    stored[0] = -2000
    ds.add_new("PixelPaddingValue", "SS", -2000)
    save(ds, path, stored, ExplicitVRLittleEndian, 16)
    assert hounsfield(path).min() == -3024


def test_a_slope_that_gives_whole_numbers_is_taken(one):
    path, ds = one
    ds.RescaleSlope, ds.RescaleIntercept = "0.5", "-1000"
    stored = 2 * np.random.default_rng(3).integers(0, 2000, SHAPE).astype(np.uint16)
    save(ds, path, stored, ExplicitVRLittleEndian, 12)
    np.testing.assert_array_equal(hounsfield(path)[0], stored.astype(int) // 2 - 1000)


def test_fractions_are_not_rounded(one):
    path, ds = one
    ds.RescaleSlope = "0.5"
    save(ds, path, np.ones(SHAPE, np.uint16), ExplicitVRLittleEndian, 12)
    broken = refused(path)
    assert broken.rule is Rule.FRACTIONAL_HU
    assert "slope 0.5 and intercept -1024" in broken.found


@pytest.mark.parametrize("slope", ["1", "2"])
def test_what_int16_cannot_hold_is_not_clipped(one, slope):
    path, ds = one
    ds.RescaleSlope = slope
    stored = np.full(SHAPE, 40000, np.uint16)
    save(ds, path, stored, ExplicitVRLittleEndian, 16)
    broken = refused(path)
    assert broken.rule is Rule.OUT_OF_RANGE
    assert f"{40000 * int(slope) - 1024} HU" in broken.found


def test_an_intercept_beyond_int16_still_adds_up(one):
    path, ds = one
    ds.RescaleIntercept = "-40000"
    save(ds, path, np.full(SHAPE, 39000, np.uint16), ExplicitVRLittleEndian, 16)
    assert (hounsfield(path) == -1000).all()


@pytest.mark.parametrize("value", [4096, 65535])
def test_bits_in_use_that_are_not_stored_are_refused(one, value):
    path, ds = one
    stored = np.zeros(SHAPE, np.uint16)
    stored[3, 4] = value
    ds.PixelData = stored.tobytes()
    ds.save_as(path)
    broken = refused(path)
    assert broken.rule is Rule.PIXEL_LAYOUT
    assert f"0 to {value}, which 12 bits cannot (0 to 4095)" in broken.found


def test_a_high_bit_elsewhere_is_refused(one):
    path, ds = one
    ds.HighBit = 15
    ds.save_as(path)
    assert refused(path).rule is Rule.PIXEL_LAYOUT


@pytest.mark.parametrize("syntax", [*PLAIN[:3], *COMPRESSED])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
def test_truncated_pixels_are_refused(one, syntax, part):
    path, ds = one
    stored = np.random.default_rng(3).integers(0, 4096, SHAPE).astype(np.uint16)
    save(ds, path, stored, syntax, 12)
    whole = path.read_bytes()
    start = read_header(path).pixel_offset
    path.write_bytes(whole[: start + int(part * (len(whole) - start))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom says that the file ends early
        broken = refused(path)
    assert broken.rule is Rule.TRUNCATED
    assert path.name in broken.found


def test_a_pixel_element_too_short_for_its_image_is_refused(one):
    path, ds = one
    ds.PixelData = ds.PixelData[:-2]
    ds.save_as(path)
    broken = refused(path)
    assert (broken.rule, "holds 3838 of 3840 bytes" in broken.found) == (Rule.TRUNCATED, True)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    assert refused(path).rule is Rule.TRUNCATED


def test_a_header_without_pixels_is_refused(one):
    path, ds = one
    del ds.PixelData
    ds.save_as(path)
    broken = refused(path)
    assert (broken.rule, "has no pixels" in broken.found) == (Rule.TRUNCATED, True)


def test_damaged_compressed_pixels_are_refused(one):
    path, ds = one
    save(ds, path, np.random.default_rng(3).integers(0, 4096, SHAPE).astype(np.uint16), RLELossless, 12)
    data = bytearray(path.read_bytes())
    start = read_header(path).pixel_offset
    data[start + 16 : start + 90] = b"\xff" * 74
    path.write_bytes(bytes(data))
    assert refused(path).rule is Rule.UNDECODABLE


def test_a_file_that_went_away_is_refused(one):
    path, _ = one
    header = read_header(path)
    path.unlink()
    with pytest.raises(BrokenRule) as caught:
        read_planes(header, {0: np.empty(SHAPE, np.int16)})
    assert caught.value.rule is Rule.UNREADABLE
