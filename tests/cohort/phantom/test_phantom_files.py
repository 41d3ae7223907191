"""The files: valid DICOM, the same pixels for the same seed, masks that come back exactly."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys

import highdicom
import numpy as np
import pydicom
import pytest

from monai_staging.cli.main import main
from monai_staging.cohort.dicom import read_series, scan
from monai_staging.cohort.lock import exclusive
from monai_staging.cohort.masks import mask_from_rtstruct, mask_from_seg
from monai_staging.cohort.phantom import (
    PhantomConfig,
    PhantomTruth,
    render_phantom,
    write_phantom_study,
    write_phantom_tree,
)
from monai_staging.errors import DataError, UsageError

TINY = PhantomConfig(resolution="tiny")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree of tiny phantoms 0 to 3 of seed 3, and their truths."""
    out = tmp_path_factory.mktemp("phantom")
    return out, write_phantom_tree(out, 4, 3, TINY, workers=1)


def _digests(folder) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_files_in_another_process(tree, tmp_path):
    out, truths = tree
    code = (
        "import sys; from monai_staging.cohort.phantom import *;"
        "[write_phantom_study(sys.argv[1], k, 3, PhantomConfig(resolution='tiny')) for k in (0, 1)]"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
    for truth in truths[:2]:
        assert _digests(tmp_path / truth.patient) == _digests(out / truth.patient)


def test_another_seed_index_or_configuration_gives_other_pixels_and_uids(tree):
    out, truths = tree
    others = [render_phantom(0, 4, TINY), render_phantom(1, 3, TINY)]
    first = render_phantom(0, 3, TINY)
    for other in others:
        assert other.truth.series != first.truth.series
        assert not np.array_equal(np.asarray(other.canvas.hu[:40]), np.asarray(first.canvas.hu[:40]))
    assert (
        render_phantom(0, 3, PhantomConfig(resolution="tiny", unknown_fraction=0.5)).truth.series != first.truth.series
    )


def test_the_ct_is_valid_dicom(tree):
    out, truths = tree
    for truth in truths:
        files = [pydicom.dcmread(path) for path in sorted((out / truth.patient / "CT").glob("*.dcm"))]
        first = files[0]
        assert first.file_meta.MediaStorageSOPClassUID == pydicom.uid.CTImageStorage == first.SOPClassUID
        assert first.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert str(first.PatientID) == truth.patient and str(first.PatientName).startswith("Phantom^")
        assert len({f.SOPInstanceUID for f in files}) == len(files)
        assert all(f.SOPInstanceUID == f.file_meta.MediaStorageSOPInstanceUID for f in files)
        assert all(pydicom.uid.UID(f.SOPInstanceUID).is_valid and f.SOPInstanceUID.startswith("2.25.") for f in files)
        assert {f.SeriesInstanceUID for f in files} == {truth.series} and {f.StudyInstanceUID for f in files} == {
            truth.study
        }
        assert [int(f.InstanceNumber) for f in files] == list(range(1, len(files) + 1))
        z = np.array([float(f.ImagePositionPatient[2]) for f in files])
        np.testing.assert_allclose(np.diff(z), -truth.nuisances["slice_spacing_mm"], atol=1e-5)
        assert all(float(f.SliceLocation) == pytest.approx(float(f.ImagePositionPatient[2])) for f in files)
        for f in files:
            hu = f.pixel_array * float(f.RescaleSlope) + float(f.RescaleIntercept)
            assert hu.min() >= -1024 and hu.max() <= 3071
        for name in (
            "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID",
            "AccessionNumber",
            "Modality", "SeriesNumber", "FrameOfReferenceUID", "Manufacturer", "ImageType", "KVP", "AcquisitionNumber",
            "SliceThickness", "PixelSpacing", "ImageOrientationPatient", "PatientPosition", "BitsStored", "HighBit",
        ):  # fmt: skip
            assert name in first, name


def test_our_reader_accepts_the_tree_and_gives_the_rendered_pixels_and_masks(tree):
    out, truths = tree
    series = {s.series: s for s in scan(out)}
    for index, truth in enumerate(truths):
        phantom = render_phantom(index, 3, TINY)
        volume = read_series(series[truth.series])
        hu = np.stack(list(phantom.slices()))
        np.testing.assert_array_equal(np.asarray(volume.array).transpose(2, 1, 0), hu)
        if index % 2:
            masks = mask_from_rtstruct(out / truth.patient / "RTSTRUCT" / "lesions.dcm", volume)
            found = list(masks.values())
        else:
            found = [s.mask for s in mask_from_seg(out / truth.patient / "SEG" / "lesions.dcm", volume)]
        assert len(found) == len(truth.lesions)
        for row, mask in zip(truth.lesions, found, strict=True):
            np.testing.assert_array_equal(np.asarray(mask).transpose(2, 1, 0) > 0, phantom.canvas.labels == row.label)


def test_highdicom_reads_the_seg(tree):
    out, truths = tree
    for index in (0, 2):
        truth = truths[index]
        seg = highdicom.seg.segread(out / truth.patient / "SEG" / "lesions.dcm")
        images = [pydicom.dcmread(p, stop_before_pixels=True) for p in (out / truth.patient / "CT").glob("*.dcm")]
        images.sort(key=lambda image: float(image.ImagePositionPatient[2]))
        pixels = seg.get_pixels_by_source_instance(
            [image.SOPInstanceUID for image in images], assert_missing_frames_are_empty=True
        )
        labels = render_phantom(index, 3, TINY).canvas.labels
        assert seg.number_of_segments == len(truth.lesions)
        for row in truth.lesions:
            np.testing.assert_array_equal(pixels[..., row.label - 1] > 0, labels == row.label)


def test_tables_hold_every_patient_and_lesion(tree):
    import csv

    out, truths = tree
    with open(out / "clinical.csv", encoding="utf-8") as file:
        clinical = list(csv.DictReader(file))
    assert [row["patient"] for row in clinical] == [truth.patient for truth in truths]
    assert all(row["edition"] == "8" and row["prefix"] == "c" for row in clinical)
    with open(out / "lesions.csv", encoding="utf-8") as file:
        lesions = list(csv.DictReader(file))
    assert len(lesions) == sum(len(truth.lesions) for truth in truths)
    first = truths[0].lesions[0]
    assert float(lesions[0]["diameter_mm"]) == pytest.approx(first.diameter_mm)
    assert [float(lesions[0][c]) for c in ("x_mm", "y_mm", "z_mm")] == pytest.approx(list(first.center_mm))


def test_an_interrupted_tree_is_finished_and_what_is_there_is_kept(tree, tmp_path):
    out, truths = tree
    write_phantom_tree(tmp_path, 1, 3, TINY, workers=1)
    kept = tmp_path / truths[0].patient / "CT" / "0001.dcm"
    stamp = kept.stat().st_mtime_ns
    again = write_phantom_tree(tmp_path, 2, 3, TINY, workers=1)
    assert kept.stat().st_mtime_ns == stamp
    assert again == truths[:2]
    assert _digests(tmp_path / truths[1].patient) == _digests(out / truths[1].patient)
    # Another configuration is not mistaken for this one.
    other = write_phantom_tree(tmp_path, 1, 3, PhantomConfig(resolution="tiny", unknown_fraction=0.9), workers=1)
    assert other[0].series != truths[0].series and kept.stat().st_mtime_ns != stamp


@pytest.mark.parametrize("place", ["dicom_ct.CTWriter.write", "tree.write_json_atomic", "tree.write_text_atomic"])
def test_a_killed_process_leaves_nothing_that_its_next_run_keeps(tree, tmp_path, place):
    out, truths = tree
    # Killed in the middle: after some slices, or in front of the rename of the truth or of a table.
    code = f"""
import os, signal, sys
import monai_staging.files
import monai_staging.cohort.phantom.dicom_ct as dicom_ct
import monai_staging.cohort.phantom.tree as tree
from monai_staging.cohort.phantom import PhantomConfig
calls, real = [], {place}
def dies(*arguments):
    calls.append(arguments)
    if len(calls) == 5 or {place.startswith("tree")}:
        monai_staging.files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        if not {place.startswith("tree")}:
            os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)
{place} = dies
tree.write_phantom_tree(sys.argv[1], 1, 3, PhantomConfig(resolution="tiny"), workers=1)
"""
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list(tmp_path.rglob(".*.tmp.*"))) == 1
    # Of a process that lives, and of somebody else.
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as alive:
        theirs = [tmp_path / f".{alive.pid}.tmp.PH-3-0007", tmp_path / ".hidden"]
        for folder in theirs:
            folder.mkdir()
        again = write_phantom_tree(tmp_path, 1, 3, TINY, workers=1)
        for folder in theirs:
            folder.rmdir()
        alive.communicate(b"\n")
    assert again == truths[:1]
    assert list(tmp_path.rglob(".*")) == []
    assert _digests(tmp_path / truths[0].patient) == _digests(out / truths[0].patient)
    (series,) = [found for found in scan(tmp_path) if found.series == truths[0].series]
    read_series(series)


def test_what_a_killed_process_of_the_same_number_left_is_removed(tmp_path):
    (tmp_path / f".{os.getpid()}.tmp.PH-9-0000" / "CT").mkdir(parents=True)
    write_phantom_tree(tmp_path, 1, 3, TINY, workers=1)
    assert list(tmp_path.glob(".*")) == []


def test_two_processes_do_not_write_into_one_tree(tree, tmp_path):
    out = tmp_path / "tree"
    with exclusive(out / "truth" / "lock", busy=""), pytest.raises(DataError, match="another process is writing"):
        write_phantom_tree(out, 1, config=TINY, workers=1)
    assert not list(out.glob("PH-*"))


def test_two_workers_write_what_one_does(tree, tmp_path):
    out, _ = tree
    write_phantom_tree(tmp_path, 2, 3, TINY, workers=2, first=2)
    for name in ("PH-3-0002", "PH-3-0003"):
        assert _digests(tmp_path / name) == _digests(out / name)


def test_a_failed_study_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "monai_staging.cohort.phantom.study.write_seg", lambda *_: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(OSError, match="disk full"):
        write_phantom_study(tmp_path, 0, 3, TINY)
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_one_json_document(tmp_path, capsys):
    assert (
        main(
            [
                "phantom",
                str(tmp_path / "out"),
                "--cases",
                "1",
                "--seed",
                "3",
                "--resolution",
                "tiny",
                "--workers",
                "1",
                "--json",
            ]
        )
        == 0
    )
    document = json.loads(capsys.readouterr().out)
    assert document["cases"] == 1 and sum(document["counts"]["t"].values()) == 1
    truth = json.loads((tmp_path / "out" / "truth" / "PH-3-0000.json").read_text())["truth"]
    assert PhantomTruth.from_json(truth).t in document["counts"]["t"]
    assert (
        main(
            ["phantom", str(tmp_path / "out"), "--cases", "1", "--seed", "3", "--resolution", "tiny", "--workers", "1"]
        )
        == 0
    )
    assert "1 phantoms in" in capsys.readouterr().out


def test_no_cases_are_refused(tmp_path):
    assert main(["phantom", str(tmp_path), "--cases", "0"]) == 2
    with pytest.raises(UsageError):
        write_phantom_tree(tmp_path, 0, 3, TINY)
