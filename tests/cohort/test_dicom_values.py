"""Values from raw bytes: the same as pydicom's own."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from monai_staging.cohort.dicom.values import integer, join, label, numbers, text, words

ENCODINGS = {
    ImplicitVRLittleEndian: (True, True),
    ExplicitVRLittleEndian: (False, True),
    ExplicitVRBigEndian: (False, False),
}


def reread(ds: Dataset, syntax=ExplicitVRLittleEndian) -> Dataset:
    """``ds`` as it comes from a file, its values still bytes."""
    implicit, little = ENCODINGS[syntax]
    buffer = io.BytesIO()
    ds.ensure_file_meta()
    ds.file_meta.TransferSyntaxUID = syntax
    dcmwrite(buffer, ds, implicit_vr=implicit, little_endian=little)
    buffer.seek(0)
    return dcmread(buffer, force=True)


@pytest.mark.parametrize("syntax", ENCODINGS)
@given(st.integers(0, 65535))
def test_whole_numbers_in_every_byte_order(syntax, value):
    ds = Dataset()
    ds.Rows = value
    ds = reread(ds, syntax)
    assert integer(ds, 0x00280010) == value == ds.Rows
    assert integer(ds, 0x00280010) == value  # converted by now
    assert integer(ds, 0x00280011, 7) == 7


def test_an_empty_number_is_the_default():
    ds = Dataset()
    ds.Rows = None
    assert integer(reread(ds), 0x00280010, 3) == 3


def test_text_raw_and_converted():
    ds = Dataset()
    ds.ImageType = ["ORIGINAL", "PRIMARY "]
    ds.PixelSpacing = [0.5, 0.25]
    ds.StudyInstanceUID = "1.2.3"
    ds.RescaleType = None
    ds = reread(ds)
    for _ in range(2):
        assert words(text(ds, 0x00080008)) == ("ORIGINAL", "PRIMARY")
        assert numbers(text(ds, 0x00280030), 2) == (0.5, 0.25)
        assert text(ds, 0x0020000D) == "1.2.3"  # padded with a zero byte in the file
        assert text(ds, 0x00281054) == text(ds, 0x00100020) == ""
        str(ds)  # pydicom converts them all


def test_labels_are_decoded_by_their_character_set():
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientID = "Müller"
    assert label(reread(ds), 0x00100020) == "Müller"


@pytest.mark.parametrize("bad", ["", "1", "1\\2\\3", "1\\x", "1\\nan", "inf\\1", "1,5\\2"])
def test_what_is_not_two_finite_numbers(bad):
    assert numbers(bad, 2) is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3))
def test_numbers_come_back(values):
    found = numbers("\\".join(f" {value!r} " for value in values), 3)
    assert found is not None
    assert all(math.isclose(a, b, abs_tol=0) for a, b in zip(found, values, strict=True))


def test_join():
    assert [join(value) for value in (None, "a", 1.5, ["a", 2])] == ["", "a", "1.5", "a\\2"]
