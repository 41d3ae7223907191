"""A CT series as a scanner would write it, for tests to break one rule at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

Edit = Callable[[int, Dataset], None]


@dataclass(frozen=True)
class WrittenSeries:
    """What `write_ct` wrote: files and HU (slice, row, column) in order along the normal, and the affine to RAS."""

    folder: Path
    files: tuple[Path, ...]
    hu: np.ndarray
    affine: np.ndarray


def ct_slice(position: Sequence[float], stored: np.ndarray, *, uid: str) -> Dataset:
    """One slice's data set, with the identity of series ``uid``."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.Modality = "CT"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.PatientID = "LUNG1-001"
    ds.PatientSex = "F"
    ds.StudyInstanceUID = f"{uid}.1"
    ds.SeriesInstanceUID = uid
    ds.FrameOfReferenceUID = f"{uid}.2"
    ds.ImagePositionPatient = [float(f"{value:.6f}") for value in position]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [0.7, 0.8]
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PixelRepresentation = 0
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
    ds.PixelData = stored.astype("<u2").tobytes()
    return ds


@pytest.fixture
def write_ct(tmp_path: Path) -> Callable[..., WrittenSeries]:
    """Writes a series of transverse slices; ``edit(k, dataset)`` may change slice k before it is saved."""

    def write(
        edit: Edit | None = None,
        *,
        folder: str = "series",
        count: int = 6,
        shape: tuple[int, int] = (6, 7),
        step: float = 3.0,
        start: float = -212.0,
        uid: str = "1.2.826.0.1.3680043.10.1",
    ) -> WrittenSeries:
        target = tmp_path / folder
        target.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(7)
        stored = rng.integers(0, 4096, (count, *shape))
        files = []
        for k in range(count):
            ds = ct_slice((-10.0, -20.0, start + k * step), stored[k], uid=uid)
            if edit is not None:
                edit(k, ds)
            # Names run against the positions, and have no suffix: they must not matter.
            files.append(target / f"IM{count - k:04d}")
            ds.save_as(files[-1], enforce_file_format=True)
        affine = np.diag([-0.8, -0.7, step, 1.0])
        affine[:3, 3] = 10.0, 20.0, start
        return WrittenSeries(target, tuple(files), (stored - 1024).astype(np.int16), affine)

    return write
