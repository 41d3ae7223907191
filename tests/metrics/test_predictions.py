from __future__ import annotations

import numpy as np
import pytest

from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.predictions import StagingPredictions, group_tensor
from monai_staging.tnm import group_probabilities, main_category, main_group, stage_group
from monai_staging.tnm.categories import EDITIONS, categories
from monai_staging.tnm.tables import groups

SOME = {"t": ("T1a", "T1b", "T2a", "T4"), "n": ("N0", "N2"), "m": ("M0", "M1a", "M1c")}


def make(rows=3, **changes):
    rng = np.random.default_rng(0)
    values = {
        "patients": [f"case-{index}" for index in range(rows)],
        "classes": SOME,
        **{letter: rng.dirichlet(np.ones(len(names)), rows) for letter, names in SOME.items()},
        "truth_t": [["T1a"]] * rows,
        "truth_n": [["N0"]] * rows,
        "truth_m": [["M0"]] * rows,
    }
    return StagingPredictions(**{**values, **changes})


@pytest.mark.parametrize("edition", EDITIONS)
def test_group_probabilities_are_those_of_the_staging_language(edition):
    rng = np.random.default_rng(int(edition))
    classes = {letter: categories(letter, edition) for letter in "tnm"}
    letters = {letter: rng.dirichlet(np.ones(len(names)), 5) for letter, names in classes.items()}
    truth = {f"truth_{letter}": [names] * 5 for letter, names in classes.items()}
    predictions = StagingPredictions(("a", "b", "c", "d", "e"), classes, **letters, **truth, edition=edition)
    level = predictions.levels["group_fine"]
    for row in range(5):
        expected = group_probabilities(
            *(dict(zip(classes[letter], letters[letter][row], strict=True)) for letter in "tnm"), edition
        )
        found = dict(zip(level.classes, level.probabilities[row], strict=True))
        assert found == pytest.approx({group: expected.get(group, 0.0) for group in groups(edition)})


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_tensor_is_the_table(edition):
    tensor = group_tensor(edition)
    t, n, m = (categories(letter, edition) for letter in "tnm")
    for i, j, k in np.ndindex(*tensor.shape[:3]):
        hot = [groups(edition)[index] for index in np.flatnonzero(tensor[i, j, k])]
        if t[i] == "Tis" and n[j] != "N0" and m[k] == "M0":
            assert hot == []
        else:
            assert hot == [stage_group(t[i], n[j], m[k], edition)]


def test_main_levels_are_sums_of_their_parts():
    predictions = make()
    levels = predictions.levels
    for row in range(3):
        for index, name in enumerate(levels["t"].classes):
            parts = [predictions.t[row, column] for column, fine in enumerate(SOME["t"]) if main_category(fine) == name]
            assert levels["t"].probabilities[row, index] == pytest.approx(sum(parts))
        for index, name in enumerate(levels["group"].classes):
            fine_level = levels["group_fine"]
            parts = [
                fine_level.probabilities[row, column]
                for column, fine in enumerate(fine_level.classes)
                if main_group(fine) == name
            ]
            assert levels["group"].probabilities[row, index] == pytest.approx(sum(parts))
    for level in levels.values():
        assert level.probabilities.sum(axis=1) == pytest.approx(np.ones(3))


def test_a_truth_the_model_does_not_know_is_scored_as_a_class_of_its_own():
    level = make(truth_t=[["T3"], ["T1a"], ["T2b"]]).levels["t_fine"]
    assert [level.classes[index] for index in level.truth] == ["T3", "T1a", "T2b"]
    assert level.probabilities[0, level.classes.index("T3")] == 0


def test_occurring_drops_what_is_never_seen_and_keeps_the_rest_in_place():
    level = make(truth_t=[["T3"], categories("t", "8"), ["T2b"]]).levels["t_fine"].occurring()
    assert level.classes == ("T1a", "T1b", "T2a", "T2b", "T3", "T4")
    assert level.truth.tolist() == [4, -1, 3]
    assert level.probabilities.shape == (3, 6)
    assert level.known.tolist() == [True, False, True]


def test_what_is_given_is_frozen_as_tuples():
    predictions = make()
    assert len(predictions) == 3
    assert predictions.truth_t == (("T1a",),) * 3
    assert predictions.patients == ("case-0", "case-1", "case-2")


def test_refuses_probabilities_with_the_patient_and_the_value():
    bad = make().n.copy()
    bad[1] = [0.5, 0.7]
    with pytest.raises(DataError, match=r"case-1: probabilities of N .* found \[0.5, 0.7\]"):
        make(n=bad)
    bad[1] = [np.nan, 1.0]
    with pytest.raises(DataError, match="case-1"):
        make(n=bad)
    bad[1] = [-0.5, 1.5]
    with pytest.raises(DataError, match="case-1"):
        make(n=bad)


def test_refuses_shapes_classes_and_sets():
    with pytest.raises(UsageError, match=r"Probabilities of T have shape \(3, 2\), expected \(3, 4\)"):
        make(t=np.full((3, 2), 0.5))
    with pytest.raises(UsageError, match="Classes of M are different categories of edition 8 .* found"):
        make(classes={**SOME, "m": ("M0", "M1", "M1a")})
    with pytest.raises(UsageError, match="for t, n and m, found"):
        make(classes={"t": SOME["t"]})
    with pytest.raises(UsageError, match="2 truth sets of T for 3 patients"):
        make(truth_t=[["T1a"]] * 2)
    with pytest.raises(DataError, match="case-0: a truth set of T .* found 'T1a'"):
        make(truth_t=["T1a"] * 3)
    with pytest.raises(DataError, match="case-2: T of the 8th edition"):
        make(truth_t=[["T1a"], ["T1a"], ["T5"]])
    with pytest.raises(UsageError, match="edition"):
        make(edition="5")
    with pytest.raises(UsageError, match="prefix"):
        make(prefix="q")


def test_refuses_certainty_of_a_combination_without_a_group():
    classes = {"t": ("Tis", "T1a"), "n": ("N0", "N1"), "m": ("M0", "M1a")}
    sure = np.array([[1.0, 0.0]])
    predictions = StagingPredictions(("case-9",), classes, sure, sure[:, ::-1], sure, [["T1a"]], [["N0"]], [["M0"]])
    with pytest.raises(DataError, match="case-9: a stage group needs"):
        _ = predictions.levels
