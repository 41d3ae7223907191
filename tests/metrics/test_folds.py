from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from monai_staging.errors import UsageError
from monai_staging.metrics import by_fold, patient_bootstrap
from monai_staging.metrics.classification import class_auroc


@pytest.fixture
def folds():
    """Truth, scores whose scale differs from fold to fold, and the folds."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 120)
    truth = rng.integers(0, 2, 120)
    return truth, truth + rng.normal(size=120) + 5 * labels, labels


def test_average_is_that_of_scikit_learn_fold_by_fold(folds):
    truth, scores, labels = folds
    weights = np.random.default_rng(1).multinomial(120, np.full(120, 1 / 120), size=4).astype(float)
    found = by_fold(class_auroc, labels)(truth, scores, weights)
    for value, weight in zip(found, weights, strict=True):
        areas = [
            roc_auc_score(truth[labels == fold], scores[labels == fold], sample_weight=weight[labels == fold])
            for fold in range(4)
        ]
        assert value == pytest.approx(np.mean(areas))


def test_scales_of_the_models_do_not_matter_unlike_in_a_pool(folds):
    truth, scores, labels = folds
    once = np.ones((1, 120))
    assert by_fold(class_auroc, labels)(truth, scores, once) == pytest.approx(
        by_fold(class_auroc, labels)(truth, scores - 5 * labels, once)
    )
    assert abs(class_auroc(truth, scores)[0] - class_auroc(truth, scores - 5 * labels)[0]) > 0.1


def test_an_undefined_fold_is_left_out_until_they_are_most():
    truth, scores = np.array([0, 1, 0, 1, 0, 1]), np.array([1.0, 2, 2, 1, 1, 1])
    labels = ["a", "a", "b", "b", "c", "c"]
    weights = np.array([[1.0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 2], [1, 1, 0, 1, 0, 1]])
    found = by_fold(class_auroc, labels)(truth, scores, weights)
    assert found == pytest.approx([(1 + 0 + 0.5) / 3, (1 + 0) / 2, np.nan], nan_ok=True)


def test_is_a_statistic_of_the_bootstrap(folds):
    truth, scores, labels = folds
    estimate = patient_bootstrap(by_fold(class_auroc, labels), np.arange(120), truth, scores, n=100, weighted=True)
    assert estimate.low < estimate.value < estimate.high


def test_refuses_other_rows():
    with pytest.raises(UsageError, match="2 folds for 3 rows"):
        by_fold(class_auroc, [0, 1])(np.zeros(3), np.zeros(3), np.ones((1, 3)))
    for labels in ([], [[0, 1]]):
        with pytest.raises(UsageError, match="one label a row"):
            by_fold(class_auroc, labels)
