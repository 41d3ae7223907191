from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> Iterator[types.ModuleType]:
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("scripts_benchmark", repository / "scripts" / "benchmark.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before


@pytest.fixture
def measured(benchmark: types.ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a claim as a user does; gives the report it writes."""

    def run(claim: str, *words: object) -> dict[str, Any]:
        out = tmp_path / f"{claim}.json"
        threads = torch.get_num_threads()
        assert benchmark.main([claim, *map(str, words), "--threads", str(threads), "--out", str(out)]) == 0
        report = json.loads(out.read_text())
        assert report["benchmark"] == claim and report["machine"]["date"] and report["machine"]["versions"]["torch"]
        printed = capsys.readouterr().out
        assert f"load average {report['machine']['load_average']:g}" in printed
        for aim in report["aims"]:
            assert aim["what"] in printed
            better = aim["found"] is not None and (
                aim["found"] >= aim["limit"] if aim["at_least"] else aim["found"] <= aim["limit"]
            )
            assert aim["met"] == (None if aim["found"] is None else better)
        return report

    return run


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


def test_load_compares_the_chains(measured: Callable[..., Any], series: Path) -> None:
    report = measured("load", series, "--repeats", 2)
    found = report["series"]
    assert found["files"] == 8
    assert found["stock_reader"] in {"ITKReader", "PydicomReader"}
    assert all(own["largest_hu"] < 0.01 for own in found["difference"].values())
    # 23 x 1.6 and 19 x 1.25 and 7 x 2 mm between the outermost voxels' centres.
    assert found["shape"] == [38, 25, 15]
    assert {"stock", "bytes"} <= set(found["ratios"]) and found["ratios"]["stock"] > 0
    assert report["patches"]["patch"] == [24, 20, 8]
    assert [aim["found"] for aim in report["aims"]] == [found["ratios"]["stock"], found["ratios"].get("itk")]


def test_samples_are_drawn_from_disk_by_all(measured: Callable[..., Any], tiny_cohort: Path) -> None:
    words = ("--cohort", tiny_cohort, "--cases", 2, "--size", 16, "--repeats", 1, "--long", 4)
    report = measured("samples", *words)
    for found in report["per_volume"].values():
        assert {"ours", "persistent"} <= set(found["samples_per_second"]) and found["ratios"]["persistent"] > 0
    assert report["memory"]["samples"] == 4 * 2 * 8 and len(report["aims"]) == 3


def test_an_epoch_runs_beside_a_bare_loop(
    measured: Callable[..., Any], tiny_cohort: Path, empty_database: Path, tmp_path: Path
) -> None:
    shutil.copy(empty_database, tmp_path / "mlruns.db")
    keys = {"network": "resnet10", "width": 0.125, "channels": 8, "system_metrics": False}
    words = ("--bundles", "pretrain", "detection", "--cohort", tiny_cohort, "--batches", 2, "--repeats", 1)
    tracking = ("--tracking", f"sqlite:///{tmp_path}/mlruns.db", "--work", tmp_path, "--keys", json.dumps(keys))
    report = measured("epoch", *words, *tracking)
    assert set(report["bundles"]) == {"pretrain", "detection"}
    for found in report["bundles"].values():
        assert found["batches"] == 2 and found["ours"]["median_s"] > 0 and found["bare"]["median_s"] > 0


def test_segmentation_gives_what_monai_gives(measured: Callable[..., Any], tiny_cohort: Path) -> None:
    coarse = ("--spacing_mm", "[5,5,6]", "--window", "[32,32,16]")
    report = measured("segment", "--cohort", tiny_cohort, "--limit", 1, *coarse)
    ways = {row["way"]: row for row in report["scans"]}
    assert {"ours", "ours, fitted windows", "ours, float32", "MONAI"} <= set(ways)
    # On so coarse a grid there may be nothing to be seen; then nobody must see anything.
    found = {name: row["lesions"] for name, row in ways.items()}
    assert found["ours, float32"] == found["MONAI"]
    assert ways["MONAI"]["dice_monai"] in (None, 1) and all(row["seconds"] > 0 for row in report["scans"])


def test_the_literal_froc_has_the_same_points(measured: Callable[..., Any]) -> None:
    words = ("--scans", 20, "--lesions", 30, "--marks", 200, "--resamples", 50, "--literal", 5, "--repeats", 2)
    report = measured("froc", *words)
    assert report["largest_difference"] < 1e-12
    assert report["cpm"]["low"] <= report["cpm"]["value"] <= report["cpm"]["high"]
    assert report["literal"]["timed_resamples"] == 5


def test_all_keeps_what_it_finds_in_one_table(
    benchmark: types.ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(["all", "--claims", "startup", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "startup.json").read_text())
    assert 0 < report["processor_s"]["import monai_staging"] < 0.3
    kept = (tmp_path / "table.md").read_text()
    assert "| monai-staging --help" in kept and report["machine"]["processor"] in kept
    (tmp_path / "froc.json").write_text(json.dumps(report | {"benchmark": "froc", "aims": [NOT_MEASURED]}))
    assert benchmark.main(["table", "--out", str(tmp_path)]) == 0
    assert "not measured: it is not installed" in capfd.readouterr().out


NOT_MEASURED = {
    **{"what": "beside a peer", "found": None, "limit": 4, "at_least": True, "unit": "times", "met": None},
    "reason": "it is not installed",
}


def test_a_shift_of_one_voxel_shows(benchmark: types.ModuleType) -> None:
    from benchmarks.load import hu_difference

    volume = MetaTensor(torch.arange(60.0).reshape(1, 3, 4, 5), affine=torch.eye(4))
    shifted = MetaTensor(volume.as_tensor().roll(1, dims=3), affine=torch.eye(4))
    difference = hu_difference(volume, shifted)
    assert difference["largest_hu"] == 4
    assert difference["mean_hu"] == pytest.approx(1.6)


def test_volumes_on_different_grids_are_not_compared(benchmark: types.ModuleType) -> None:
    from benchmarks.load import hu_difference

    affine = torch.eye(4)
    affine[0, 3] = 0.5
    volume = torch.zeros(1, 3, 4, 5)
    with pytest.raises(SystemExit, match="grids differ"):
        hu_difference(MetaTensor(volume, affine=torch.eye(4)), MetaTensor(volume, affine=affine))
    with pytest.raises(SystemExit, match="grids differ"):
        hu_difference(MetaTensor(volume, affine=affine), MetaTensor(volume[..., 1:], affine=affine))
