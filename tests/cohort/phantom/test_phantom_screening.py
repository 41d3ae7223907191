"""Screened phantoms: half of them have a cancer, the readers see what nodules look like, and all of it is ingested."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from monai_staging.cli.main import main
from monai_staging.cohort import load_cohort
from monai_staging.cohort.default import default_cohort
from monai_staging.cohort.ingest import ingest
from monai_staging.cohort.phantom import PhantomConfig, write_phantom_tree
from monai_staging.cohort.phantom.screening import CANCER, HARMLESS, READERS, ScreeningPlan, plan_screening
from monai_staging.cohort.phantom.study import configuration_digest
from monai_staging.cohort.phantom.truth import PhantomTruth
from monai_staging.cohort.volume import read_mask

SEED = 8
PLANS = [plan_screening(SEED, index) for index in range(2000)]
TINY = PhantomConfig(resolution="tiny", disease="screening")
SEVERAL = next(index for index, plan in enumerate(PLANS) if plan.cancer and len(plan.nodules) > 2)


def largest(plan: ScreeningPlan) -> float:
    return max((nodule.diameter_mm for nodule in plan.nodules), default=0.0)


def worst(plan: ScreeningPlan) -> float:
    return max((float(np.mean(ratings)) for ratings in plan.ratings), default=0.0)


def test_exactly_one_of_two_neighbours_has_a_cancer_and_either_may() -> None:
    cancer = np.array([plan.cancer for plan in PLANS]).reshape(-1, 2)
    assert (cancer.sum(axis=1) == 1).all()
    # Even and odd phantoms come with different files (SEG, RTSTRUCT): that must tell nothing.
    assert 0.45 < cancer[:, 0].mean() < 0.55


def test_harmless_nodules_are_as_many_in_either_kind_of_patient() -> None:
    harmless = {
        cancer: np.array([len(plan.nodules) - plan.cancer for plan in PLANS if plan.cancer is cancer])
        for cancer in (True, False)
    }
    difference = harmless[True].mean() - harmless[False].mean()
    assert abs(difference) < 4 * np.hypot(*(counts.std() / len(counts) ** 0.5 for counts in harmless.values()))
    assert any(not plan.nodules for plan in PLANS)


def test_size_and_looks_tell_a_cancer_often_and_not_always() -> None:
    cancer = [plan.cancer for plan in PLANS]
    assert 0.85 < roc_auc_score(cancer, [largest(plan) for plan in PLANS]) < 0.95
    assert 0.88 < roc_auc_score(cancer, [worst(plan) for plan in PLANS]) < 0.97


def test_nodules_lie_in_their_kinds_bounds_and_have_four_ratings() -> None:
    for plan in PLANS:
        sizes = [nodule.diameter_mm for nodule in plan.nodules]
        assert sizes == sorted(sizes, reverse=True)
        assert all(HARMLESS.range_mm[0] <= size <= CANCER.range_mm[1] for size in sizes)
        assert all(len(ratings) == READERS and set(ratings) <= {1, 2, 3, 4, 5} for ratings in plan.ratings)
        assert not any(nodule.calcified and nodule.texture != "solid" for nodule in plan.nodules)


def test_calcified_nodules_are_rated_benign() -> None:
    rated = [
        np.mean(ratings)
        for plan in PLANS
        for nodule, ratings in zip(plan.nodules, plan.ratings, strict=True)
        if nodule.calcified
    ]
    assert len(rated) > 100
    assert np.mean(np.array(rated) < 2) > 0.9


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[PhantomTruth]]:
    raw = tmp_path_factory.mktemp("screening")
    return raw, write_phantom_tree(raw, 0, SEED, TINY, workers=1, indexes=[SEVERAL, SEVERAL ^ 1])


def test_a_tree_says_who_has_a_cancer_and_what_the_readers_said(tree: tuple[Path, list[PhantomTruth]]) -> None:
    raw, truths = tree
    with open(raw / "cancer.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"id": truth.patient, "cancer": str(int(bool(truth.cancer)))} for truth in truths]
    assert [truth.cancer for truth in truths] == [PLANS[SEVERAL].cancer, PLANS[SEVERAL ^ 1].cancer]
    for truth, index in zip(truths, (SEVERAL, SEVERAL ^ 1), strict=True):
        assert tuple(lesion.malignancy for lesion in truth.lesions) == PLANS[index].ratings
        kept = json.loads((raw / "truth" / f"{truth.patient}.json").read_text(encoding="utf-8"))["truth"]
        assert PhantomTruth.from_json(kept) == truth


@pytest.mark.usefixtures("reads_here")
def test_a_tree_is_ingested_with_its_labels_and_ratings(tree: tuple[Path, list[PhantomTruth]], tmp_path: Path) -> None:
    raw, _ = tree
    ingest("phantom", raw, tmp_path / "cohort")
    cohort = load_cohort(tmp_path / "cohort")
    for case in cohort.cases:
        index = int(case.patient.rsplit("-", 1)[1])
        path = cohort.mask_path(case)
        assert path is not None
        mask, _ = read_mask(path)
        assert set(np.unique(mask)) - {0} == {lesion.label for lesion in case.lesions}
        assert case.clinical["cancer"] is PLANS[index].cancer
        assert tuple(lesion.malignancy for lesion in case.lesions) == PLANS[index].ratings
        assert {lesion.kind for lesion in case.lesions} <= {"nodule"}
        # Nobody has staged anything.
        assert len(case.t) > 1


def test_the_default_cohort_is_labelled_likewise(tmp_path: Path) -> None:
    root = default_cohort(tmp_path / "cohort", patients=2, seed=SEED, resolution="tiny", workers=1, disease="screening")
    cancers = {case.patient: case.clinical["cancer"] for case in load_cohort(root).cases}
    assert cancers == {f"PH-{SEED}-{index:04d}": PLANS[index].cancer for index in range(2)}


def test_cohorts_of_other_diseases_are_what_they_were() -> None:
    digests = {configuration_digest(PhantomConfig(disease=disease)) for disease in ("cancer", "nodules", "screening")}
    assert len(digests) == 3


def test_the_command_counts_patients_with_a_cancer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["phantom", str(tmp_path / "raw"), "--cases", "2", "--resolution", "tiny", "--disease", "screening"]
    assert main([*words, "--workers", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["cancer"] == {"no": 1, "yes": 1}
