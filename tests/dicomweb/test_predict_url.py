"""A study on a real archive: predicted by its URL, its results stored there, found, and retrieved as written."""

from __future__ import annotations

import csv
from pathlib import Path

import pydicom
import pytest

from monai_staging.cli.main import main
from monai_staging.cohort.dicom import scan
from monai_staging.dicomweb import find_objects, retrieve_object, store
from monai_staging.files import CACHE_VARIABLE
from monai_staging.outputs.dicom_sr import read_sr


def test_predicted_by_url_and_stored_back(
    orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    raw = tmp_path / "raw"
    assert main(["phantom", str(raw), "--cases", "1", "--resolution", "tiny", "--seed", "2", "--workers", "1"]) == 0
    with open(raw / "lesions.csv", newline="", encoding="utf-8") as file:
        tumour = next(row for row in csv.DictReader(file) if row["kind"] == "primary")
    series = next(own for own in scan(raw) if own.modality == "CT")
    address = orthanc.address(series.study)
    store(address, series.files)
    at = ["--at", tumour["x_mm"], tumour["y_mm"], tumour["z_mm"]]
    out = tmp_path / "OUT"
    assert main(["predict", str(address), str(out), "--store", *at]) == 0
    for name, modality in (("seg.dcm", "SEG"), ("sr.dcm", "SR")):
        written = pydicom.dcmread(out / name)
        (found,) = find_objects(address, modality)
        assert found.instance == written.SOPInstanceUID
        assert retrieve_object(address, found) == written
    assert read_sr(out / "sr.dcm").lesions
    # The same once more takes the place of what is there, in the folder and in the archive.
    assert main(["predict", f"{address}/series/{series.series}", str(out), "--store", "--overwrite", *at]) == 0
    assert [len(find_objects(address, modality)) for modality in ("CT", "SEG", "SR")] == [len(series.files), 1, 1]
    assert series.patient not in capsys.readouterr().err


def test_a_study_that_is_not_there(orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", f"{orthanc.service}/studies/1.2.3", str(tmp_path / "OUT")]) == 1
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("monai-staging")]
    assert "1.2.3" in said
    assert not (tmp_path / "OUT").exists()
