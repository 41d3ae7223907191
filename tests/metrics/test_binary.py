from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as reference

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics import Estimate, binary, binary_metrics, patient_bootstrap
from monai_staging.metrics.calibration import calibration_error
from monai_staging.metrics.classification import class_auroc


@pytest.fixture
def cohort():
    """Truth, probability and patients of 150 nodules, several a patient, with ties."""
    rng = np.random.default_rng(0)
    patients = np.array([f"P{number}" for number in rng.integers(0, 60, 150)])
    truth = rng.integers(0, 2, 150)
    return truth, np.round(1 / (1 + np.exp(-(truth - 0.5 + rng.normal(size=150)))), 2), patients


def test_values_are_scikit_learns(cohort):
    truth, probability, patients = cohort
    found = binary_metrics(truth, probability, patients, threshold=0.4, n_boot=20)
    called = probability >= 0.4
    expected = {
        "auroc": reference.roc_auc_score(truth, probability),
        "average_precision": reference.average_precision_score(truth, probability),
        "accuracy": reference.accuracy_score(truth, called),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, called),
        "sensitivity": reference.recall_score(truth, called),
        "specificity": reference.recall_score(truth, called, pos_label=0),
        "brier": reference.brier_score_loss(truth, probability),
        "log_loss": reference.log_loss(truth, probability),
        "ece": calibration_error(probability, truth)[0],
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value), name
    assert set(found) - set(expected) == {
        "sensitivity_at_90_specificity",
        "specificity_at_90_sensitivity",
        "calibration_slope",
        "calibration_intercept",
    }
    for estimate in found.values():
        assert estimate.low <= estimate.value <= estimate.high or estimate == found["ece"]
        assert estimate.n == len(set(patients))
    json.dumps({name: estimate.to_json() for name, estimate in found.items()})


def test_intervals_are_those_of_the_patient_bootstrap(cohort):
    truth, probability, patients = cohort
    found = binary_metrics(truth, probability, patients, seed=3, n_boot=200, level=0.9)["auroc"]
    assert found == patient_bootstrap(
        class_auroc, patients, truth, probability, n=200, seed=3, level=0.9, weighted=True
    )


def test_batches_do_not_show(cohort, monkeypatch):
    whole = binary_metrics(*cohort, n_boot=50)
    monkeypatch.setattr(binary, "CELLS", 1000)
    parts = binary_metrics(*cohort, n_boot=50)
    for name, estimate in whole.items():
        assert (parts[name].value, parts[name].low, parts[name].high) == pytest.approx(
            (estimate.value, estimate.low, estimate.high)
        ), name


def test_what_needs_both_classes_is_undefined_with_one():
    found = binary_metrics([1, 1, 1], [0.2, 0.8, 0.9], ["a", "b", "c"], n_boot=20)
    nothing = Estimate(np.nan, np.nan, np.nan, 3).to_json()
    for name in ("auroc", "specificity", "sensitivity_at_90_specificity", "calibration_slope", "calibration_intercept"):
        assert found[name].to_json() == nothing, name
    assert found["sensitivity"].value == pytest.approx(2 / 3)
    assert found["average_precision"].value == 1


def test_a_certain_error_costs_what_the_clip_says():
    assert binary.log_loss([1], [0.0]) == pytest.approx([-np.log(1e-7)])
    assert binary.brier_score([1, 0], [0.0, 0.5], np.array([[1.0, 0.0], [1.0, 1.0]])) == pytest.approx([1, 0.625])


def test_refuses_rows_that_make_no_sense():
    with pytest.raises(UsageError, match=r"shapes \(2,\), \(3,\) and \(2,\)"):
        binary_metrics([0, 1], [0.1, 0.2, 0.3], ["a", "b"])
    with pytest.raises(DataError, match="at least 1 row"):
        binary_metrics([], [], [])
    with pytest.raises(DataError, match=r"b: a truth is 0 or 1, found 2 \(row 1\)"):
        binary_metrics([0, 2], [0.1, 0.2], ["a", "b"])
    for probability in (1.2, -0.1, np.nan):
        with pytest.raises(DataError, match=rf"b: a probability lies in 0\.\.1, found {probability} \(row 1\)"):
            binary_metrics([0, 1], [0.1, probability], ["a", "b"])
