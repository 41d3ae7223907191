"""Candidates of the training scans become examples: which are lesions, which are left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.cohort.volume import Volume, write_volume
from monai_staging.detection import Detections
from monai_staging.detection.truth import DetectionTruth
from monai_staging.detection.two_stage import CandidateCubes
from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.froc import match
from monai_staging.metrics.froc.findings import Findings
from monai_staging.workflows.candidates import (
    CandidatePrepareBatch,
    LesionCopies,
    hits,
    mine_candidates,
    weights_digest,
)


class Listed:
    """Finds what it is told, by case."""

    def __init__(self, centers: dict[str, list[tuple[float, float, float]]]) -> None:
        self.centers = centers

    def detect(self, volume: Volume, case: str) -> Detections:
        points = np.array(self.centers[case], dtype=float).reshape(-1, 3)
        return Detections.of_case(case, np.concatenate([points - 1, points + 1], axis=1), np.full(len(points), 0.5))


@given(st.integers(0, 1000), st.integers(0, 12), st.integers(0, 6))
def test_a_hit_is_what_froc_takes_for_one(seed, marks, lesions) -> None:
    random = np.random.default_rng(seed)
    points = random.uniform(0, 20, (marks, 3))
    cases = tuple(random.choice(["a", "b"], marks).tolist())
    found = Detections(cases, np.concatenate([points - 1, points + 1], axis=1), np.arange(marks, dtype=float))
    findings = Findings(
        tuple(random.choice(["a", "b"], lesions).tolist()),
        random.uniform(0, 20, (lesions, 3)),
        random.uniform(2, 20, lesions),
    )
    false = sorted(match(findings, found.marks(), ["a", "b"]).false_scores.tolist())
    assert np.flatnonzero(~hits(found, findings)).tolist() == false


@given(st.integers(0, 5), st.integers(0, 9), st.floats(0, 0.99), st.integers(0, 9))
def test_copies_lie_within_the_jitter(lesions, count, jitter, seed) -> None:
    random = np.random.default_rng(seed)
    findings = Findings(("a",) * lesions, random.uniform(0, 99, (lesions, 3)), random.uniform(4, 30, lesions))
    points = LesionCopies(count, jitter, seed).points(findings)
    assert points.shape == (lesions * count, 3)
    apart = np.linalg.norm(points.reshape(lesions, count, 3) - findings.centers_mm[:, None], axis=2)
    assert (apart <= jitter * findings.radii_mm[:, None] + 1e-9).all()


@pytest.fixture
def scans(tmp_path: Path) -> list[dict]:
    """Two scans; the second has a nodule, and a node that counts neither way."""
    hu = np.full((40, 40, 40), -900, np.int16)
    write_volume(tmp_path / "a.nii", Volume(hu, np.eye(4)))
    hu[18:23, 18:23, 18:23] = 400
    write_volume(tmp_path / "b.nii", Volume(hu, np.eye(4)))

    def lesion(kind: str, center: list[float]) -> dict:
        return {"kind": kind, "site": None, "center_mm": center, "size_mm": [5.0] * 3, "diameter_mm": 5.0}

    own = [lesion("nodule", [20.0] * 3), lesion("node", [10.0, 30.0, 30.0])]
    return [
        {"study": name, "case": f"case-{name}", "image": str(tmp_path / f"{name}.nii"), "lesions": lesions}
        for name, lesions in (("a", []), ("b", own))
    ]


def test_candidates_are_labelled_and_excluded_findings_left_out(scans: list[dict]) -> None:
    found = Listed({"a": [(5, 5, 5)], "b": [(21, 20, 20), (30, 8, 8), (10, 29, 30)]})
    truth = DetectionTruth.of(scans)
    examples = mine_candidates(found, scans, truth, CandidateCubes(7, 1.0, [(0, 2000)]), LesionCopies(3, 0.4, 1))
    assert examples.arrays["case"] == ["case-a", "case-b", "case-b", "case-b", "case-b", "case-b"]
    assert examples.values("label")[:, 0].tolist() == [0, 1, 0, 1, 1, 1]
    middles = examples.values("cube")[:, 0, 3, 3, 3]
    assert (middles > 127).tolist() == [False, True, False, True, True, True]
    batch = examples.__getitems__([1, 2])
    images, labels = CandidatePrepareBatch()(batch, "cpu")
    assert images.shape == (2, 1, 1, 7, 7, 7) and labels.tolist() == [[1.0], [0.0]] and float(images.max()) <= 1
    doubled, _ = CandidatePrepareBatch(lambda views: 2 * views)(batch, "cpu")
    torch.testing.assert_close(doubled, 2 * images)


def test_without_lesions_or_without_others_nothing_can_be_learned(scans: list[dict]) -> None:
    cubes = CandidateCubes(7)
    with pytest.raises(DataError, match="found 0 and 1"):
        mine_candidates(Listed({"a": [(5, 5, 5)]}), scans[:1], DetectionTruth.of(scans[:1]), cubes, LesionCopies())
    with pytest.raises(DataError, match="found 16 and 0"):
        mine_candidates(Listed({"a": [], "b": []}), scans, DetectionTruth.of(scans), cubes, LesionCopies())


def test_copies_out_of_range_are_refused() -> None:
    for wrong in ({"count": -1}, {"jitter": 1.0}, {"jitter": -0.1}):
        with pytest.raises(UsageError, match="LesionCopies"):
            LesionCopies(**wrong)


def test_a_digest_stands_for_the_weights() -> None:
    network = torch.nn.Linear(3, 2)
    digest = weights_digest(network)
    assert len(digest) == 8 and digest == weights_digest(network)
    with torch.no_grad():
        network.weight[0, 0] += 1e-6
    assert weights_digest(network) != digest
