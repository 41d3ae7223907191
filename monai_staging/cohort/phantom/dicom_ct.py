"""Writes a CT series as DICOM files.

The header is encoded once; per slice only the fields that change are replaced, in place, which is many times faster
than encoding each file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import CTImageStorage

from monai_staging.cohort.dicom.objects import encode, make_uid, new_file
from monai_staging.cohort.phantom.canvas import Canvas
from monai_staging.errors import DataError

INTERCEPT = -1024
DATE, TIME = "20200102", "101500"
# Stand-ins in the encoded header, each as long as what replaces it.
MARKS = {
    "instance": "000000000009", "x": "-911111.12345678", "y": "-922222.12345678", "z": "-933333.12345678",
    "location": "-944444.12345678",
}  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """The names of one phantom in DICOM."""

    seed: int
    index: int
    configuration: str
    age: int
    sex: str

    def uid(self, what: str, number: int = 0) -> str:
        """UID of ``study``, ``series``, ``frame``, ``image`` ... of this phantom."""
        return make_uid("phantom", self.seed, self.index, self.configuration, what, number)

    @property
    def patient(self) -> str:
        """PatientID."""
        return f"PH-{self.seed}-{self.index:04d}"

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID."""
        return self.uid("study")

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID of the CT."""
        return self.uid("series")

    @property
    def frame_uid(self) -> str:
        """FrameOfReferenceUID."""
        return self.uid("frame")


def describe(dataset: Dataset, identity: Identity, modality: str, what: str, number: int) -> None:
    """Adds patient, study, series and equipment, which all objects of the study share."""
    values: dict[str, Any] = {
        "PatientName": f"Phantom^{identity.index:04d}", "PatientID": identity.patient, "PatientBirthDate": "",
        "PatientSex": identity.sex, "PatientAge": f"{identity.age:03d}Y",
        "StudyInstanceUID": identity.study_uid, "StudyDate": DATE, "StudyTime": TIME, "StudyID": "1",
        "StudyDescription": "Chest phantom", "AccessionNumber": "", "ReferringPhysicianName": "",
        "SeriesInstanceUID": identity.uid(what), "SeriesNumber": str(number), "SeriesDate": DATE, "SeriesTime": TIME,
        "Modality": modality, "Manufacturer": "monai_staging", "ManufacturerModelName": "Phantom",
        "FrameOfReferenceUID": identity.frame_uid, "PositionReferenceIndicator": "",
    }  # fmt: skip
    for name, value in values.items():
        setattr(dataset, name, value)


def _number(value: float) -> str:
    """A decimal string of exactly 16 characters."""
    return f"{value:.6f}"[:16].rjust(16)


def _template(identity: Identity, canvas: Canvas) -> FileDataset:
    scanner = canvas.scanner
    dataset = new_file(CTImageStorage, make_uid("placeholder"))
    describe(dataset, identity, "CT", "series", 2)
    contrast = scanner.phase != "none"
    values: dict[str, Any] = {
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "SpecificCharacterSet": "ISO_IR 100",
        "ContentDate": DATE, "ContentTime": TIME, "AcquisitionDate": DATE, "AcquisitionTime": TIME,
        "SeriesDescription": f"Chest {scanner.slice_thickness_mm:g} mm {scanner.kernel}",
        "BodyPartExamined": "CHEST", "PatientPosition": "HFS", "KVP": "120", "XRayTubeCurrent": "200",
        "ConvolutionKernel": scanner.kernel, "SliceThickness": f"{scanner.slice_thickness_mm:g}",
        "SpacingBetweenSlices": f"{scanner.slice_spacing_mm:g}", "ReconstructionDiameter":
        f"{scanner.field_of_view_mm:.4f}",
        "GantryDetectorTilt": "0", "AcquisitionNumber": "1", "InstanceNumber": MARKS["instance"],
        "ImagePositionPatient": [MARKS["x"], MARKS["y"], MARKS["z"]],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"], "SliceLocation": MARKS["location"],
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "Rows": scanner.matrix,
        "Columns": scanner.matrix, "PixelSpacing": [f"{scanner.spacing_mm:.6f}"] * 2, "BitsAllocated": 16,
        "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0, "RescaleIntercept": str(INTERCEPT),
        "RescaleSlope": "1", "RescaleType": "HU", "WindowCenter": ["40", "-600"], "WindowWidth": ["400", "1500"],
    }  # fmt: skip
    if contrast:
        values["ContrastBolusAgent"] = "Iodine"
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.PixelData = b""
    return dataset


class CTWriter:
    """Writes the slices of one series."""

    def __init__(self, folder: Path, identity: Identity, canvas: Canvas) -> None:
        """Encodes the header."""
        self.folder, self.identity, self.canvas = folder, identity, canvas
        folder.mkdir(parents=True, exist_ok=True)
        header = encode(_template(identity, canvas))
        # Pixel data is the last element: its length, then the pixels.
        self.size = 2 * canvas.scanner.matrix**2
        self.header = header[:-4] + self.size.to_bytes(4, "little")
        self.marks = [make_uid("placeholder"), *MARKS.values()]
        missing = [mark for mark in self.marks if mark.encode() not in header]
        if missing:
            raise DataError(f"Phantom {identity.patient}: the header was encoded without its stand-ins {missing}.")

    def uid(self, k: int) -> str:
        """SOPInstanceUID of slice ``k`` (counted from the feet)."""
        return self.identity.uid("image", k)

    def write(self, k: int, hu: np.ndarray) -> None:
        """Writes slice ``k``: (rows, columns) int16 HU. Instance numbers count from the head, as scanners do."""
        canvas = self.canvas
        number = canvas.shape[0] - k
        z = canvas.z_mm(k)
        values = [self.uid(k), f"{number:012d}"]
        values += [_number(v) for v in (canvas.origin[0], canvas.origin[1], z, z)]
        header = self.header
        for mark, value in zip(self.marks, values, strict=True):
            header = header.replace(mark.encode(), value.encode())
        pixels = (hu.astype(np.int32) - INTERCEPT).astype("<u2")
        with open(self.folder / f"{number:04d}.dcm", "wb") as file:
            file.write(header)
            file.write(pixels.tobytes())
