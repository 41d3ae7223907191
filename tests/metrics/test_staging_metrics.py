from __future__ import annotations

import math
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn import metrics as reference

from monai_staging.errors import DataError
from monai_staging.metrics import StagingPredictions, label_counts, patient_bootstrap, staging_metrics
from monai_staging.metrics.levels import LEVELS
from monai_staging.metrics.staging import BASELINE_SCORES, SCORES
from monai_staging.tnm.categories import categories


def simulate(rows, edition="8", seed=0, unknown=0.15, skill=1.5):
    """Predictions of a model that is right more often than not, with some letters unknown."""
    rng = np.random.default_rng(seed)
    classes, letters, truth = {}, {}, {}
    for letter in "tnm":
        classes[letter] = names = categories(letter, edition)
        true = rng.integers(0, len(names), rows)
        logits = rng.normal(size=(rows, len(names)))
        logits[np.arange(rows), true] += skill
        letters[letter] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        truth[f"truth_{letter}"] = [names if rng.random() < unknown else (names[index],) for index in true]
    return StagingPredictions([f"case-{row}" for row in range(rows)], classes, **letters, **truth, edition=edition)


def counts_of(predictions):
    return label_counts(predictions.truth_t, predictions.truth_n, predictions.truth_m, predictions.edition)


@pytest.fixture(scope="module")
def predictions():
    return simulate(70)


@pytest.fixture(scope="module")
def report(predictions):
    return staging_metrics(predictions, counts_of(simulate(50, seed=1)), seed=3, n_boot=400)


def test_names_of_the_contract(predictions, report):
    expected = {f"{name}_{score}" for name in predictions.levels for score in SCORES}
    expected |= {f"{name}_majority_{score}" for name in predictions.levels for score in BASELINE_SCORES}
    assert set(report) == expected
    assert {"t_accuracy", "n_quadratic_kappa", "m_ece", "t_fine_accuracy", "m_fine_accuracy"} <= expected
    assert {"group_auroc", "group_fine_balanced_accuracy", "t_majority_accuracy"} <= expected
    nine = set(staging_metrics(simulate(20, "9"), n_boot=10))
    assert {f"{name}_accuracy" for name in LEVELS} <= nine
    assert not any("majority" in name for name in nine)


@pytest.mark.parametrize("name", ["t", "n", "m", "group", "t_fine", "m_fine", "group_fine"])
def test_values_agree_with_scikit_learn(predictions, report, name):
    level = predictions.levels[name]
    known = level.truth >= 0
    truth, predicted, scores = level.truth[known], level.probabilities[known].argmax(axis=1), level.probabilities[known]
    labels = range(len(level.classes))
    kappa = reference.cohen_kappa_score(truth, predicted, labels=labels, weights="quadratic")
    areas = [reference.roc_auc_score(truth == label, scores[:, label]) for label in np.unique(truth)]
    assert report[f"{name}_accuracy"].value == pytest.approx(reference.accuracy_score(truth, predicted))
    assert report[f"{name}_macro_f1"].value == pytest.approx(reference.f1_score(truth, predicted, average="macro"))
    recalls = reference.recall_score(truth, predicted, labels=np.unique(truth), average=None)
    assert report[f"{name}_balanced_accuracy"].value == pytest.approx(recalls.mean())
    assert report[f"{name}_quadratic_kappa"].value == pytest.approx(kappa)
    assert report[f"{name}_auroc"].value == pytest.approx(np.mean(areas))
    assert report[f"{name}_accuracy"].n == known.sum()


def test_intervals_are_those_of_scikit_learn_on_resampled_patients(predictions, report):
    level = predictions.levels["t"]
    known = level.known
    names = np.array(predictions.patients)[known]
    truth, predicted = level.truth[known], level.predicted[known]

    def kappa(true, guess):
        return reference.cohen_kappa_score(true, guess, labels=range(len(level.classes)), weights="quadratic")

    expected = patient_bootstrap(kappa, names, truth, predicted, n=400, seed=3)
    found = report["t_quadratic_kappa"]
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_unknown_truths_are_left_out_and_counted(predictions, report):
    unknown = sum(truth == categories("n", "8") for truth in predictions.truth_n)
    assert 0 < unknown < 70
    assert report["n_accuracy"].n == 70 - unknown
    assert report["group_fine_accuracy"].n <= report["group_accuracy"].n < 70


def test_studies_of_one_patient_count_once(predictions):
    twice = StagingPredictions(
        predictions.patients * 2,
        predictions.classes,
        *(np.concatenate([getattr(predictions, letter)] * 2) for letter in "tnm"),
        *(getattr(predictions, f"truth_{letter}") * 2 for letter in "tnm"),
    )
    once = staging_metrics(predictions, n_boot=100)["t_accuracy"]
    double = staging_metrics(twice, n_boot=100)["t_accuracy"]
    assert (double.value, double.low, double.high) == pytest.approx((once.value, once.low, once.high))
    assert double.n == once.n


def test_majority_is_that_of_training(predictions):
    training = {"t": {"T1": 3, "T4": 9}, "n": {"N0": 5, "N1": 5}}
    found = staging_metrics(predictions, training, n_boot=50)
    level = predictions.levels["t"]
    known = level.truth[level.known]
    assert found["t_majority_accuracy"].value == pytest.approx((known == level.classes.index("T4")).mean())
    assert found["t_majority_balanced_accuracy"].value == pytest.approx(1 / len(np.unique(known)))
    # The first of equals.
    nodes = predictions.levels["n"]
    assert found["n_majority_accuracy"].value == pytest.approx((nodes.truth[nodes.known] == 0).mean())
    # Nothing counted at this level: undefined, not guessed.
    assert math.isnan(found["m_majority_accuracy"].value)
    assert math.isnan(found["m_majority_accuracy"].low)


def test_a_perfect_model():
    perfect = simulate(40, skill=60, unknown=0)
    found = staging_metrics(perfect, n_boot=50)
    for name in ("t_accuracy", "group_fine_accuracy", "n_macro_f1", "m_auroc", "t_fine_quadratic_kappa"):
        assert (found[name].value, found[name].low, found[name].high) == pytest.approx((1, 1, 1))
    assert found["t_ece"].value < 1e-6


def test_a_level_without_any_truth_is_undefined_with_n_0():
    found = staging_metrics(simulate(6, unknown=1.1), n_boot=20)
    for name in SCORES:
        estimate = found[f"t_{name}"]
        assert math.isnan(estimate.value)
        assert estimate.n == 0


def test_same_seed_same_report(predictions, report):
    again = staging_metrics(predictions, counts_of(simulate(50, seed=1)), seed=3, n_boot=400)
    assert again == report
    assert staging_metrics(predictions, seed=4, n_boot=400)["t_accuracy"] != report["t_accuracy"]


def test_refuses_no_patient_and_labels_of_another_edition(predictions):
    with pytest.raises(DataError, match="at least 1 patient, found 0"):
        staging_metrics(simulate(0))
    with pytest.raises(DataError, match="Label counts of m_fine .* found M1c1: another edition"):
        staging_metrics(predictions, {"m_fine": {"M1c1": 2}}, n_boot=5)


def test_a_thousand_patients_take_seconds():
    large = simulate(1000, "9")
    start = time.process_time()
    staging_metrics(large, counts_of(large), n_boot=1000)
    assert time.process_time() - start < 6  # measured: 1.5; room for a busy machine


def test_metrics_need_no_torch():
    code = "import sys, monai_staging.metrics as m; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
