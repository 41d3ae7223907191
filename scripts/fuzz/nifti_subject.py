"""NIfTI and MetaImage: volumes and masks, mutated in their headers, their voxels and their packing."""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import hostile
import nibabel
import numpy as np
from volumes import check_volume

from monai_staging.cohort.metaimage import read_metaimage
from monai_staging.cohort.nifti import read_nifti, read_nifti_labels
from monai_staging.cohort.volume import read_mask, read_patch, read_volume
from monai_staging.measure.images import read_image
from monai_staging.predict.study import open_study

SHAPE = (12, 10, 8)
AFFINE = np.array([[-2.0, 0, 0, 90], [0, -2.0, 0, 80], [0, 0, 3.0, -100], [0, 0, 0, 1]])
HEADER = 352
# Where a header says what, how it is packed, and what to write there.
FIELDS: tuple[tuple[str, int, str, tuple[float, ...]], ...] = (
    ("sizeof_hdr", 0, "<i", (0, 540, 348, 1543569408, -1)),
    ("dim", 40, "<8h", ()),
    ("dim[0]", 40, "<h", (0, 1, 2, 3, 4, 7, 8, -1, 32767)),
    *((f"dim[{k}]", 40 + 2 * k, "<h", (0, 1, 2, -1, 255, 4096, 20000, 32767, -32768)) for k in range(1, 5)),
    ("datatype", 70, "<h", (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, -1)),
    ("bitpix", 72, "<h", (0, 1, 8, 16, 32, 64, 128, 256, -1, 32767)),
    *((f"pixdim[{k}]", 76 + 4 * k, "<f", hostile.FLOATS) for k in range(5)),
    ("vox_offset", 108, "<f", (*hostile.FLOATS, 352.0, 348.0, 16.0, 1e6, 4e9)),
    ("scl_slope", 112, "<f", hostile.FLOATS),
    ("scl_inter", 116, "<f", hostile.FLOATS),
    ("xyzt_units", 123, "<B", (0, 1, 2, 3, 7, 255)),
    ("qform_code", 252, "<h", (0, 1, 4, 99, -1)),
    ("sform_code", 254, "<h", (0, 1, 4, 99, -1)),
    *((f"quatern {k}", 256 + 4 * k, "<f", hostile.FLOATS) for k in range(6)),
    *((f"srow {k}", 280 + 4 * k, "<f", hostile.FLOATS) for k in range(12)),
    ("magic", 344, "<4s", ()),
    ("extension", 348, "<4s", ()),
)
MAGICS = (b"n+1\0", b"ni1\0", b"n+2\0", b"\0\0\0\0", b"n+1\n", b"\xff\xff\xff\xff")
META_KEYS = (
    *("ObjectType", "NDims", "BinaryData", "BinaryDataByteOrderMSB", "CompressedData", "TransformMatrix", "Offset"),
    *("CenterOfRotation", "AnatomicalOrientation", "ElementSpacing", "DimSize", "ElementType", "ElementDataFile"),
)


class NiftiSubject:
    """Mutated volumes and masks, a file each."""

    name = "nifti"

    def __init__(self, scratch: Path) -> None:
        """Makes what is mutated."""
        rng = np.random.default_rng(0)
        hu = rng.integers(-1000, 400, SHAPE).astype(np.int16)
        mask = (rng.random(SHAPE) < 0.1).astype(np.uint8)
        self.volumes = [_nifti(own) for own in (hu, hu.astype(np.float32), hu.astype(np.int32), mask)]
        self.meta = _meta(hu)

    def make(self, rng: random.Random, folder: Path) -> str:
        """A NIfTI file, packed or not, or a MetaImage."""
        if rng.random() < 0.2:
            return self._make_meta(rng, folder)
        content, done = _mutated(rng, rng.choice(self.volumes))
        packed = rng.random() < 0.5
        if packed:
            content, how = self._packed(rng, content)
            done.append(how)
        (folder / ("file.nii.gz" if packed else "file.nii")).write_bytes(content)
        return "; ".join(filter(None, done))

    def readers(self, folder: Path) -> Mapping[str, Callable[[Path], None]]:
        """By what the file is."""
        if (folder / "file.mhd").exists():
            return {"MetaImage": _meta_image, "measure": _measure}
        packed = (folder / "file.nii.gz").exists()
        own = {"NIfTI": _volume, "NIfTI labels": _labels, "measure": _measure, "predict": _predict}
        return own if packed else {**own, "cohort volume": _cohort_volume, "patch": _patch, "mask": _mask}

    def _packed(self, rng: random.Random, content: bytes) -> tuple[bytes, str]:
        kind = rng.choice(("", "", "cut", "bytes", "twice", "not", "bomb behind", "bomb in front"))
        whole = gzip.compress(content, mtime=0)
        if kind == "cut":
            return whole[: rng.randrange(len(whole))], "gzip cut"
        if kind == "bytes":
            changed, how = hostile.mutate_bytes(rng, whole)
            return changed, f"gzip {how}"
        if kind == "twice":
            return whole + whole, "two gzip members"
        if kind == "not":
            return content, "not gzip"
        if kind:
            zeros = _bomb(rng.choice((1, 32, 128, 512)))
            return (whole + zeros if kind == "bomb behind" else zeros + whole), f"{kind}, {len(zeros)} bytes"
        return whole, ""

    def _make_meta(self, rng: random.Random, folder: Path) -> str:
        fields, data = dict(self.meta[0]), self.meta[1]
        done = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            key = rng.choice(META_KEYS)
            kind = rng.choice(("value", "value", "value", "number", "remove"))
            if kind == "remove":
                fields.pop(key, None)
            elif kind == "number" and fields.get(key, "").split():
                parts = fields[key].split()
                parts[rng.randrange(len(parts))] = rng.choice((*hostile.TEXTS, *map(str, hostile.COUNTS)))
                fields[key] = " ".join(parts)
            else:
                fields[key] = rng.choice((*hostile.TEXTS, "MET_DOUBLE", "LOCAL", "LIST", "True", "/etc/passwd", "3"))
            done.append(f"{key} {kind} {fields.get(key, '')[:40]!r}")
        if rng.random() < 0.3:
            data = zlib.compress(data)
            fields["CompressedData"] = "True"
            if rng.random() < 0.5:
                data = b"\x78\x9c" + hostile.zeros() * rng.choice((1, 8, 64))
                done.append("packed bomb")
        if rng.random() < 0.2:
            data, how = hostile.mutate_bytes(rng, data)
            done.append(f"data {how}")
        header = "".join(f"{key} = {value}\n" for key, value in fields.items()).encode("utf-8", "surrogatepass")
        if rng.random() < 0.2:
            header, how = hostile.mutate_bytes(rng, header)
            done.append(f"header {how}")
        (folder / "file.mhd").write_bytes(header)
        (folder / "file.raw").write_bytes(data)
        return "; ".join(done)


def _nifti(array: np.ndarray) -> bytes:
    image = nibabel.Nifti1Image(array, AFFINE)
    image.set_qform(AFFINE, code=1)
    image.set_sform(AFFINE, code=1)
    image.header.set_xyzt_units("mm")
    return bytes(image.to_bytes())


def _meta(array: np.ndarray) -> tuple[dict[str, str], bytes]:
    values = ("Image", "3", "True", "False", "False", "1 0 0 0 1 0 0 0 1", "-90 -80 -100", "0 0 0", "RAI", "2 2 3",
              " ".join(map(str, SHAPE)), "MET_SHORT", "file.raw")  # fmt: skip
    return dict(zip(META_KEYS, values, strict=True)), array.tobytes(order="F")


@cache
def _bomb(count: int) -> bytes:
    """A gzip member of ``count`` times 16 MiB of zeros."""
    check = 0
    for _ in range(count if count <= 32 else 0):  # of a large one nobody should come so far as to look
        check = zlib.crc32(bytes(hostile.BOMB), check)
    # An empty block ends the deflated data.
    content = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + hostile.zeros() * count + b"\x03\0"
    return content + struct.pack("<II", check, count * hostile.BOMB % 2**32)


def _mutated(rng: random.Random, content: bytes) -> tuple[bytes, list[str]]:
    changed, done = bytearray(content), []
    for _ in range(rng.choice((1, 1, 2, 3))):
        name, at, form, values = rng.choice(FIELDS)
        if form == "<4s":
            value: tuple[object, ...] = (rng.choice(MAGICS),)
        elif name == "dim":
            value = (3, *(rng.choice((1, 255, 4096, 32767)) for _ in range(3)), 1, 1, 1, 1)
        else:
            value = (rng.choice(values),)
        struct.pack_into(form, changed, at, *value)
        done.append(f"{name} {value}")
    content = bytes(changed)
    kind = rng.random()
    if kind < 0.1:
        content, how = hostile.mutate_bytes(rng, content)
        done.append(how)
    elif kind < 0.2:
        content = content[: rng.choice((0, 4, 347, 348, 352, 400, len(content) - 1))]
        done.append(f"cut to {len(content)}")
    elif kind < 0.25:
        whole = np.frombuffer(content[:HEADER], np.uint8).copy()
        header = nibabel.Nifti1Header(content[:348], check=False)
        content = header.as_byteswapped(">").binaryblock + whole[348:].tobytes() + content[HEADER:]
        done.append("big-endian header")
    return content, done


def _file(folder: Path) -> Path:
    return next(path for path in sorted(folder.iterdir()) if path.suffix != ".raw")


def _volume(folder: Path) -> None:
    check_volume(read_nifti(_file(folder)))


def _labels(folder: Path) -> None:
    array, affine = read_nifti_labels(_file(folder))
    assert array.dtype == np.int16 and np.isfinite(affine).all()


def _meta_image(folder: Path) -> None:
    check_volume(read_metaimage(_file(folder)))


def _measure(folder: Path) -> None:
    image = read_image(_file(folder))
    assert image.read(image.whole).shape == image.shape and np.isfinite(image.affine).all()


def _predict(folder: Path) -> None:
    check_volume(open_study(_file(folder)).volume)


def _cohort_volume(folder: Path) -> None:
    check_volume(read_volume(_file(folder)))


def _patch(folder: Path) -> None:
    assert read_patch(_file(folder), (-2, 3, 2), (8, 8, 8), pad=0).shape == (8, 8, 8)


def _mask(folder: Path) -> None:
    mask, affine = read_mask(_file(folder))
    assert np.isfinite(affine).all() and int(mask.max()) >= 0
