"""Scores of ranked slices against scikit-learn and against counting by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from monai_staging.errors import DataError
from monai_staging.metrics.slices import TOP, StudyScores, accuracy_difference, slice_metrics


def study(rng: np.random.Generator, number: int, slices: int = 30, unknown: float = 0.0) -> StudyScores:
    truth = rng.choice(3, slices, p=(0.7, 0.15, 0.15))
    runs = np.split(np.arange(slices), np.flatnonzero(np.diff(truth)) + 1)
    nodules = tuple(run for run in runs if truth[run[0]] > 0)
    truth = np.where(rng.random(slices) < unknown, -1, truth)
    chances = rng.dirichlet((1, 1, 1), slices)
    places = np.arange(slices) * 3
    return StudyScores(
        f"case-{number}", f"patient-{number // 2}", places, places * 1.5, truth, chances, nodules,
        np.full((slices, 2), np.nan),
    )  # fmt: skip


@given(seed=st.integers(0, 10_000), unknown=st.sampled_from([0.0, 0.3]))
def test_scores_are_those_of_scikit_learn_and_of_counting(seed: int, unknown: float) -> None:
    rng = np.random.default_rng(seed)
    studies = [study(rng, number, unknown=unknown) for number in range(5)]
    found = {name: value.value for name, value in slice_metrics(studies, n_boot=0).items()}
    truth = np.concatenate([one.truth for one in studies])
    chances = np.concatenate([one.probabilities for one in studies])[truth >= 0]
    truth = truth[truth >= 0]
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, chances.argmax(axis=1)))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, chances.argmax(axis=1)))
    if (truth > 0).any() and not (truth > 0).all():
        assert found["auroc_nodule"] == pytest.approx(roc_auc_score(truth > 0, chances[:, 1:].sum(axis=1)))
    if (truth == 2).any():
        assert found["auroc_malignant"] == pytest.approx(roc_auc_score(truth == 2, chances[:, 2]))
    for k in TOP:
        recalls, hits = [], []
        for one in studies:
            chosen = set(sorted(range(len(one.places)), key=lambda row: -one.suspicion[row])[:k])
            rows = [row for row in range(len(one.places)) if one.truth[row] > 0]
            recalls += [len(chosen & set(rows)) / len(rows)] if rows else []
            hits += [bool(chosen & set(nodule.tolist())) for nodule in one.nodules]
        assert found.get(f"recall_at_{k}", 0) == pytest.approx(np.mean(recalls) if recalls else 0)
        assert found.get(f"found_at_{k}", 0) == pytest.approx(np.mean(hits) if hits else 0)


def test_intervals_are_over_patients() -> None:
    rng = np.random.default_rng(0)
    studies = [study(rng, number) for number in range(12)]
    found = slice_metrics(studies, n_boot=200, seed=1)
    assert found["balanced_accuracy"].n == 6
    for estimate in found.values():
        assert estimate.low <= estimate.value <= estimate.high
    # The same studies twice are no more patients.
    assert slice_metrics([*studies, *studies], n_boot=200, seed=1)["accuracy"] == found["accuracy"]


def test_ranks_of_equal_slices_go_from_the_foot_up() -> None:
    rng = np.random.default_rng(0)
    one = study(rng, 0, slices=4)
    equal = StudyScores(
        one.case, one.patient, one.places, one.z_mm, one.truth, np.full((4, 3), 1 / 3), (), one.peaks_mm
    )
    assert equal.ranks.tolist() == [1, 2, 3, 4]


def test_nothing_known_is_refused() -> None:
    with pytest.raises(DataError, match="at least 1 slice of known class"):
        slice_metrics([study(np.random.default_rng(0), 0, unknown=1.1)])


def test_a_difference_is_of_the_same_slices_whatever_their_order() -> None:
    rng = np.random.default_rng(2)
    ones = [study(rng, number) for number in range(8)]
    others = [replace(one, probabilities=rng.dirichlet((1, 1, 1), 30)) for one in ones]
    found = accuracy_difference(ones, others[::-1], n_boot=100)
    scores = [slice_metrics(group, n_boot=0)["balanced_accuracy"].value for group in (ones, others)]
    assert found.value == pytest.approx(scores[0] - scores[1]) and found.low <= found.value <= found.high
    assert accuracy_difference(ones, ones, n_boot=10).value == 0
    with pytest.raises(DataError, match="of the same slices"):
        accuracy_difference(ones, others[1:])
