"""One file's header: where its pixels lie, and what cannot be parsed."""

from __future__ import annotations

import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from monai_staging.cohort.dicom.header import read_header
from monai_staging.cohort.dicom.rules import BrokenRule, Rule


@pytest.fixture
def one(write_ct):
    data_sets = []
    written = write_ct(lambda k, ds: data_sets.append(ds), count=1)
    return written.files[0], data_sets[0]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_uncompressed_pixels_are_located(one, syntax):
    path, ds = one
    ds["PixelData"].VR = "OW"
    ds.file_meta.TransferSyntaxUID = syntax
    little = syntax != ExplicitVRBigEndian
    pydicom.dcmwrite(
        path, ds, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=little, enforce_file_format=True
    )
    header = read_header(path)
    assert (header.syntax, header.pixel_bytes) == (syntax, len(ds.PixelData))
    data = path.read_bytes()
    assert data[header.pixel_offset : header.pixel_offset + header.pixel_bytes] == ds.PixelData
    assert header.file_bytes == len(data)


def test_compressed_pixels_have_no_plain_length(one):
    path, ds = one
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)
    header = read_header(path)
    assert header.pixel_bytes is None
    assert path.read_bytes()[header.pixel_offset :][:4] == b"\xfe\xff\x00\xe0"


def test_what_a_header_holds(one):
    path, ds = one
    ds.SliceThickness, ds.ConvolutionKernel, ds.GantryDetectorTilt = "3.0", "B30f", "1.5"
    ds.save_as(path, enforce_file_format=True)
    header = read_header(path)
    (plane,) = header.planes
    assert (header.patient, header.study, header.series) == ("LUNG1-001", ds.StudyInstanceUID, ds.SeriesInstanceUID)
    assert (header.rows, header.columns, header.frames, header.samples) == (6, 7, 1, 1)
    assert (header.bits_allocated, header.bits_stored, header.high_bit, header.signed) == (16, 12, 11, False)
    assert (header.lossy, header.tilt_degrees) == (False, 1.5)
    assert header.attributes == {"PatientSex": "F", "SliceThickness": "3.0", "ConvolutionKernel": "B30f"}
    assert (plane.position, plane.orientation) == ((-10.0, -20.0, -212.0), (1, 0, 0, 0, 1, 0))
    assert (plane.pixel_spacing, plane.slope, plane.intercept, plane.rescale_type) == ((0.7, 0.8), 1, -1024, "HU")
    assert plane.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")


@pytest.mark.parametrize("content", [b"", b"\0" * 300, b"\0" * 128 + b"DICM\x02\x00\x10\x00UI\x04\x00x"])
def test_what_is_no_dicom_cannot_be_parsed(tmp_path, content):
    path = tmp_path / "x.dcm"
    path.write_bytes(content)
    with pytest.raises(BrokenRule, match=r"x\.dcm cannot be parsed as DICOM") as caught:
        read_header(path)
    assert caught.value.rule is Rule.UNREADABLE


def test_a_number_of_frames_that_is_none(one):
    path, ds = one
    ds.NumberOfFrames = 1
    ds.save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes().replace(b"IS\x02\x001 ", b"IS\x02\x00x "))
    with pytest.raises(BrokenRule, match="cannot be parsed"):
        read_header(path)
