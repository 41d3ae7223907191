"""Sizes that are claimed and not there are refused before there is room made for them, whatever the format."""

from __future__ import annotations

import gzip
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from monai_staging.archives import check_zip, read_npz
from monai_staging.cohort.dicom import SeriesRefused, load_series
from monai_staging.cohort.limits import implausible, overclaimed, oversized
from monai_staging.cohort.masks import mask_from_seg
from monai_staging.cohort.metaimage import read_metaimage
from monai_staging.cohort.nifti import read_nifti, read_nifti_labels
from monai_staging.cohort.volume import Volume, read_volume, write_volume
from monai_staging.errors import LONGEST, DataError
from monai_staging.measure.images import read_image
from monai_staging.predict.study import open_study
from monai_staging.tnm.reading import open_table

AFFINE = np.diag([-0.7, -0.7, 2.0, 1.0])
ROOM = 2**29


@pytest.fixture(autouse=True)
def little_room():
    """Whatever makes room for what is claimed fails here."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def refused(read, *arguments) -> SeriesRefused:
    with pytest.raises(SeriesRefused) as caught:
        read(*arguments)
    error = caught.value
    while error is not None:
        assert not isinstance(error, MemoryError)
        error = error.__cause__ or error.__context__
    return caught.value


def nifti(path: Path, *, packed: bool = False, **fields) -> Path:
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), AFFINE)
    image.header.set_xyzt_units("mm")
    content = bytearray(image.to_bytes())
    for (form, at), value in fields.get("patched", {}).items():
        struct.pack_into(form, content, at, *value)
    path.write_bytes(gzip.compress(bytes(content)) if packed else content)
    return path


DIMS = {("<8h", 40): (3, 1200, 1200, 1200, 1, 1, 1, 1)}


@pytest.mark.parametrize("read", [read_nifti, read_nifti_labels])
def test_a_nifti_that_claims_what_it_has_not(read, tmp_path):
    plain = nifti(tmp_path / "a.nii", patched=DIMS)
    assert refused(read, plain).rule.value == "truncated"
    packed = nifti(tmp_path / "a.nii.gz", packed=True, patched=DIMS)
    error = refused(read, packed)
    assert error.rule.value == "implausible-size"
    assert "a.nii.gz: 3456000352 bytes are claimed of" in str(error)
    large = nifti(tmp_path / "b.nii", patched={("<8h", 40): (3, 32767, 32767, 32767, 1, 1, 1, 1)})
    assert "at most 2 Gi voxels are read; 32767 x 32767 x 32767 are claimed" in str(refused(read, large))


@pytest.mark.parametrize("read", [read_image, open_study])
def test_what_is_measured_and_predicted_on_does_not_claim_either(read, tmp_path):
    for path in (nifti(tmp_path / "a.nii", patched=DIMS), nifti(tmp_path / "a.nii.gz", packed=True, patched=DIMS)):
        with pytest.raises(DataError, match="bytes"):
            read(path)


def test_a_nifti_with_a_bomb_behind_it_is_not_unpacked(tmp_path):
    path = nifti(tmp_path / "a.nii.gz", packed=True)
    packer = zlib.compressobj(wbits=31)
    piece = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(path.read_bytes() + piece * 128)
    assert refused(read_nifti, path).rule.value == "pixel-layout"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 3e9])
def test_an_offset_that_is_none(value, tmp_path):
    path = nifti(tmp_path / "a.nii", patched={("<f", 108): (value,)})
    assert refused(read_nifti, path).rule.value in ("unreadable", "truncated", "pixel-layout")
    with pytest.raises(DataError):
        read_volume(path)


def test_a_quaternion_that_is_none(tmp_path):
    path = nifti(tmp_path / "a.nii", patched={("<h", 252): (1,), ("<f", 260): (255.0,)})
    assert "its header is not read as NIfTI-1 (w2 should be positive" in str(refused(read_nifti, path))


@pytest.mark.parametrize(
    ("affine", "found"),
    [
        (np.diag([1e5, 1, 1, 1]), "voxels of 100000 x 1 x 1 mm"),
        (np.diag([1e-9, 1, 1, 1]), "voxels of 1e-09 x 1 x 1 mm"),
        (np.diag([900.0, 900.0, 900.0, 1]), "more than two cubic metres"),
        (np.diag([np.nan, 1, 1, 1]), "not finite"),
        (AFFINE + 1e7 * np.eye(4, k=3), "more than a kilometre away"),
    ],
)
def test_no_scan_lies_like_that(affine, found, tmp_path):
    assert found in (implausible((64, 64, 64), affine) or "")
    array = np.zeros((64, 64, 64), np.int16, order="F")
    write_volume(tmp_path / "a.nii", Volume(array, AFFINE))
    content = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<12f", content, 280, *affine[:3].ravel())
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(DataError, match=found):
        read_volume(tmp_path / "a.nii")


def test_what_people_scan_is_plausible():
    assert implausible((512, 512, 2000), np.diag([0.98, 0.98, 1.0, 1])) is None
    assert implausible((2048, 2048, 500), np.diag([0.15, 0.15, 0.25, 1])) is None
    assert oversized((1024, 1024, 2048)) is None and oversized((1024, 1024, 2049)) is not None
    assert overclaimed(2**26, 1, 1) is None and overclaimed(2**26 + 1, 2**20, 64) is not None


def test_a_metaimage_that_claims_what_it_has_not(tmp_path):
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nElementType = MET_SHORT\nElementDataFile = a.raw\n"
        "ElementSpacing = 0.7 0.7 1\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nDimSize = 1200 1200 1200\n"
    )
    path = tmp_path / "a.mhd"
    (tmp_path / "a.raw").write_bytes(zlib.compress(bytes(1000)))
    path.write_text(header)
    assert refused(read_metaimage, path).rule.value == "truncated"
    path.write_text(header + "CompressedData = True\n")
    assert refused(read_metaimage, path).rule.value == "implausible-size"
    path.write_text(header.replace("a.raw", ""))
    assert "ElementDataFile must be one file beside it" in str(refused(read_metaimage, path))


def test_a_series_that_claims_what_it_has_not(write_ct):
    def huge(k, ds):
        ds.Rows = ds.Columns = 16384
        ds.PixelSpacing = [0.01, 0.01]

    assert refused(load_series, write_ct(huge).folder).rule.value == "truncated"


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_a_compressed_series_that_claims_what_it_has_not(syntax, write_ct):
    def huge(k, ds):
        ds.compress(syntax, generate_instance_uid=False)
        ds.Rows = ds.Columns = 16384
        ds.PixelSpacing = [0.01, 0.01]

    error = refused(load_series, write_ct(huge, shape=(40, 48)).folder)
    assert error.rule.value == "implausible-size" and "bytes are claimed of" in error.found


def test_a_codestream_of_another_size_than_the_file_says_is_not_decoded(write_ct):
    def other(k, ds):
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        frame = bytearray(next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)))
        at = frame.index(b"\xff\x4f\xff\x51") + 8
        frame[at : at + 8] = struct.pack(">II", 60000, 60000)
        ds.PixelData = encapsulate([bytes(frame)])

    error = refused(load_series, write_ct(other, shape=(40, 48)).folder)
    assert error.rule.value == "pixel-layout"
    assert "the codestream of frame 1 is of 60000 x 60000 pixels, the file says 48 x 40" in error.found


def test_a_deflated_bomb_is_not_unpacked(write_ct):
    written = write_ct()
    for path in written.files:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(path, enforce_file_format=True)
        content = path.read_bytes()
        start = content.index(b"1.2.840.10008.1.2.1.99")
        meta = 144 + struct.unpack("<I", content[140:144])[0]
        assert start < meta
        packer = zlib.compressobj(wbits=-15)
        head = packer.compress(zlib.decompress(content[meta:], -15)) + packer.flush(zlib.Z_FULL_FLUSH)
        piece = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
        path.write_bytes(content[:meta] + head + piece * 64 + packer.flush())
    with pytest.raises(DataError, match="unpacks its [0-9]+ bytes to more than [0-9]+; refuse a bomb"):
        load_series(written.folder)


def test_a_length_that_is_longer_than_the_file_makes_no_room(write_ct):
    path = write_ct(count=1).files[0]
    content = bytearray(path.read_bytes())
    at = content.index(b"\x10\x00\x20\x00LO")
    content[at + 4 : at + 8] = b"UT\0\0"
    content[at + 8 : at + 12] = struct.pack("<I", 0x7FFFFFF0)
    path.write_bytes(content)
    with pytest.raises(DataError):
        load_series(path.parent)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PixelSpacing", ["1e300", "1e300"]),
        ("PixelSpacing", ["4000", "4000"]),
        ("ImagePositionPatient", ["1e308", "0", "0"]),
        ("ImagePositionPatient", ["-1e9", "0", "0"]),
    ],
)
def test_a_series_that_lies_where_no_scan_does(keyword, value, write_ct):
    def moved(k, ds):
        ds[keyword].value = [*value[:2], str(3.0 * k)] if keyword == "ImagePositionPatient" else value

    error = refused(load_series, write_ct(moved).folder)
    assert error.rule.value == "implausible-size" and f"{float(value[0]):g}" in error.found


def test_a_decoder_that_panics_is_a_refusal(write_ct):
    """RLE whose segments hold more than the frame: the decoder, in Rust, raises what is no Exception."""

    def damaged(k, ds):
        ds.compress(RLELossless, generate_instance_uid=False)
        frame = bytearray(next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)))
        frame[64:] = b"\x7f" + bytes(range(128)) + bytes(frame[64:])
        ds.PixelData = encapsulate([bytes(frame)])

    error = refused(load_series, write_ct(damaged, shape=(40, 48)).folder)
    assert error.rule.value == "undecodable"


def test_a_seg_that_claims_what_it_has_not(dicom_robustness_root):
    path = next(dicom_robustness_root.rglob("liver.dcm"))
    dataset = pydicom.dcmread(path)
    dataset.Rows = dataset.Columns = 60000
    error = refused(mask_from_seg, dataset, Volume(np.zeros((4, 4, 4), np.int16), AFFINE))
    assert error.rule.value == "implausible-size"


def test_a_message_has_an_end(write_ct):
    def endless(k, ds):
        ds.RescaleType = "A" * 60000

    error = refused(load_series, write_ct(endless).folder)
    assert len(str(error)) < LONGEST and "characters)" in str(error)


def test_an_archive_that_holds_more_than_its_size_allows(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", bytes(2**26 + 1))
    with pytest.raises(DataError, match=r"a.xlsx: an archive may hold 100 times its size; found 67108865 bytes in"):
        open_table(tmp_path / "a.xlsx")
    (tmp_path / "none.zip").write_bytes(b"PK")
    check_zip(tmp_path / "none.zip")  # for its reader to say


def test_an_array_that_claims_more_than_its_part_of_the_archive(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 3), np.uint8))
    assert read_npz(tmp_path / "a.npz", ["images"])["images"].shape == (2, 3)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        content = archive.read("images.npy")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("images.npy", content.replace(b"(2, 3), }      ", b"(2000000000,), }", 1)[: len(content) + 1])
    with pytest.raises(DataError, match=r"array 'images' claims \[2000000000\] uint8"):
        read_npz(tmp_path / "b.npz", ["images"])


def test_limits_cost_no_import():
    code = "import sys, monai_staging.tnm.reading; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
