"""What can be reported, and what cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from monai_staging.cohort.case import LESION_KINDS
from monai_staging.errors import DataError
from monai_staging.outputs.findings import Algorithm, Category, Findings, LesionFinding, Model, Site, StagingFinding
from monai_staging.tnm import TNM


def test_categories_are_the_kinds_of_lesions_of_a_cohort():
    assert {category.value for category in Category} == set(LESION_KINDS)


def test_the_digest_follows_from_every_value(study):
    findings = study.findings
    same = Findings(
        tuple(replace(lesion) for lesion in findings.lesions), replace(findings.staging), findings.algorithm
    )
    assert same.digest == findings.digest
    first = findings.lesions[0]
    for other in (
        replace(findings, lesions=(replace(first, score=0.31), *findings.lesions[1:])),
        replace(findings, staging=replace(findings.staging, groups=findings.staging.groups[1:])),
        replace(findings, algorithm=replace(findings.algorithm, models=(Model("staging", "sha256:0"),))),
    ):
        assert other.digest != findings.digest


def test_the_digest_is_the_same_in_another_process():
    code = (
        "from monai_staging.outputs.findings import *; from monai_staging.tnm import TNM;"
        "tnm = TNM({'T1a', 'T2a', 'T3', 'T4'}, {'N0', 'N1', 'N2'}, {'M0', 'M1a'});"
        "print(Findings((), StagingFinding(tnm, tnm.groups), Algorithm('a', '1')).digest)"
    )
    tnm = TNM({"T1a", "T2a", "T3", "T4"}, {"N0", "N1", "N2"}, {"M0", "M1a"})
    digest = Findings((), StagingFinding(tnm, tnm.groups), Algorithm("a", "1")).digest
    for seed in ("1", "2"):  # sets have another order
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        )
        assert done.stdout.strip() == digest


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tracking_uid": "1.02.3"}, "Lesion 1: tracking_uid must be a UID; found '1.02.3'"),
        ({"tracking_uid": "1." + "2" * 63}, "must be a UID"),
        ({"tracking_id": "x" * 65}, "at most 64 characters"),
        ({"tracking_id": "a\\b"}, "no backslash"),
        ({"tracking_id": " a"}, "without blanks at its ends; found ' a'"),
        ({"tracking_id": ""}, "one line of text"),
        ({"score": 1.1}, "Lesion 1: score must be 0 to 1; found 1.1"),
        ({"malignancy": float("nan")}, "malignancy must be 0 to 1; found nan"),
    ],
)
def test_a_lesion_that_cannot_be_written_is_refused(study, change, words):
    with pytest.raises(DataError, match=words.replace("\\", ".")):
        replace(study.findings.lesions[0], **change)


def test_lesions_are_numbered_and_told_apart(study):
    first, second = study.findings.lesions
    for lesions, words in (
        ((second, first), "labelled 1 to 2, in order; found .2, 1."),
        ((first, replace(second, label=3)), "found .1, 3."),
        ((first, replace(second, tracking_id="Lesion 1")), "a tracking_id of its own; found 'Lesion 1'"),
        ((first, replace(second, tracking_uid=first.tracking_uid)), "a tracking_uid of its own"),
    ):
        with pytest.raises(DataError, match=words):
            replace(study.findings, lesions=lesions)


def test_one_edition_for_all(study):
    tnm = TNM({"T1a"}, {"N0"}, {"M0"}, "9")
    with pytest.raises(DataError, match="one edition of TNM for all; found T by size in the 8th, the stage in the 9th"):
        replace(study.findings, staging=StagingFinding(tnm, tnm.groups))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"groups": ("IIIB", "IIIA")}, r"found \['IIIB', 'IIIA'\], expected \['IIIA', 'IIIB'\]"),
        ({"groups": ("IV",)}, "those of the 8th edition"),
        ({"confidence": 1.5}, "confidence must be 0 to 1; found 1.5"),
        ({"t_probabilities": {"T1x": 1.0}}, "T probabilities must be of the 8th edition's categories; found 'T1x'"),
        ({"n_probabilities": {"T1": 1.0}}, "N probabilities must be .* found 'T1'"),
        ({"m_probabilities": {"M0": 0.9}}, "M probabilities must sum to 1 .* they sum to 0.9"),
        ({"m_probabilities": {"M0": -1.0}}, "Probability of M0 must be 0 to 1; found -1.0"),
        ({"group_probabilities": {"V": 1.0}}, "Stage group probabilities must be .* found 'V'"),
        ({"reasons": ("two\nlines",)}, "Stage: reasons must be one line"),
        ({"not_assessed": ("",)}, "Stage: not_assessed must be one line"),
    ],
)
def test_a_stage_that_contradicts_itself_is_refused(study, change, words):
    with pytest.raises(DataError, match=words):
        replace(study.findings.staging, **change)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Model("two words", "sha256:0"), "Model 'two words': name must be one word"),
        (lambda: Model("a", ""), "Model: digest must be one line"),
        (lambda: Algorithm("", "1"), "Algorithm: name must be one line"),
        (lambda: Algorithm("a", "1" * 65), "Algorithm: version must have at most 64"),
        (lambda: Algorithm("a", "1", (Model("m", "0"), Model("m", "1"))), "each model has a name of its own"),
    ],
)
def test_an_algorithm_that_cannot_be_written_is_refused(make, words):
    with pytest.raises(DataError, match=words):
        make()


def test_optional_values_may_be_missing(study):
    first = study.findings.lesions[0]
    lesion = LesionFinding(1, "a", "1.2", Category.NODULE, Site.THORAX, first.measurement)
    assert (lesion.score, lesion.malignancy) == (None, None)
    json.dumps(study.findings.staging.tnm.to_json())
