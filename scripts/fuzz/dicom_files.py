"""What is mutated: a tiny phantom as DICOM in every kind of encoding, its SEG and RTSTRUCT, difficult real files."""

from __future__ import annotations

import io
import tarfile
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from monai_staging.cohort.phantom.config import PhantomConfig, Resolution
from monai_staging.cohort.phantom.study import write_phantom_study

SIDE, SLICES, STEP_MM = 32, 4, 3.0
"""Of the series that is mutated."""
LARGEST_REAL = 400_000
PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
PACKED = (RLELossless, JPEGLSLossless, JPEG2000Lossless)


@dataclass(frozen=True)
class Base:
    """Files that are read together, before anything is done to them.

    Attributes:
        name: for reports.
        kind: ``ct``, ``seg``, ``rtstruct`` or ``real``.
        files: their content.
        images: the folder of the images that a mask is of.
    """

    name: str
    kind: str
    files: tuple[bytes, ...] = field(repr=False)
    images: Path | None = None


def encode(dataset: Dataset, *, written: str, declared: str | None = None, preamble: bytes = b"\0" * 128) -> bytes:
    """A file whose data set is encoded as ``written`` says, and said to be encoded as ``declared``."""
    meta = DicomBytesIO()
    meta.is_little_endian, meta.is_implicit_VR = True, False
    dataset.file_meta.TransferSyntaxUID = declared or written
    write_file_meta_info(meta, dataset.file_meta, enforce_standard=False)
    body = DicomBytesIO()
    body.is_little_endian = written != ExplicitVRBigEndian
    body.is_implicit_VR = written == ImplicitVRLittleEndian
    write_dataset(body, dataset)
    content = body.getvalue()
    if written == DeflatedExplicitVRLittleEndian:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        content = packer.compress(content) + packer.flush()
        content += b"\0" * (len(content) % 2)
    return preamble + b"DICM" + meta.getvalue() + content


def bases(scratch: Path, real: Path | None) -> list[Base]:
    """All of them; ``real`` is a folder of archives of difficult files, or ``None``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [*_phantoms(scratch), *(_real(real) if real is not None and real.is_dir() else ())]


def _phantoms(scratch: Path) -> Iterator[Base]:
    config = PhantomConfig(resolution=Resolution("tiny"))
    # Even ones have their lesions as SEG, odd ones as RTSTRUCT.
    folders = [scratch / write_phantom_study(scratch, index, 0, config).patient for index in (0, 1)]
    first, *_ = sorted((folders[0] / "CT").iterdir())
    template = pydicom.dcmread(first)
    slices = [_slice(template, k) for k in range(SLICES)]
    for syntax in PLAIN:
        yield Base(f"CT {syntax.name}", "ct", tuple(_written(own, syntax) for own in slices))
    for syntax in PACKED:
        packed = []
        for own in slices:
            copied = pydicom.dcmread(io.BytesIO(encode(own, written=ExplicitVRLittleEndian)))
            copied.compress(syntax, generate_instance_uid=False)
            packed.append(encode(copied, written=ExplicitVRLittleEndian, declared=syntax))
        yield Base(f"CT {syntax.name}", "ct", tuple(packed))
    yield Base("Legacy Converted Enhanced CT", "ct", (_enhanced(slices),))
    for folder, kind in zip(folders, ("SEG", "RTSTRUCT"), strict=True):
        (path,) = (folder / kind).glob("*.dcm")
        yield Base(f"{kind} of a phantom", kind.lower(), (path.read_bytes(),), folder / "CT")


def _written(dataset: Dataset, syntax: str) -> bytes:
    if syntax == ExplicitVRBigEndian:
        dataset = pydicom.dcmread(io.BytesIO(encode(dataset, written=ExplicitVRLittleEndian)))
        dataset.PixelData = dataset.pixel_array.astype(">u2").tobytes()
    return encode(dataset, written=syntax)


def _slice(template: Dataset, k: int) -> Dataset:
    own = pydicom.dcmread(io.BytesIO(encode(template, written=ExplicitVRLittleEndian)))
    rng = np.random.default_rng(k)
    middle = own.Rows // 2
    pixels = own.pixel_array[middle : middle + SIDE, middle : middle + SIDE] + rng.integers(0, 50, (SIDE, SIDE))
    own.Rows = own.Columns = SIDE
    own.PixelData = pixels.astype("<u2").tobytes()
    own.SOPInstanceUID = own.file_meta.MediaStorageSOPInstanceUID = f"{template.SeriesInstanceUID[:50]}.{k + 1}"
    own.InstanceNumber = str(k + 1)
    own.ImagePositionPatient = ["-100", "-100", str(k * STEP_MM)]
    return own


def _enhanced(slices: list[Dataset]) -> bytes:
    from highdicom.legacy import LegacyConvertedEnhancedCTImage

    whole: Any = LegacyConvertedEnhancedCTImage(
        slices, series_instance_uid="2.25.77", series_number=9, sop_instance_uid="2.25.78", instance_number=1
    )
    return encode(whole, written=ExplicitVRLittleEndian)


def _real(root: Path) -> Iterator[Base]:
    for archive in sorted(root.glob("*.tar.xz")):
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.isfile() and 132 < member.size < LARGEST_REAL:
                    opened = tar.extractfile(member)
                    assert opened is not None
                    content = opened.read()
                    if content[128:132] == b"DICM":
                        yield Base(f"{archive.name}: {Path(member.name).name}", "real", (content,))
