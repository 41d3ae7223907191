"""The JSON document of a study: every value, in a form that any reader takes; no identity."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from monai_staging.files import write_json_atomic
from monai_staging.outputs.report_json import COORDINATES, FORMAT, VERSION, study_document
from monai_staging.outputs.reported import NOT_A_DEVICE, ReportedStudy, ScanFacts, SliceAttention
from monai_staging.version import __version__

BOX = np.array([1.0, 2, -210, 6, 7, -200])


@pytest.fixture
def reported(study: Any) -> ReportedStudy:
    """Two lesions, one of them no detector's."""
    half = np.full(4, 0.25)
    return ReportedStudy(
        "k17",
        study.volume,
        study.mask,
        study.findings,
        (BOX, None),
        ScanFacts("DICOM", "6 slices 3 mm apart; the only CT series.", {"Kernel": "B70f"}),
        letter_sets={"n": ("N0", "N2")},
        attention=SliceAttention(np.arange(4.0), {"t": half, "n": half, "m": half}),
        calibration=("Not calibrated.",),
        warnings=("Größe unsicher.",),
        seconds={"lungs": 0.5, "stage": 1.25},
    )


def test_round_trip(reported: ReportedStudy, tmp_path: Any) -> None:
    document = study_document(reported)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    write_json_atomic(tmp_path / "a.json", document)
    write_json_atomic(tmp_path / "b.json", study_document(reported))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_what_it_says_of_itself(reported: ReportedStudy) -> None:
    document = study_document(reported)
    assert (document["format"], document["version"]) == (FORMAT, VERSION)
    assert document["notice"] == NOT_A_DEVICE
    assert document["coordinates"] == COORDINATES and "RAS" in COORDINATES
    assert document["name"] == "k17"
    assert document["package"]["version"] == __version__
    assert document["algorithm"]["models"][0] == {"name": "segmentation", "digest": "sha256:" + "5e" * 32}
    assert document["digest"] == f"sha256:{reported.findings.digest}"


def test_scan(reported: ReportedStudy) -> None:
    scan = study_document(reported)["scan"]
    assert scan["shape"] == [11, 9, 6]
    assert scan["spacing_mm"] == pytest.approx([0.8, 0.7, 3])
    assert np.array(scan["affine"]) == pytest.approx(reported.volume.affine)
    assert scan["attributes"] == {"Kernel": "B70f"}


def test_lesions(reported: ReportedStudy) -> None:
    first, second = study_document(reported)["lesions"]
    found = reported.findings.lesions[0].measurement
    assert first["box_mm"] == BOX.tolist() and second["box_mm"] is None
    assert (first["label"], first["category"], first["site"]) == (1, "primary", "right upper lobe")
    assert first["malignancy"] == 2 / 3 and first["score"] == pytest.approx(0.3)
    assert first["measurement"] == {
        "volume_mm3": found.volume_mm3,
        "voxel_volume_mm3": found.voxel_volume_mm3,
        "diameter_3d_mm": found.diameter_3d_mm,
        "axial_diameter_mm": found.axial_diameter_mm,
        "perpendicular_mm": found.perpendicular_mm,
        "solid_diameter_mm": found.solid_diameter_mm,
        "axial_axis": 2,
        "axial_slice": found.axial_slice,
        "voxels": found.voxels,
        "solid_voxels": found.solid_voxels,
    }
    size = first["t_by_size"]
    assert size["at_least"] == found.size_t.at_least and size["possible"] == list(found.t)
    assert "chest wall" in size["not_assessed"] and size["reasons"] == list(found.size_t.reasons)


def test_staging(reported: ReportedStudy) -> None:
    staging = study_document(reported)["staging"]
    tnm = reported.findings.staging.tnm
    assert staging["tnm"] == {letter: list(tnm.ordered(letter)) for letter in "tnm"}
    assert (staging["edition"], staging["prefix"], staging["confidence"]) == ("8", "c", 0.9)
    assert staging["groups"] == list(reported.findings.staging.groups)
    assert staging["letter_sets"] == {"n": ["N0", "N2"]}
    assert staging["probabilities"]["t"] == {"T1": 0.1, "T2a": 0.2, "T4": 0.7}
    assert staging["group_probabilities"] == {"IIIA": 0.25, "IIIB": 0.75}
    assert staging["not_assessed"][1] == "brain (outside the scan)"


def test_around_the_findings(reported: ReportedStudy) -> None:
    document = study_document(reported)
    assert document["attention"] == {"z_mm": [0, 1, 2, 3], "weights": {letter: [0.25] * 4 for letter in "tnm"}}
    assert document["calibration"] == ["Not calibrated."] and document["warnings"] == ["Größe unsicher."]
    assert document["seconds"] == {"lungs": 0.5, "stage": 1.25}


def test_nothing_found(study: Any, reported: ReportedStudy) -> None:
    empty = replace(reported, findings=study.without_lesions(), boxes_mm=(), attention=None, letter_sets={})
    document = json.loads(json.dumps(study_document(empty), allow_nan=False))
    assert document["lesions"] == [] and document["attention"] is None
    assert document["staging"]["letter_sets"] == {}


def test_no_identity(study: Any, reported: ReportedStudy) -> None:
    text = json.dumps(study_document(reported))
    for secret in ("LUNG1-001", study.series.series, study.series.study):
        assert secret not in text
