from __future__ import annotations

import numpy as np
import pytest

from monai_staging.cohort.lesions import Part
from monai_staging.cohort.volume import Volume
from monai_staging.measure import measure_lesion
from monai_staging.outputs.findings import Algorithm, Category, Site
from monai_staging.predict.combine import OutlinedLesion, StageSets, combine, order_lesions, too_uncertain
from monai_staging.tnm.probabilities import group_probabilities

ALGORITHM = Algorithm("predict", "1", ())
LUNGS = np.array([[-60.0, 0.0, 0.0], [60.0, 100.0, 100.0]])
AFFINE = np.array([[1.0, 0, 0, -60], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
CHANCES = {"t": {"T1a": 0.1, "T2a": 0.7, "T4": 0.2}, "n": {"N0": 0.6, "N2": 0.4}, "m": {"M0": 1.0}}


def cube(corner: tuple[int, int, int], edge: int) -> Part:
    return Part(corner, np.ones((edge, edge, edge // 2), dtype=bool))


def lesion(corner: tuple[int, int, int], edge: int, malignancy: float, score: float | None = 0.5) -> OutlinedLesion:
    return OutlinedLesion(cube(corner, edge), np.zeros(6), score, malignancy)


@pytest.fixture
def volume() -> Volume:
    return Volume(np.full((120, 100, 60), 40, dtype=np.int16), AFFINE)


def learned(**sets: object) -> StageSets:
    groups = group_probabilities(CHANCES["t"], CHANCES["n"], CHANCES["m"], "8")
    values: dict[str, object] = {"letter_sets": {}, "group_set": (), "confidence": None} | sets
    return StageSets(CHANCES, groups, **values)  # type: ignore[arg-type]


def combined(volume: Volume, lesions: list[OutlinedLesion], sets: StageSets | None):  # type: ignore[no-untyped-def]
    ordered = order_lesions(lesions)
    uids = [f"1.2.{label}" for label in range(1, len(ordered) + 1)]
    return combine(volume, ordered, uids, sets, LUNGS, ALGORITHM, "8")


def test_the_largest_tumour_is_first_then_by_size() -> None:
    benign, small, large = lesion((0, 0, 0), 30, 0.2), lesion((40, 0, 0), 10, 0.9), lesion((80, 0, 0), 20, 0.6)
    assert order_lesions([benign, small, large]) == [large, benign, small]
    assert order_lesions([benign, lesion((9, 9, 9), 10, 0.4)])[0].malignancy == 0.4
    assert order_lesions([]) == []


def test_t_of_the_primary_tumour(volume: Volume) -> None:
    findings, warnings = combined(volume, [lesion((20, 10, 5), 12, 0.9)], learned())
    (found,) = findings.lesions
    assert found.category is Category.PRIMARY and found.site is Site.LEFT_LUNG
    mask = np.zeros(volume.shape, dtype=np.uint8)
    mask[20:32, 10:22, 5:11] = 1
    assert found.measurement == measure_lesion(mask, volume.affine, volume.array)
    assert findings.staging.tnm.t == found.measurement.size_t.members
    assert findings.staging.tnm.is_unknown("n") and findings.staging.tnm.is_unknown("m")
    assert "pericardium" in findings.staging.not_assessed
    assert findings.staging.confidence is None
    assert findings.staging.group_probabilities == pytest.approx(learned().groups)
    assert warnings == ()


def test_no_tumour_no_t(volume: Volume) -> None:
    for lesions, reason in (
        ([], "no lesion was found"),
        ([lesion((90, 0, 0), 8, 0.3)], "both certain and probably malignant"),
    ):
        findings, _ = combined(volume, lesions, None)
        assert findings.staging.tnm.is_unknown("t")
        assert reason in findings.staging.reasons[0]
    assert findings.lesions[0].category is Category.NODULE and findings.lesions[0].site is Site.RIGHT_LUNG


def test_what_does_not_go_together_is_said(volume: Volume) -> None:
    far = lesion((40, 20, 5), 60, 0.9)  # 60 mm and more: T3 at least, learned T2
    _, warnings = combined(volume, [far, lesion((2, 2, 2), 8, 0.8)], learned(group_set=("IA1",), confidence=0.9))
    said = " ".join(warnings)
    assert "1 further lesion is probably malignant" in said
    assert "The size gives T4 at least, the staging network T2 (0.70)" in said
    assert "none in common" in said


def test_sets_are_named_with_their_confidence(volume: Volume) -> None:
    sets = learned(letter_sets={"t": ("T1a", "T2a")}, group_set=("IB", "IIIA"), confidence=0.9)
    findings, _ = combined(volume, [lesion((20, 10, 5), 12, 0.9)], sets)
    assert findings.staging.groups == ("IB", "IIIA") and findings.staging.confidence == 0.9
    assert "T as learned: most probably T2a (0.70), with 90 % confidence T1a or T2a" in findings.staging.reasons


def test_in_the_middle_no_side_is_named(volume: Volume) -> None:
    findings, _ = combined(volume, [lesion((55, 10, 5), 10, 0.9)], None)
    assert findings.lesions[0].site is Site.LUNG


def test_no_stage_rests_on_a_box_that_is_hardly_a_lesion(volume: Volume) -> None:
    ghost = OutlinedLesion(cube((20, 10, 5), 60), np.zeros(6), 0.03, 0.9, sure=False)
    findings, _ = combined(volume, [ghost], learned())
    assert findings.staging.tnm.is_unknown("t") and findings.lesions[0].category is Category.NODULE
    assert "T is not measured: no lesion found is both certain and probably malignant" in findings.staging.reasons
    sure = lesion((90, 0, 0), 12, 0.6, score=0.9)
    findings, warnings = combined(volume, [ghost, sure], learned())
    assert findings.lesions[0].score == 0.9 and findings.lesions[0].category is Category.PRIMARY
    assert not any("further lesion" in text for text in warnings)
    (said,) = too_uncertain(order_lesions([ghost, sure]), "0.16 (2 fp/scan)")
    assert said.endswith("with a score below 0.16 (2 fp/scan) too uncertain to stage by: lesion 2 (score 0.03).")
    assert too_uncertain([sure], "0.16") == ()
