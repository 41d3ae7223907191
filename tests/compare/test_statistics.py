"""A comparison's numbers against scikit-learn and against what the arms were made to show."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from monai_staging.compare.findings import Findings
from monai_staging.compare.plan import Arm
from monai_staging.compare.report import write_report
from monai_staging.compare.results import Results
from monai_staging.compare.statistics import Resampling, find
from monai_staging.errors import DataError

from .conftest import PATIENTS, truth_of, write_nodule_arm

HOW = Resampling(n_boot=200, n_permutations=200)


@pytest.fixture
def findings(results: Results) -> Findings:
    return find(results, HOW)


def by_fold_and_seed(results: Results, init: str, fraction: float) -> list[tuple[list[int], list[float]]]:
    found = []
    for seed in range(3):
        for fold in range(2):
            with open(results.folders[Arm("Net", init, fraction, seed, fold)] / "predictions.csv") as file:
                rows = list(csv.DictReader(file))
            found.append(
                ([int(row["label"] == "malignant") for row in rows], [float(row["p_malignant"]) for row in rows])
            )
    return found


def test_a_figure_is_the_mean_over_seeds_and_folds(results: Results, findings: Findings) -> None:
    parts = by_fold_and_seed(results, "transfer", 1.0)
    estimates = findings.estimates["Net", "transfer", 1.0]
    assert estimates["auroc"].value == pytest.approx(np.mean([roc_auc_score(*part) for part in parts]))
    assert estimates["brier"].value == pytest.approx(np.mean([brier_score_loss(*part) for part in parts]))
    assert estimates["auroc"].low < estimates["auroc"].value < estimates["auroc"].high
    assert estimates["auroc"].n == PATIENTS == findings.patients


def test_differences_are_paired_and_tested_as_one_family(findings: Findings) -> None:
    small, whole = findings.contrasts["auroc"]
    assert (small.fraction, whole.fraction) == (0.1, 1.0)
    values = {init: findings.estimates["Net", init, 0.1]["auroc"].value for init in ("transfer", "scratch")}
    assert small.difference.value == pytest.approx(values["transfer"] - values["scratch"])
    assert small.difference.low > 0
    # Shared noise: the pairs differ far less than the arms vary.
    spread = findings.estimates["Net", "transfer", 1.0]["auroc"]
    assert whole.difference.high - whole.difference.low < 0.5 * (spread.high - spread.low)
    assert small.adjusted == pytest.approx(min(1.0, 2 * small.difference.p))
    assert small.delong is not None and small.delong.value > 0 and small.delong.p < 0.01


def test_the_best_arm_is_held_against_the_baseline_and_said_in_words(findings: Findings) -> None:
    assert findings.best == ("Net", "transfer", 1.0)
    (rival,) = findings.rivals
    assert (rival.other_network, rival.fraction) == ("ruler", 1.0)
    text = "\n".join(findings.conclusions)
    assert "Net: transfer adds" in text and "Best: Net, transfer, AUC" in text and "Against ruler: ahead" in text


def test_speed_is_epochs_until_the_reference_arms_best(findings: Findings) -> None:
    speed = findings.speeds["Net", "transfer", 1.0]
    assert (speed.epochs, speed.seconds, speed.reached, speed.runs) == (2.0, 4.0, 6, 6)
    assert ("Net", "scratch", 1.0) not in findings.speeds


def test_arms_that_predicted_other_cases_are_refused(results: Results) -> None:
    path = results.folders[Arm("Net", "transfer", 1.0, 1, 0)] / "predictions.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match="seed 1: all arms must predict the same cases"):
        find(Results(results.comparison, results.folders), HOW)


def test_arms_that_differ_between_initialisations_are_refused(results: Results) -> None:
    for seed in range(3):
        path = results.folders[Arm("Net", "transfer", 1.0, seed, 0)] / "predictions.csv"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataError, match="found 59 of label, other arms have 60"):
        find(Results(results.comparison, results.folders), HOW)


def test_the_report_holds_tables_figures_and_json(results: Results, findings: Findings, tmp_path: Path) -> None:
    report = write_report(tmp_path / "out", results, findings, "made-up nodules", "seed 0")
    assert "| 10 %   | ruler" in report.text and "Transfer against scratch: AUC" in report.text
    assert {path.name for path in report.figures} == {"fractions.png", "differences.png", "curves.png"}
    document = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert document["best"] == {"network": "Net", "init": "transfer", "fraction": 1.0}
    with open(tmp_path / "out" / "arms.csv", newline="") as file:
        rows = {(row["network"], row["init"], row["fraction"]): row for row in csv.DictReader(file)}
    assert float(rows["Net", "transfer", "1.0"]["auroc"]) == pytest.approx(
        findings.estimates["Net", "transfer", 1.0]["auroc"].value, rel=1e-5
    )


def test_truth_is_the_same_in_every_arm(tmp_path: Path) -> None:
    arm = Arm("Net", "scratch", 1.0, 0, None)
    write_nodule_arm(tmp_path / "a", arm, 1.0)
    with open(tmp_path / "a" / "predictions.csv", newline="") as file:
        assert [row["label"] == "malignant" for row in csv.DictReader(file)] == [
            bool(truth_of(n)) for n in range(PATIENTS)
        ]
