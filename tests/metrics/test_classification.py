from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from monai_staging.errors import UsageError
from monai_staging.metrics import classification

CLASSES = 4


@st.composite
def weighted_rows(draw):
    """Truth, prediction, probabilities with ties, and three weightings with zeros, as a bootstrap makes them."""
    rows = draw(st.integers(1, 25))
    classes = st.lists(st.integers(0, CLASSES - 1), min_size=rows, max_size=rows)
    truth, predicted = np.array(draw(classes)), np.array(draw(classes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.integers(1, 6, (rows, CLASSES)).astype(float)
    weights = np.stack([np.ones(rows), *rng.multinomial(rows, np.full(rows, 1 / rows), size=2)])
    return truth, predicted, scores / scores.sum(axis=1, keepdims=True), weights


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


@settings(max_examples=60)
@given(weighted_rows())
def test_label_scores_agree_with_scikit_learn(data):
    truth, predicted, _, weights = data
    matrix = classification.confusion(truth, predicted, CLASSES, weights)
    for index, weight in enumerate(weights):
        drawn = weight > 0  # scikit-learn counts the classes of rows without weight; a resample does not have them
        true, guess, options = truth[drawn], predicted[drawn], {"sample_weight": weight[drawn]}
        labels = range(CLASSES)
        assert np.array_equal(matrix[index], reference.confusion_matrix(true, guess, labels=labels, **options))
        expected = {
            classification.accuracy: reference.accuracy_score(true, guess, **options),
            classification.balanced_accuracy: quiet(reference.balanced_accuracy_score, true, guess, **options),
            classification.macro_f1: reference.f1_score(true, guess, average="macro", **options),
            classification.quadratic_kappa: quiet(
                reference.cohen_kappa_score, true, guess, labels=labels, weights="quadratic", **options
            ),
        }
        for score, value in expected.items():
            assert score(matrix)[index] == pytest.approx(value, nan_ok=True), score.__name__


@settings(max_examples=60)
@given(weighted_rows())
def test_auroc_agrees_with_scikit_learn(data):
    truth, _, scores, weights = data
    ours = classification.auroc(truth, scores, weights)
    for index, weight in enumerate(weights):
        drawn = weight > 0
        areas = [
            reference.roc_auc_score(truth[drawn] == label, scores[drawn, label], sample_weight=weight[drawn])
            for label in range(CLASSES)
            if 0 < (truth[drawn] == label).sum() < drawn.sum()
        ]
        assert ours[index] == pytest.approx(np.mean(areas) if areas else np.nan, nan_ok=True)


def test_macro_auroc_is_scikit_learns_where_every_class_occurs():
    rng = np.random.default_rng(0)
    truth = np.arange(40) % CLASSES
    scores = rng.dirichlet(np.ones(CLASSES), 40)
    expected = reference.roc_auc_score(truth, scores, multi_class="ovr", average="macro")
    assert classification.auroc(truth, scores) == pytest.approx([expected])


def test_kappa_of_a_known_table():
    # Two raters, three ordered grades; weights (i - j)^2: 1 - (10 + 4 * 2) / (sum of expected disagreement).
    truth = np.repeat([0, 0, 1, 1, 2, 2], [20, 5, 5, 20, 2, 8])
    predicted = np.repeat([0, 1, 0, 1, 0, 2], [20, 5, 5, 20, 2, 8])
    matrix = classification.confusion(truth, predicted, 3)
    rows, columns = np.array([25, 25, 10]), np.array([27, 25, 8])
    expected_cost = sum(rows[i] * columns[j] * (i - j) ** 2 for i in range(3) for j in range(3)) / 60
    assert classification.quadratic_kappa(matrix) == pytest.approx([1 - 18 / expected_cost])


def test_known_areas():
    positive = np.array([0, 0, 1, 1])
    assert classification.class_auroc(positive, [0.1, 0.2, 0.3, 0.4]) == [1]
    assert classification.class_auroc(positive, [0.4, 0.3, 0.2, 0.1]) == [0]
    assert classification.class_auroc(positive, [0.5, 0.5, 0.5, 0.5]) == [0.5]
    assert classification.class_auroc(positive, [0.1, 0.4, 0.35, 0.8]) == [0.75]


def test_undefined_is_nan_without_a_warning():
    same = classification.confusion([1, 1], [1, 1], 3)
    assert np.isnan(classification.quadratic_kappa(same)).all()
    assert classification.balanced_accuracy(same) == [1]
    nothing = classification.confusion([], [], 3)
    for score in (classification.accuracy, classification.balanced_accuracy, classification.macro_f1):
        assert np.isnan(score(nothing)).all()
    assert np.isnan(classification.auroc([1, 1], np.full((2, 3), 1 / 3))).all()
    assert np.isnan(classification.auroc([], np.zeros((0, 3)))).all()
    assert np.isnan(classification.class_auroc([], [])).all()


def test_refuses_what_makes_no_sense():
    with pytest.raises(UsageError, match=r"0\.\.2, found 0\.\.3"):
        classification.confusion([0, 3], [0, 1], 3)
    with pytest.raises(UsageError, match="2 rows of truth for 1"):
        classification.confusion([0, 1], [0], 3)
    with pytest.raises(UsageError, match=r"got shape \(2,\)"):
        classification.confusion([0, 1], [0, 1], 3, np.ones(2))
