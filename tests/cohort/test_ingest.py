from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from monai_staging.cohort import load_cohort
from monai_staging.cohort.cohort import volume_name
from monai_staging.cohort.ingest import IngestOptions, ingest
from monai_staging.cohort.lock import exclusive
from monai_staging.cohort.sources.base import SourceOptions
from monai_staging.cohort.splits import SplitOptions
from monai_staging.cohort.volume import read_volume
from monai_staging.errors import DataError, UsageError

Trees = Callable[[int], Path]
ONE = IngestOptions(workers=1)


@pytest.fixture
def raw(tmp_path: Path, write_ct: Callable[..., Any]) -> Trees:
    """A tree of so many patients of one series each, and a table that labels them."""

    def write(patients: int, shape: tuple[int, int] = (12, 14)) -> Path:
        for number in range(patients):

            def edit(_: int, ds: pydicom.Dataset, patient: str = f"P{number:02d}") -> None:
                ds.PatientID = patient

            write_ct(edit, folder=f"raw/{number}", uid=f"1.2.826.0.1.3680043.10.{number + 1}", count=5, shape=shape)
        rows = [f"P{number:02d},T{1 + number % 4},N{number % 3},M0" for number in range(patients)]
        (tmp_path / "raw" / "clinical.csv").write_text("patient,T,N,M\n" + "\n".join(rows) + "\n")
        return tmp_path / "raw"

    return write


def content(out: Path) -> dict[str, str]:
    """Every file of a cohort but the journal, by its digest."""
    files = (path for path in out.rglob("*") if path.is_file() and ".ingest" not in path.parts)
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def volumes_written(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "volumes").iterdir()}


def test_a_cohort_of_every_readable_series(raw: Trees, tmp_path: Path) -> None:
    root = raw(6)
    # One slice of patient 3 goes missing, and a file that is no DICOM lies about.
    sorted((root / "3").iterdir())[2].unlink()
    (root / "notes.txt").write_text("hello")
    result = ingest("folder", root, tmp_path / "out", IngestOptions(workers=2, split=SplitOptions(0.2, 2)))
    cohort = load_cohort(tmp_path / "out")
    assert cohort == result.cohort
    assert sorted(case.patient for case in cohort.cases) == ["P00", "P01", "P02", "P04", "P05"]
    assert [len(cases) for cases in cohort.parts.values()] == [2, 2, 1]
    assert cohort.spacing == (0.8, 0.7, 3.0)
    for case in cohort.cases:
        assert case.image == volume_name(case.series)
        assert case.t[0].startswith(f"T{1 + int(case.patient[1:]) % 4}")
        files = sorted((root / str(int(case.patient[1:]))).iterdir(), reverse=True)
        slices = [pydicom.dcmread(file) for file in files]
        expected = np.stack([ds.pixel_array.astype(np.int16) - 1024 for ds in slices]).transpose(2, 1, 0)
        np.testing.assert_array_equal(read_volume(cohort.image_path(case)).array, expected)
    rejected = json.loads((tmp_path / "out" / "rejected.json").read_text())
    assert [set(entry) for entry in rejected] == [{"patient", "study", "series", "rule", "found", "files"}]
    assert (rejected[0]["patient"], rejected[0]["rule"]) == ("P03", "missing-slices")
    assert rejected[0]["files"] == [f"3/IM{k:04d}" for k in (1, 2, 4, 5)]
    assert not [path for path in content(tmp_path / "out") if "P0" in path]


def test_the_same_bytes_whatever_the_number_of_workers(raw: Trees, tmp_path: Path) -> None:
    root = raw(5)
    for workers in (1, 2):
        ingest("folder", root, tmp_path / f"out{workers}", IngestOptions(workers=workers))
    assert content(tmp_path / "out1") == content(tmp_path / "out2")


@pytest.mark.usefixtures("reads_here")
def test_only_what_changed_is_done_again(raw: Trees, tmp_path: Path) -> None:
    root, out = raw(4), tmp_path / "out"
    first = ingest("folder", root, out, ONE)
    before = volumes_written(out)
    ingest("folder", root, out, ONE)
    assert volumes_written(out) == before
    # Other labels and another split need no volume read again.
    (root / "clinical.csv").write_text("patient,T,N,M\nP00,T4,N3,M1c\n")
    again = ingest("folder", root, out, IngestOptions(workers=1, split=SplitOptions(0, 2, seed=3)))
    assert volumes_written(out) == before
    assert next(case for case in again.cohort.cases if case.patient == "P00").m == ("M1c",)
    assert again.cohort.digest != first.cohort.digest
    # A file that changed, a volume that went away, and a journal entry that is damaged.
    changed, gone, damaged = (volume_name(f"1.2.826.0.1.3680043.10.{number}")[8:] for number in (1, 2, 3))
    file = next((root / "0").iterdir())
    ds = pydicom.dcmread(file)
    ds.PixelData = bytes(len(ds.PixelData))
    ds.save_as(file)
    (out / "volumes" / gone).unlink()
    (out / ".ingest" / damaged.replace(".nii", ".json")).write_text("{")
    ingest("folder", root, out, ONE)
    after = volumes_written(out)
    assert {name for name in before if before[name] != after[name]} == {changed, gone, damaged}
    assert (read_volume(out / "volumes" / changed).array == -1024).any()


@pytest.mark.usefixtures("reads_here")
def test_what_leaves_the_raw_data_leaves_the_cohort(raw: Trees, tmp_path: Path) -> None:
    root, out = raw(3), tmp_path / "out"
    ingest("folder", root, out, ONE)
    for file in (root / "1").iterdir():
        file.unlink()
    result = ingest("folder", root, out, ONE)
    assert sorted(case.patient for case in result.cohort.cases) == ["P00", "P02"]
    assert set(volumes_written(out)) == {case.image[8:] for case in result.cohort.cases}


@pytest.mark.usefixtures("reads_here")
def test_leftovers_of_a_killed_run_are_removed(raw: Trees, tmp_path: Path) -> None:
    root, out = raw(2), tmp_path / "out"
    (out / "volumes").mkdir(parents=True)
    leftovers = [out / ".123.tmp.cohort.json", out / "volumes" / ".77.tmp.0123456789abcdef.nii"]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    ingest("folder", root, out, ONE)
    assert not any(leftover.exists() for leftover in leftovers)


def test_killed_at_any_moment_it_ends_with_the_same_cohort(raw: Trees, tmp_path: Path) -> None:
    root, out = raw(12, (256, 256)), tmp_path / "out"
    command = [sys.executable, "-m", "monai_staging.cli", "ingest", "folder", str(root), str(out), "--workers", "2"]
    draw = random.Random(4)
    killed = 0
    for volumes in (0, 2, 5, 7, 10):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(out.glob("volumes/[0-9a-f]*.nii"))) < volumes:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.5 if volumes == 0 else 0.05))
        killed += process.poll() is None
        process.kill()
        process.wait()
    assert killed >= 2
    ingest("folder", root, out, IngestOptions(workers=2))
    ingest("folder", root, tmp_path / "expected", IngestOptions(workers=2))
    assert content(out) == content(tmp_path / "expected")


def test_two_at_once_are_told_apart(raw: Trees, tmp_path: Path) -> None:
    root, out = raw(1), tmp_path / "out"
    with exclusive(out / ".ingest" / "lock", busy=""), pytest.raises(DataError, match="another process"):
        ingest("folder", root, out, ONE)


@pytest.mark.usefixtures("reads_here")
def test_a_folder_of_something_else_is_left_alone(raw: Trees, tmp_path: Path) -> None:
    root, out = raw(1), tmp_path / "out"
    out.mkdir()
    (out / "cohort.json").write_text("mine")
    with pytest.raises(DataError, match="no ingest wrote"):
        ingest("folder", root, out, ONE)
    assert (out / "cohort.json").read_text() == "mine"
    (out / "cohort.json").unlink()
    ingest("folder", root, out, ONE)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DataError, match="choose another folder"):
        ingest("folder", tmp_path / "elsewhere", out, ONE)
    assert len(load_cohort(out).cases) == 1


@pytest.mark.parametrize("out", ["raw", "raw/inside", "."])
def test_refuses_folders_in_each_other(raw: Trees, tmp_path: Path, out: str) -> None:
    with pytest.raises(UsageError, match="in each other"):
        ingest("folder", raw(1), tmp_path / out, ONE)


def test_refuses_what_makes_no_sense(raw: Trees, tmp_path: Path) -> None:
    root = raw(1)
    with pytest.raises(UsageError, match="source must be one of"):
        ingest("lidc", root, tmp_path / "out", ONE)
    with pytest.raises(UsageError, match="not a folder"):
        ingest("folder", root / "missing", tmp_path / "out", ONE)
    with pytest.raises(UsageError, match="workers"):
        IngestOptions(workers=0)
    with pytest.raises(UsageError, match="prefix must be one of"):
        SourceOptions(prefix="x")
    (root / "0" / "clinical.csv").write_text("patient,T\n")
    with pytest.raises(UsageError, match="several clinical tables"):
        ingest("folder", root, tmp_path / "out", ONE)


@pytest.mark.usefixtures("reads_here")
def test_a_source_s_prefix_holds_with_plain_headers_too(raw: Trees, tmp_path: Path) -> None:
    root = raw(3)
    (root / "clinical.csv").write_text("patient,T,N,M\nP00,T1a,N0,M0\nP01,cT1a,N0,M0\n")
    result = ingest("nsclc-radiogenomics", root, tmp_path / "out", ONE)
    prefixes = {case.patient: case.prefix for case in result.cohort.cases}
    assert prefixes == {"P00": "p", "P01": "c", "P02": "p"}


def test_nothing_acceptable_is_an_empty_cohort(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    result = ingest("folder", tmp_path / "raw", tmp_path / "out", ONE)
    assert result.cohort.cases == ()
    assert load_cohort(tmp_path / "out").spacing is None


@pytest.mark.usefixtures("reads_here")
def test_real_lidc_voxels_and_affine(lidc_series: Path, tmp_path: Path) -> None:
    result = ingest("folder", lidc_series.parents[1], tmp_path / "out", ONE)
    (case,) = result.cohort.cases
    volume = read_volume(result.cohort.image_path(case))
    slices = [pydicom.dcmread(path) for path in lidc_series.iterdir()]
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    assert volume.shape == (512, 512, 275)
    for k, ds in enumerate(slices):
        hu = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        np.testing.assert_array_equal(volume.array[:, :, k].T, hu)
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(lidc_series)))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    np.testing.assert_allclose(volume.affine, np.diag([-1, -1, 1, 1]) @ affine, atol=1e-4)
    assert not result.rejections
