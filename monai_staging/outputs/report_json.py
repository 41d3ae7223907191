"""A predicted study as one JSON document: every value of its report, for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_staging.measure.lesion import Measurement
from monai_staging.outputs.findings import LesionFinding, StagingFinding
from monai_staging.outputs.reported import NOT_A_DEVICE, FloatArray, ReportedStudy
from monai_staging.tnm.categories import LETTERS
from monai_staging.version import __version__

FORMAT = "monai_staging.study"
VERSION = 1
"""Of the document: higher where a key has another meaning or is gone, not where one is new."""
COORDINATES = "RAS, millimetres: x grows to the patient's right, y to anterior, z to the head"


def study_document(study: ReportedStudy) -> dict[str, Any]:
    """The document, ready for ``json.dumps(..., allow_nan=False)``.

    Lengths are in mm, volumes in mm3, probabilities 0 to 1; what was not measured or estimated is null, a letter that
    was not is missing. ``axial_slice`` counts from 0 along the voxel axis ``axial_axis``.
    """
    findings, volume, attention = study.findings, study.volume, study.attention
    boxes = zip(findings.lesions, study.boxes_mm, strict=True)
    return {
        "format": FORMAT,
        "version": VERSION,
        "notice": NOT_A_DEVICE,
        "coordinates": COORDINATES,
        "name": study.name,
        "scan": {
            "source": study.scan.source,
            "chosen": study.scan.chosen,
            "attributes": dict(study.scan.attributes),
            "shape": list(volume.shape),
            "spacing_mm": list(volume.spacing_mm),
            "affine": volume.affine.tolist(),
        },
        "lesions": [_lesion(lesion, box) for lesion, box in boxes],
        "staging": _staging(findings.staging, study.letter_sets),
        "attention": None
        if attention is None
        else {
            "z_mm": attention.z_mm.tolist(),
            "weights": {letter: weights.tolist() for letter, weights in attention.weights.items()},
        },
        "calibration": list(study.calibration),
        "warnings": list(study.warnings),
        "algorithm": {
            "name": findings.algorithm.name,
            "version": findings.algorithm.version,
            "models": [{"name": model.name, "digest": model.digest} for model in findings.algorithm.models],
        },
        "package": {"name": "monai_staging", "version": __version__},
        "digest": f"sha256:{findings.digest}",
        "seconds": dict(study.seconds),
    }


def _lesion(lesion: LesionFinding, box_mm: FloatArray | None) -> dict[str, Any]:
    return {
        "label": lesion.label,
        "tracking_id": lesion.tracking_id,
        "tracking_uid": lesion.tracking_uid,
        "category": lesion.category.value,
        "site": lesion.site.value,
        "score": lesion.score,
        "malignancy": lesion.malignancy,
        "box_mm": None if box_mm is None else [float(edge) for edge in box_mm],
        "measurement": _measurement(lesion.measurement),
        "t_by_size": _t_by_size(lesion.measurement),
    }


def _measurement(found: Measurement) -> dict[str, Any]:
    """All but T, which is apart."""
    document = found.to_json()
    del document["t"]
    return {
        **document,
        "axial_axis": found.axial_axis,
        "axial_slice": found.axial_slice,
        "voxels": found.voxels,
        "solid_voxels": found.solid_voxels,
    }


def _t_by_size(found: Measurement) -> dict[str, Any]:
    size = found.size_t
    return {
        "possible": list(size.t),
        "at_least": size.at_least,
        "measured": size.measured,
        "size_mm": size.size_mm,
        "edition": size.edition,
        "reasons": list(size.reasons),
        "not_assessed": [descriptor.value for descriptor in size.not_assessed],
    }


def _staging(staging: StagingFinding, letter_sets: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    tnm = staging.tnm
    return {
        "tnm": {letter: list(tnm.ordered(letter)) for letter in LETTERS},
        "edition": tnm.edition,
        "prefix": tnm.prefix,
        "groups": list(staging.groups),
        "confidence": staging.confidence,
        "letter_sets": {letter: list(letter_sets[letter]) for letter in LETTERS if letter in letter_sets},
        "probabilities": {letter: dict(found) for letter in LETTERS if (found := staging.probabilities(letter))},
        "group_probabilities": dict(staging.group_probabilities),
        "reasons": list(staging.reasons),
        "not_assessed": list(staging.not_assessed),
    }
