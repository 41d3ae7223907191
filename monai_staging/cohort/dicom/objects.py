"""What every DICOM object that is written needs: UIDs that follow from the content, file meta information, items."""

from __future__ import annotations

import hashlib
import io

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

IMPLEMENTATION_UID = "2.25.151867403910427180264539301826410573921"
_TEN = 10**38


def make_uid(*parts: object) -> str:
    """A UID under the 2.25 root that follows from ``parts``; always 44 characters."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{_TEN + int.from_bytes(digest[:20], 'big') % (2 * _TEN)}"


def new_file(sop_class: str, sop_instance: str) -> FileDataset:
    """An empty dataset with file meta information (Explicit VR Little Endian)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = sop_instance
    return dataset


def encode(dataset: Dataset) -> bytes:
    """The dataset as the bytes of a file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def code_item(value: str, scheme: str, meaning: str) -> Dataset:
    """The item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def reference_item(sop_class: str, sop_instance: str, frame: int | None = None) -> Dataset:
    """The item of a sequence that refers to an instance, or to one of its frames (from 1)."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    if frame is not None:
        item.ReferencedFrameNumber = frame
    return item
