"""A patient's scores: against scikit-learn, with what was chosen elsewhere, and arms compared patient by patient."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from monai_staging.errors import UsageError
from monai_staging.metrics.nodules import NodulePredictions
from monai_staging.metrics.patients import (
    Decision,
    PatientArm,
    arm_differences,
    arm_metrics,
    choose_decision,
    patient_metrics,
)


def predictions(seed: int = 0, rows: int = 60, sharp: float = 1.0, unknown: int = 0) -> NodulePredictions:
    """Calibrated log-odds, made ``sharp`` times too sure."""
    random = np.random.default_rng(seed)
    odds = random.normal(0, 1.5, rows)
    labels = (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(float)
    labels[:unknown] = np.nan
    names = tuple(f"case-{row}" for row in range(rows))
    chances = 1 / (1 + np.exp(-sharp * odds))
    return NodulePredictions(names, names, "binary", ("no cancer", "cancer"), labels[:, None], chances[:, None])


def test_scores_are_those_of_the_labelled_patients_at_what_was_chosen() -> None:
    found = predictions(unknown=5)
    decision = Decision(threshold=0.3, temperature=2.0, patients=7)
    scores = patient_metrics(found, decision, n_boot=50)
    truth, chances = found.labels[5:, 0], found.probabilities[5:, 0]
    assert scores["auroc"].n == 55 and scores["auroc"].value == pytest.approx(roc_auc_score(truth, chances))
    assert scores["accuracy"].value == pytest.approx(np.mean((chances >= 0.3) == truth))
    calibrated = 1 / (1 + np.exp(-np.log(chances / (1 - chances)) / 2))
    assert scores["calibrated_log_loss"].value == pytest.approx(log_loss(truth, calibrated))
    assert scores["calibrated_brier"].value == pytest.approx(brier_score_loss(truth, calibrated))
    assert scores["calibrated_ece"].low <= scores["calibrated_ece"].high
    assert (scores["threshold"].value, scores["threshold"].n) == (0.3, 7) and math.isnan(scores["temperature"].low)


def test_odds_that_are_too_sure_are_cooled() -> None:
    decision = choose_decision(predictions(rows=4000, sharp=3.0), "others")
    assert decision.temperature == pytest.approx(3.0, rel=0.15) and decision.patients == 4000
    judged = patient_metrics(predictions(1, 2000, 3.0), decision, n_boot=20)
    assert judged["calibrated_log_loss"].high < judged["log_loss"].low
    assert judged["calibrated_ece"].value < judged["ece"].value


def test_nothing_is_chosen_on_nobody() -> None:
    assert choose_decision(predictions(rows=4, unknown=4)) == Decision()
    one = predictions(rows=3)
    one.labels[:] = 1
    assert choose_decision(one).temperature == 1.0


def arm(noise: float, seeds: int = 2, rows: int = 80) -> PatientArm:
    random = np.random.default_rng(5)
    truth = (np.arange(rows) % 2).astype(float)
    odds = np.stack([2 * truth - 1 + np.random.default_rng(seed).normal(0, noise, rows) for seed in range(seeds)])
    names = tuple(f"case-{number}" for number in random.permutation(rows))
    return PatientArm(names, truth, 1 / (1 + np.exp(-odds)), (odds >= 0).astype(float))


def test_an_arm_is_the_mean_of_its_seeds() -> None:
    one = arm(1.0)
    found = arm_metrics(one, n_boot=50)
    areas = [roc_auc_score(one.truth, row) for row in one.probabilities]
    assert found["auroc"].value == pytest.approx(np.mean(areas)) and found["auroc"].n == 80
    losses = [log_loss(one.truth, row) for row in one.probabilities]
    loss = found["log_loss"]
    assert loss.value == pytest.approx(np.mean(losses)) and loss.low < loss.value < loss.high
    assert found["accuracy"].value == pytest.approx((one.called == one.truth).mean()) and found["ece"].value > 0


def test_arms_are_compared_on_the_same_patients() -> None:
    sharp, vague = arm(0.8), arm(3.0)
    found = arm_differences(sharp, vague, n_boot=200)
    assert found["auroc"].low > 0 and found["auroc"].p < 0.05 and found["log_loss"].high < 0
    right = [(one.called == one.truth).mean() for one in (sharp, vague)]
    assert found["accuracy"].value == pytest.approx(right[0] - right[1])
    assert math.isnan(found["ece"].p)
    none = arm_differences(sharp, sharp, n_boot=50)
    assert none["auroc"].value == 0 and none["auroc"].p == 1
    with pytest.raises(UsageError, match="same patients in the same order"):
        arm_differences(sharp, arm(1.0, rows=60))
