"""From DICOM files with an identity to a trained network: nothing on the way says whose they are."""

from __future__ import annotations

import csv
import gzip
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from PIL import Image

from monai_staging.cli.main import main
from monai_staging.files import CACHE_VARIABLE

ROOT = Path(__file__).parents[2]
SMALL = ["--size", "[48,48,24]", "--spacing_mm", "[7.0,7.0,14.0]", "--network", "resnet10", "--width", "0.125"]
PATIENTS = 6
PLANTED = ("Zweistein", "Alberta", "MRN-77-", "19310229", "ACC-90-", "Dr^Quirrenbach", "Quirrenbach")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Tiny phantoms as a hospital would have sent them: files and clinical table with names and numbers of patients."""
    folder = tmp_path / "sent"
    command = (
        "phantom",
        str(folder),
        "--cases",
        str(PATIENTS),
        "--resolution",
        "tiny",
        "--seed",
        "7",
        "--workers",
        "1",
    )
    assert main(list(command)) == 0
    marked = {}
    for number, own in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        marked[own.name] = f"MRN-77-{number:04}"
        for path in own.rglob("*.dcm"):
            dataset = pydicom.dcmread(path)
            dataset.PatientName = f"Zweistein^Alberta{number}"
            dataset.PatientID = marked[own.name]
            dataset.PatientBirthDate = "19310229"
            dataset.AccessionNumber = f"ACC-90-{number}"
            dataset.ReferringPhysicianName = "Dr^Quirrenbach"
            dataset.save_as(path)
        own.rename(own.with_name(marked[own.name]))
    with open(folder / "clinical.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(folder / "clinical.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "patient": marked[row["patient"]]} for row in rows)
    (folder / "lesions.csv").unlink()
    return folder


def contents(path: Path) -> Iterator[bytes]:
    """What a file holds: as it is, unpacked, and the texts of a picture."""
    data = path.read_bytes()
    yield data
    if path.suffix == ".gz":
        yield gzip.decompress(data)
    elif path.suffix == ".png":
        with Image.open(path) as image:
            yield repr(image.info).encode()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def test_nothing_from_ingest_to_mlflow_says_whose_it_is(
    raw: Path,
    run_bundle: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # The cohort is data, and keeps patients apart by their numbers; whatever is made of it does not.
    cohort, out = tmp_path / "cohort", tmp_path / "out"
    monkeypatch.setenv(CACHE_VARIABLE, str(out / "cache"))
    ingest = ["ingest", "folder", str(raw), str(cohort), "--test", "0.34", "--validation", "0.34", "--workers", "1"]
    capfd.readouterr()
    assert main(ingest) == 0
    assert main(["audit", str(cohort)]) in (0, 1)
    said = capfd.readouterr()
    trained = run_bundle(
        *("run", "--config_file", ROOT / "bundles" / "staging" / "train.json", "--dataset_dir", cohort),
        *("--output_dir", out / "run", "--epochs", "1", "--resamples", "20", "--map_start_steps", "4", *SMALL),
        folder=out,
    )
    texts = {"terminal": f"{said.out}{said.err}{trained.stdout}{trained.stderr}".encode()}
    files = [path for path in out.rglob("*") if path.is_file()]
    assert b"MRN-77-" in (cohort / "cohort.json").read_bytes()
    assert {"mlruns.db", "metrics.json", "predictions.csv"} <= {path.name for path in files}
    assert sum(path.suffix == ".png" for path in files) > 5
    for path in files:
        texts |= {f"{path.relative_to(out)} {part}": text for part, text in enumerate(contents(path))}
    found = [(name, marker) for name, text in texts.items() for marker in PLANTED if marker.encode() in text]
    assert found == []
    # Neither do names of files and folders.
    assert not [path for path in out.rglob("*") if any(marker in path.name for marker in PLANTED)]
