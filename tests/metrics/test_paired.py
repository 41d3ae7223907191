from __future__ import annotations

import json
import math
from itertools import product

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import brier_score_loss

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics import PairedDifference, paired, paired_difference, permutation_p_value, resample
from monai_staging.metrics.binary import brier_score
from monai_staging.metrics.classification import class_auroc


def mean_score(truth, scores, weights):
    return weights @ scores / weights.sum(axis=1)


def simulated(rng, patients=40, nodules=2, repetitions=2, advantage=0.0, seed_noise=0.0):
    """Several nodules a patient; arms share a patient's part of the score, repetitions of an arm the arm's part.

    ``seed_noise`` is how much the strength of the signal varies between repetitions, whatever the arm.
    """
    whose = np.repeat(np.arange(patients), nodules)
    truth = (rng.normal(size=patients)[whose] + 0.7 * rng.normal(size=len(whose)) > 0).astype(int)
    common = rng.normal(size=patients)[whose]
    arms = []
    for gain in (advantage, 0.0):
        own = 0.5 * rng.normal(size=patients)[whose]
        strength = 1 + gain + seed_noise * rng.normal(size=(repetitions, 1))
        arms.append(strength * truth + common + own + 0.5 * rng.normal(size=(repetitions, len(whose))))
    return whose, truth, arms[0], arms[1]


def area(truth, arm, folds=None):
    """Mean area of the repetitions of an arm, by counting pairs; averaged over folds if there are any."""
    groups = [np.ones(len(truth), dtype=bool)] if folds is None else [folds == fold for fold in np.unique(folds)]
    wins = []
    for rows in groups:
        above, below = arm[:, rows & (truth == 1), None], arm[:, None, rows & (truth == 0)]
        wins.append(((above > below) + 0.5 * (above == below)).mean())
    return np.mean(wins)


def exact_p(patients, truth, a, b, difference):
    """Share of all swaps of patients whose difference is at least the observed one."""
    names = np.unique(patients)
    observed = abs(difference(truth, a, b))
    extreme = []
    for swaps in product([False, True], repeat=len(names)):
        swapped = np.isin(patients, names[list(swaps)])
        extreme.append(abs(difference(truth, np.where(swapped, b, a), np.where(swapped, a, b))) >= observed - 1e-12)
    return np.mean(extreme)


def test_interval_is_that_of_resampled_rows():
    patients, truth, a, b = simulated(np.random.default_rng(0))
    found = paired_difference(
        class_auroc, patients, truth, a, b, n_boot=100, n_permutations=0, resample_repetitions=False, seed=4
    )
    drawn = resample(patients, 100, seed=4).weights.astype(int)
    rows = [np.repeat(np.arange(len(truth)), count) for count in drawn]
    values = [area(truth[pick], a[:, pick]) - area(truth[pick], b[:, pick]) for pick in rows]
    assert found.value == pytest.approx(area(truth, a) - area(truth, b))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))
    assert found.n == 40
    assert math.isnan(found.p)


def test_both_arms_see_the_same_patients():
    """What makes a patient hard for both arms cancels: a constant advantage has an interval without width."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(1, 30))
    found = paired_difference(mean_score, np.arange(30), np.zeros(30), scores + 0.25, scores, n_permutations=0)
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_repetitions_are_drawn_in_pairs():
    """Patients alike, differences of 0 and 1 in two repetitions: resamples of the repetitions are 0, 0.5, 0.5 and 1."""
    a, b = np.array([[5.0] * 20, [9.0] * 20]), np.array([[5.0] * 20, [8.0] * 20])
    options = {"n_permutations": 0, "n_boot": 400}
    both = paired_difference(mean_score, np.arange(20), np.zeros(20), a, b, **options)
    patients_only = paired_difference(
        mean_score, np.arange(20), np.zeros(20), a, b, resample_repetitions=False, **options
    )
    assert (both.value, both.low, both.high) == (0.5, 0, 1)
    assert (patients_only.low, patients_only.high) == (0.5, 0.5)
    quarter = paired_difference(mean_score, np.arange(20), np.zeros(20), a, b, level=0.4, **options)
    assert (quarter.low, quarter.high) == (0.5, 0.5)


def test_one_repetition_may_come_without_its_axis():
    patients, truth, a, b = simulated(np.random.default_rng(1), repetitions=1)
    options = {"n_boot": 50, "n_permutations": 50}
    assert paired_difference(class_auroc, patients, truth, a[0], b[0], **options) == paired_difference(
        class_auroc, patients, truth, a, b, resample_repetitions=False, **options
    )


def test_permutation_p_is_the_share_of_all_swaps():
    patients, truth, a, b = simulated(np.random.default_rng(3), patients=9, advantage=1.0)
    ranks = [np.array([rankdata(scores) for scores in arm]) for arm in (a, b)]
    expected = exact_p(patients, truth, *ranks, lambda truth, a, b: area(truth, a) - area(truth, b))
    assert 0.02 < expected < 0.9
    found = permutation_p_value(class_auroc, patients, truth, a, b, n=20_000)
    assert found == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 20_000))


def test_permutation_p_by_fold_and_repetition():
    patients, truth, a, b = simulated(np.random.default_rng(5), patients=9, advantage=0.8)
    folds = np.where(patients < 5, "x", "y")
    other = np.where(patients % 2 == 0, "x", "y")
    splits = np.stack([folds, other])
    ranks = [np.empty_like(a), np.empty_like(b)]
    for arm, ranked in zip((a, b), ranks, strict=True):
        for repetition, labels in enumerate(splits):
            for fold in "xy":
                rows = labels == fold
                ranked[repetition, rows] = rankdata(arm[repetition, rows])

    def difference(truth, a, b):
        return np.mean(
            [area(truth, a[[index]], labels) - area(truth, b[[index]], labels) for index, labels in enumerate(splits)]
        )

    expected = exact_p(patients, truth, *ranks, difference)
    assert 0.02 < expected < 0.9
    found = paired_difference(class_auroc, patients, truth, a, b, folds=splits, n_boot=100, n_permutations=20_000)
    assert found.value == pytest.approx(difference(truth, a, b))
    assert found.p == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 20_000))


def test_probabilities_are_swapped_as_they_are():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 9)
    a, b = (np.clip(truth * 0.4 + rng.uniform(0, 0.6, (1, 9)) - worse, 0, 1) for worse in (0, 0.1))

    def difference(truth, a, b):
        return brier_score_loss(truth, a[0]) - brier_score_loss(truth, b[0])

    expected = exact_p(np.arange(9), truth, a, b, difference)
    found = permutation_p_value(brier_score, np.arange(9), truth, a, b, n=20_000, scale="score")
    assert found == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 20_000))
    with pytest.raises(UsageError, match='ranking changes this one.*scale="score"'):
        permutation_p_value(brier_score, np.arange(9), truth, a, b)
    with pytest.raises(UsageError, match="got 'logit'"):
        permutation_p_value(class_auroc, np.arange(9), truth, a, b, scale="logit")


def test_ranks_make_arms_of_another_scale_comparable():
    patients, truth, a, b = simulated(np.random.default_rng(0), advantage=0.5)
    first = permutation_p_value(class_auroc, patients, truth, a, b, n=300)
    assert permutation_p_value(class_auroc, patients, truth, 1 / (1 + np.exp(-a)), 100 * b, n=300) == first


def test_p_is_never_0_and_that_of_equal_arms_is_1():
    truth = np.repeat([0, 1], 20)
    perfect, useless = truth + 0.0, 1.0 - truth
    assert permutation_p_value(class_auroc, np.arange(40), truth, perfect, useless, n=99) == 0.01
    same = paired_difference(class_auroc, np.arange(40), truth, perfect, perfect, n_boot=50, n_permutations=99)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_neither_batches_nor_names_show(monkeypatch):
    patients, truth, a, b = simulated(np.random.default_rng(0))
    options = {"n_boot": 100, "n_permutations": 200, "seed": 7}
    whole = paired_difference(class_auroc, patients, truth, a, b, **options)
    monkeypatch.setattr(paired, "CELLS", 1000)
    named = [f"{(patient * 7) % 40:02d}" for patient in patients]
    assert paired_difference(class_auroc, named, truth, a, b, **options) == whole


def test_undefined_is_nan():
    found = paired_difference(class_auroc, ["a", "b"], [1, 1], [0.1, 0.2], [0.3, 0.4], n_boot=20, n_permutations=20)
    assert found.to_json() == {"value": None, "low": None, "high": None, "n": 2, "p": None}


def test_no_interval_around_what_is_undefined():
    def undefined_on_all(truth, scores, weights):
        return np.where((weights == 1).all(axis=1), np.nan, weights @ scores)

    found = paired_difference(undefined_on_all, [1, 2, 3], [0, 0, 0], [1, 2, 3], [0, 0, 0], n_permutations=0)
    assert math.isnan(found.low) and math.isnan(found.high)


def test_a_difference_as_json_and_text():
    found = PairedDifference(0.031, 0.012, 0.052, 120, p=0.002)
    assert json.loads(json.dumps(found.to_json())) == {
        "value": 0.031,
        "low": 0.012,
        "high": 0.052,
        "n": 120,
        "p": 0.002,
    }
    assert found.text(3) == "0.031 [0.012, 0.052]"


def test_refuses_what_makes_no_sense():
    two = np.zeros((2, 3))
    with pytest.raises(UsageError, match=r"shapes \(3,\), \(3,\), \(2, 3\) and \(1, 3\)"):
        paired_difference(class_auroc, range(3), [0, 1, 0], two, two[:1])
    with pytest.raises(UsageError, match=r"shapes \(2,\), \(3,\)"):
        paired_difference(class_auroc, range(2), [0, 1, 0], two, two)
    with pytest.raises(DataError, match=r"at least 1 row and 1 repetition, found \(0, 1\)"):
        paired_difference(class_auroc, [], [], [], [])
    broken = two.copy()
    broken[1, 2] = np.nan
    with pytest.raises(DataError, match="P2: a score is a finite number, found nan in arm b, repetition 1"):
        paired_difference(class_auroc, ["P0", "P1", "P2"], [0, 1, 0], two, broken)
    with pytest.raises(UsageError, match=r"\(2, 3\), got shape \(2,\)"):
        paired_difference(class_auroc, range(3), [0, 1, 0], two, two, folds=[0, 1])
    with pytest.raises(UsageError, match="got n=0"):
        permutation_p_value(class_auroc, range(3), [0, 1, 0], two, two, n=0)
    with pytest.raises(UsageError, match="one value a resample"):
        paired_difference(lambda truth, scores, weights: scores, range(3), [0, 1, 0], two, two, n_boot=5)


def test_interval_and_test_keep_their_level_under_the_null():
    """400 cohorts of 40 patients with two correlated nodules each and no difference between the arms."""
    covered = rejected = 0
    for trial in range(400):
        data = simulated(np.random.default_rng([11, trial]))
        found = paired_difference(class_auroc, *data, n_boot=200, n_permutations=199, seed=trial)
        covered += found.low <= 0 <= found.high
        rejected += found.p <= 0.05
    # Binomial with 400 draws: standard error 1.1 points. The interval also covers the repetitions, so it is the wider.
    assert 0.92 <= covered / 400 <= 0.99
    assert 0.02 <= rejected / 400 <= 0.08


def test_nodules_of_a_patient_as_if_independent_are_too_sure():
    """What the clustering is for: six nodules a patient, each taken for another patient or not."""
    covered = {"patients": 0, "nodules": 0}
    for trial in range(200):
        patients, truth, a, b = simulated(np.random.default_rng([12, trial]), nodules=6, repetitions=1)
        for unit, whose in (("patients", patients), ("nodules", np.arange(len(truth)))):
            found = paired_difference(class_auroc, whose, truth, a, b, n_boot=200, n_permutations=0, seed=trial)
            covered[unit] += found.low <= 0 <= found.high
    # Standard error 1.5 points at the nominal 95 %.
    assert 0.905 <= covered["patients"] / 200 <= 0.995
    assert covered["nodules"] / 200 < 0.85


def test_only_resampled_repetitions_cover_the_noise_of_training():
    """200 comparisons of two equal ways of training whose runs differ, six of each."""
    covered = {True: 0, False: 0}
    for trial in range(200):
        data = simulated(np.random.default_rng([5, trial]), patients=100, repetitions=6, seed_noise=0.6)
        for both in covered:
            found = paired_difference(
                class_auroc, *data, n_boot=100, n_permutations=0, resample_repetitions=both, seed=trial
            )
            covered[both] += found.low <= 0 <= found.high
    # Between the nominal 95 % and what six runs alone would allow, P(|t5| < 1.96 sqrt(5/6)) = 87 %; standard error 2
    # points.
    assert 0.81 <= covered[True] / 200 <= 0.99
    assert covered[False] / 200 < 0.75
