from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> types.ModuleType:
    path = repository / "scripts" / "benchmark.py"
    spec = importlib.util.spec_from_file_location("scripts_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def threads() -> int:
    return torch.get_num_threads()


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Eight slices of 24 x 20 pixels, 1.6 x 1.25 x 2 mm."""
    random = np.random.default_rng(0)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    folder = tmp_path / "series"
    folder.mkdir()
    for k in range(8):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_ = Dataset()
        slice_.file_meta = meta
        slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        slice_.PatientID, slice_.Modality = "phantom", "CT"
        slice_.StudyInstanceUID, slice_.SeriesInstanceUID, slice_.FrameOfReferenceUID = study, series, frame
        slice_.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        slice_.InstanceNumber = k + 1
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        slice_.ImagePositionPatient = [-10, -20, 30 + 2 * k]
        slice_.PixelSpacing = [1.25, 1.6]
        slice_.SliceThickness = 2
        slice_.Rows, slice_.Columns = 20, 24
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 16, 16, 15, 1
        slice_.RescaleSlope, slice_.RescaleIntercept, slice_.RescaleType = 1, -24, "HU"
        slice_.PixelData = random.integers(-1000, 500, (20, 24), dtype=np.int16).tobytes()
        slice_.save_as(folder / f"{k}.dcm", enforce_file_format=True)
    return folder


def test_load_compares_both_chains(
    benchmark: types.ModuleType, series: Path, threads: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "load.json"
    arguments = ["load", str(series), "--repeats", "2", "--threads", str(threads), "--out", str(out)]
    assert benchmark.main([*arguments, "--json"]) == 0
    printed = capsys.readouterr().out
    report = json.loads(printed)
    assert report == json.loads(out.read_text())
    assert report["series"]["files"] == 8
    assert report["series"]["stock_reader"] in {"ITKReader", "PydicomReader"}
    assert report["series"]["difference"]["largest_hu"] < 0.01
    # 23 x 1.6 and 19 x 1.25 and 7 x 2 mm between the outermost voxels' centres.
    assert report["series"]["shape"] == [38, 25, 15]
    ours, stock = report["series"]["ours"]["median_s"], report["series"]["stock"]["median_s"]
    assert report["series"]["ratio"] == pytest.approx(stock / ours, rel=0.05)
    assert report["patches"]["patch"] == [24, 20, 8]
    assert benchmark.main(arguments) == 0
    assert "ratio" in capsys.readouterr().out


def test_a_shift_of_one_voxel_shows(benchmark: types.ModuleType) -> None:
    volume = MetaTensor(torch.arange(60.0).reshape(1, 3, 4, 5), affine=torch.eye(4))
    shifted = MetaTensor(volume.as_tensor().roll(1, dims=3), affine=torch.eye(4))
    difference = benchmark.hu_difference(volume, shifted)
    assert difference["largest_hu"] == 4
    assert difference["mean_hu"] == pytest.approx(1.6)


def test_volumes_on_different_grids_are_not_compared(benchmark: types.ModuleType) -> None:
    affine = torch.eye(4)
    affine[0, 3] = 0.5
    volume = torch.zeros(1, 3, 4, 5)
    with pytest.raises(SystemExit, match="grids differ"):
        benchmark.hu_difference(MetaTensor(volume, affine=torch.eye(4)), MetaTensor(volume, affine=affine))
    with pytest.raises(SystemExit, match="grids differ"):
        benchmark.hu_difference(MetaTensor(volume, affine=affine), MetaTensor(volume[..., 1:], affine=affine))
