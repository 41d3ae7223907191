"""A study in, a report out, as a user types it: what is written, what is refused, and what tells whose it is."""

from __future__ import annotations

import base64
import csv
import gzip
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from highdicom.seg import segread

from monai_staging.cli.main import main
from monai_staging.cohort.dicom import read_series, scan
from monai_staging.files import CACHE_VARIABLE
from monai_staging.outputs.dicom_sr import read_sr

MARKERS = {
    "PatientName": "Zweistein^Alberta",
    "PatientID": "MRN-77-4242",
    "PatientBirthDate": "19310229",
    "AccessionNumber": "ACC-90-1311",
}
OUTPUTS = {"report.html", "report.json", "lesions.nii.gz", "detections.csv", "sr.dcm", "seg.dcm"}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Names come from a key of these tests, not of the user's."""
    patched = pytest.MonkeyPatch()
    patched.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
    yield
    patched.undo()


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny phantoms as DICOM, the first with marked identity."""
    folder = tmp_path_factory.mktemp("phantoms")
    assert main(["phantom", str(folder), "--cases", "2", "--resolution", "tiny", "--seed", "2", "--workers", "1"]) == 0
    for path in (folder / "PH-2-0000").rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        for keyword, value in MARKERS.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    return folder


@pytest.fixture(scope="module")
def study(raw: Path) -> Path:
    """The CT of the first phantom."""
    return raw / "PH-2-0000" / "CT"


@pytest.fixture(scope="module")
def place(raw: Path) -> list[str]:
    """Where its tumour is, as --at takes it."""
    with open(raw / "lesions.csv", newline="", encoding="utf-8") as file:
        row = next(row for row in csv.DictReader(file) if row["patient"] == "PH-2-0000" and row["kind"] == "primary")
    return ["--at", row["x_mm"], row["y_mm"], row["z_mm"]]


@pytest.fixture(scope="module")
def predicted(study: Path, place: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command leaves of it."""
    out = tmp_path_factory.mktemp("predicted") / "OUT"
    assert main(["predict", str(study), str(out), *place]) == 0
    return out


def document_of(out: Path) -> dict:
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def test_all_that_is_written(predicted: Path, study: Path, dciodvfy_errors: Callable[[Path], list[str]]) -> None:
    assert {path.name for path in predicted.iterdir()} == OUTPUTS
    assert list(predicted.parent.iterdir()) == [predicted]
    (series,) = scan(study)
    volume = read_series(series)
    mask = nibabel.load(predicted / "lesions.nii.gz")
    labels = np.asarray(mask.dataobj)
    assert labels.shape == volume.shape
    np.testing.assert_allclose(mask.affine, volume.affine, atol=1e-3)
    document = document_of(predicted)
    # Weights of phantoms know phantoms.
    assert not any("of patients they know nothing" in warning for warning in document["warnings"])
    assert [lesion["label"] for lesion in document["lesions"]] == list(range(1, labels.max() + 1)) != []
    seg = segread(predicted / "seg.dcm")
    uids = [header.sop_uid for header in sorted(series.headers, key=lambda own: own.planes[0].position[2])]
    pixels = seg.get_pixels_by_source_instance(uids, combine_segments=True, assert_missing_frames_are_empty=True)
    assert np.array_equal(pixels.transpose(2, 1, 0), labels)
    findings = read_sr(predicted / "sr.dcm")
    assert len(findings.lesions) == labels.max()
    assert [lesion.measurement.diameter_3d_mm for lesion in findings.lesions] == pytest.approx(
        [lesion["measurement"]["diameter_3d_mm"] for lesion in document["lesions"]]
    )
    assert findings.staging.groups == tuple(document["staging"]["groups"])
    for name in ("seg.dcm", "sr.dcm"):
        assert dciodvfy_errors(predicted / name) == []


def test_simpleitk_reads_the_same_voxels(predicted: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    seg = pydicom.dcmread(predicted / "seg.dcm")
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(predicted / "seg.dcm")))
    labels = np.asarray(nibabel.load(predicted / "lesions.nii.gz").dataobj)
    assert len(frames) == seg.NumberOfFrames
    assert int((frames > 0).sum()) == int((labels > 0).sum())


def test_nothing_but_dicom_says_whose_it_is(
    study: Path, place: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(study), str(tmp_path / "OUT"), *place, "--json"]) == 0
    said = capsys.readouterr()
    texts = {"stdout": said.out, "stderr": said.err}
    for path in (tmp_path / "OUT").iterdir():
        data = path.read_bytes()
        if path.suffix == ".dcm":
            dataset = pydicom.dcmread(path)
            assert {name: str(dataset[name].value) for name in MARKERS} == MARKERS
            continue
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        texts[path.name] = data.decode("latin-1")
    pictures = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", texts["report.html"])
    assert pictures
    texts |= {f"picture {number}": base64.b64decode(one).decode("latin-1") for number, one in enumerate(pictures)}
    planted = {*MARKERS.values(), "Zweistein", "Alberta", "PH-2-0000", *(series.study for series in scan(study))}
    for name, text in texts.items():
        assert not [marker for marker in planted if marker in text], name
    assert json.loads(said.out) == document_of(tmp_path / "OUT")


def test_the_same_again(predicted: Path, study: Path, place: list[str], tmp_path: Path) -> None:
    assert main(["predict", str(study), str(tmp_path / "OUT"), *place]) == 0
    first, second = document_of(predicted), document_of(tmp_path / "OUT")
    first.pop("seconds"), second.pop("seconds")
    assert first == second
    for name in ("seg.dcm", "sr.dcm"):
        assert (
            pydicom.dcmread(predicted / name).SOPInstanceUID == pydicom.dcmread(tmp_path / "OUT" / name).SOPInstanceUID
        )
    assert (predicted / "lesions.nii.gz").read_bytes() == (tmp_path / "OUT" / "lesions.nii.gz").read_bytes()


def test_what_is_there_stays(predicted: Path, study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (predicted / "report.json").read_bytes()
    assert main(["predict", str(study), str(predicted)]) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert (predicted / "report.json").read_bytes() == before


def test_nifti_has_no_dicom_outputs(study: Path, place: list[str], tmp_path: Path) -> None:
    (series,) = scan(study)
    volume = read_series(series)
    nibabel.save(nibabel.Nifti1Image(volume.array, volume.affine), tmp_path / "scan.nii.gz")
    assert main(["predict", str(tmp_path / "scan.nii.gz"), str(tmp_path / "OUT"), *place]) == 0
    assert {path.name for path in (tmp_path / "OUT").iterdir()} == OUTPUTS - {"seg.dcm", "sr.dcm"}
    document = document_of(tmp_path / "OUT")
    assert document["scan"]["source"] == "NIfTI"
    assert any("of patients they know nothing" in warning for warning in document["warnings"])


def test_batch_goes_on_after_a_failure_and_where_it_was_stopped(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = tmp_path / "studies"
    shutil.copytree(raw / "PH-2-0000" / "CT", studies / "good")
    broken = shutil.copytree(raw / "PH-2-0001" / "CT", studies / "broken")
    for path in sorted(broken.iterdir())[5:8]:
        path.unlink()
    out = tmp_path / "OUT"
    assert main(["predict", "--batch", str(studies), str(out)]) == 0
    with open(out / "failures.csv", newline="", encoding="utf-8") as file:
        (failure,) = csv.DictReader(file)
    assert "missing-slices" in failure["reason"] and "PH-2-0001" not in failure["reason"]
    with open(out / "studies.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    report = out / row["report"]
    assert row["report"] in (out / "index.html").read_text(encoding="utf-8")
    written = report.stat().st_mtime_ns
    assert main(["predict", "--batch", str(studies), str(out)]) == 0
    assert report.stat().st_mtime_ns == written
    assert "1 studies reported, 1 failed" in capsys.readouterr().out


def nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)
    if affine is None:
        image.set_sform(None)
        image.set_qform(None)
    nibabel.save(image, path)
    return path


def empty(folder: Path, study: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def no_ct(folder: Path, study: Path) -> Path:
    shutil.copytree(study.parent / "SEG", folder / "seg")
    return folder / "seg"


def three_slices(folder: Path, study: Path) -> Path:
    (folder / "three").mkdir()
    for path in sorted(study.iterdir())[:3]:
        shutil.copy(path, folder / "three")
    return folder / "three"


def edited(folder: Path, study: Path, **values: object) -> Path:
    shutil.copytree(study, folder / "edited")
    for path in (folder / "edited").iterdir():
        dataset = pydicom.dcmread(path)
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)
    return folder / "edited"


def tilted(folder: Path, study: Path) -> Path:
    return edited(folder, study, GantryDetectorTilt=12.5)


def claims_40_gb(folder: Path, study: Path) -> Path:
    return edited(folder, study, Rows=20_000, Columns=20_000)


def truncated(folder: Path, study: Path) -> Path:
    shutil.copytree(study, folder / "truncated")
    path = sorted((folder / "truncated").iterdir())[4]
    path.write_bytes(path.read_bytes()[:-500])
    return folder / "truncated"


def without_affine(folder: Path, study: Path) -> Path:
    return nifti(folder / "scan.nii", np.full((40, 40, 40), -900, np.int16))


def not_hounsfield(folder: Path, study: Path) -> Path:
    return nifti(folder / "scan.nii", np.arange(64000, dtype=np.float32).reshape(40, 40, 40) / 64000, np.eye(4))


def no_study(folder: Path, study: Path) -> Path:
    (folder / "scan.png").write_bytes(b"no scan")
    return folder / "scan.png"


def no_lungs(folder: Path, study: Path) -> Path:
    array = np.full((60, 60, 60), 40, np.int16)
    array[:5] = -1000
    return nifti(folder / "scan.nii", array, np.diag([3.0, 3.0, 3.0, 1.0]))


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (empty, 1, "found 0 files, none of them DICOM"),
        (lambda folder, study: study.parent.parent, 1, "found 2 patients"),
        (no_ct, 1, "a CT series is needed; found SEG"),
        (three_slices, 1, "120 mm are needed"),
        (tilted, 1, "gantry-tilt"),
        (truncated, 1, "truncated"),
        (claims_40_gb, 1, "implausible-size, 20000 x 20000 x"),
        (without_affine, 1, "neither sform nor qform says how it lies"),
        (not_hounsfield, 1, "CT in Hounsfield units is needed"),
        (no_study, 1, "a study is a folder of DICOM files or a NIfTI file"),
        (no_lungs, 1, "air"),
        (lambda folder, study: folder / "missing", 1, "No such file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    make: Callable[[Path, Path], Path],
    code: int,
    message: str,
    study: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = make(tmp_path, study)
    assert main(["predict", str(path), str(tmp_path / "outputs" / "OUT")]) == code
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("monai-staging")]
    assert len(said) == 1 and message in said[0], said
    assert not [marker for marker in MARKERS.values() if marker in said[0]]
    assert not list((tmp_path / "outputs").rglob("*"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--staging", "bundles/malignancy/models/model.pt"], 1, "Staging: Weights"),
        (["--detection", "nowhere.pt"], 1, "Detection: weights nowhere.pt are not there"),
        (["--segmentation", "bundles/pretrain"], 1, "Train some: python -m monai.bundle run"),
        (["--point", "3 fp/scan"], 2, "Operating point"),
        (["--at", "0", "0", "9999"], 1, "A place must lie in the scan"),
        (["--series", "1.2.3"], 2, "no series 1.2.3"),
        (["--store"], 2, "STUDY is its URL"),
        (["--batch", "--series", "1.2.3"], 2, "with --batch there are several"),
    ],
)
def test_what_cannot_be_asked_is_said(
    arguments: list[str],
    code: int,
    message: str,
    study: Path,
    tmp_path: Path,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(repository)
    assert main(["predict", str(study), str(tmp_path / "OUT"), *arguments]) == code
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("monai-staging")]
    assert message in said
    assert not list(tmp_path.iterdir())
