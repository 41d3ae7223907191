"""Parts of a nodule set: by patient, stratified, nested, and the same every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.cohort.nodules.nodule import NoduleRecord, NoduleSet, NoduleVolume
from monai_staging.cohort.nodules.split import NoduleSplit, split_nodules
from monai_staging.cohort.splits import patient_order
from monai_staging.errors import DataError, UsageError

PARTS = ("training", "validation", "test")


def read(_: int) -> NoduleVolume:
    return NoduleVolume(np.zeros((1, 1, 2, 2)), np.zeros((0, 1, 2, 2), bool))


def nodule_set(patients: list[int], labels: list[tuple[int, ...] | None], parts: list[str] | None = None) -> NoduleSet:
    records = tuple(
        NoduleRecord(str(place), f"p{patient}", label, part=parts[place] if parts else None)
        for place, (patient, label) in enumerate(zip(patients, labels, strict=True))
    )
    return NoduleSet("made", "test", "", "binary", ("benign", "malignant"), records, read, (0, 1))


@st.composite
def sets(draw: st.DrawFn) -> NoduleSet:
    """10 to 40 patients of 1 to 3 nodules; some without a label."""
    patients = [n for n in range(draw(st.integers(10, 40))) for _ in range(draw(st.integers(1, 3)))]
    label = st.sampled_from([(0,), (1,), (0,), None])
    labels = [draw(label) for _ in patients]
    return nodule_set([*patients, *range(100, 110)], [*labels, *[(n % 2,) for n in range(10)]])


@settings(max_examples=30)
@given(sets(), st.integers(2, 5), st.floats(0, 0.5), st.integers(0, 3))
def test_folds_are_a_partition_by_patient(nodules: NoduleSet, folds: int, validation: float, seed: int) -> None:
    tested: list[int] = []
    for fold in range(folds):
        parts = split_nodules(nodules, NoduleSplit(folds, fold, validation, split_seed=seed))
        assert sorted(np.concatenate(list(parts.values()))) == nodules.labelled
        patients = [{nodules.records[index].patient for index in parts[part]} for part in PARTS]
        assert not patients[0] & patients[1] and not patients[0] & patients[2] and not patients[1] & patients[2]
        assert (len(patients[1]) > 0) == (validation > 0)
        tested += parts["test"].tolist()
    assert sorted(tested) == nodules.labelled


@settings(max_examples=30)
@given(sets(), st.lists(st.floats(0.02, 1), min_size=2, max_size=4), st.integers(0, 3), st.integers(0, 4))
def test_label_fractions_are_nested_and_change_nothing_else(
    nodules: NoduleSet, fractions: list[float], seed: int, fold: int
) -> None:
    found = [
        split_nodules(nodules, NoduleSplit(fold=fold, validation=0.2, label_fraction=fraction, seed=seed))
        for fraction in sorted(fractions)
    ]
    for smaller, larger in zip(found, found[1:], strict=False):
        assert set(smaller["training"]) <= set(larger["training"])
        for part in ("validation", "test"):
            np.testing.assert_array_equal(smaller[part], larger[part])
    whole = split_nodules(nodules, NoduleSplit(fold=fold, validation=0.2, seed=seed))["training"]
    for fraction, parts in zip(sorted(fractions), found, strict=True):
        # All nodules of a patient, and of as many patients as were asked for.
        patients = {nodules.records[index].patient for index in parts["training"]}
        expected = [index for index in whole if nodules.records[index].patient in patients]
        assert parts["training"].tolist() == expected
        every = len({nodules.records[index].patient for index in whole})
        assert len(patients) == (every if fraction >= 1 else min(every, max(2, round(fraction * every))))


def test_the_same_settings_give_the_same_split_and_other_seeds_another() -> None:
    nodules = nodule_set(list(range(60)), [(n % 3 == 0,) for n in range(60)])
    first, again = (split_nodules(nodules, NoduleSplit(label_fraction=0.4, seed=1)) for _ in range(2))
    for part in PARTS:
        np.testing.assert_array_equal(first[part], again[part])
    drawn = split_nodules(nodules, NoduleSplit(label_fraction=0.4, seed=2))
    assert set(drawn["training"]) != set(first["training"])
    np.testing.assert_array_equal(drawn["test"], first["test"])
    other = split_nodules(nodules, NoduleSplit(label_fraction=0.4, seed=1, split_seed=1))
    assert set(other["test"]) != set(first["test"])


def test_classes_are_balanced_over_folds_and_fractions() -> None:
    nodules = nodule_set([n // 2 for n in range(200)], [(int(n % 8 < 2),) for n in range(200)])
    for fold in range(5):
        parts = split_nodules(nodules, NoduleSplit(fold=fold, validation=0.25, label_fraction=0.3))
        for part in PARTS:
            share = np.mean([nodules.records[index].label == (1,) for index in parts[part]])
            assert share == pytest.approx(0.25, abs=0.06)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(0, 5))
def test_any_beginning_of_the_order_is_stratified(strata: list[int], seed: int) -> None:
    patients = [str(place) for place in range(len(strata))]
    order = patient_order(patients, strata, seed)
    assert sorted(order) == sorted(patients)
    for length in range(1, len(order) + 1):
        first = [strata[int(name)] for name in order[:length]]
        for stratum in set(strata):
            assert abs(first.count(stratum) - length * strata.count(stratum) / len(strata)) <= 2
    # The order in which the patients are given does not matter.
    assert patient_order(patients[::-1], strata[::-1], seed) == order


def test_official_parts_are_kept() -> None:
    parts = ["training", "test", "validation", "training", "test", "training", "training"]
    labels: list[tuple[int, ...] | None] = [(0,), (1,), (0,), (1,), None, (0,), (1,)]
    nodules = nodule_set(list(range(7)), labels, parts)
    for fold in (0, 1):
        found = split_nodules(nodules, NoduleSplit(fold=fold))
        assert {part: indices.tolist() for part, indices in found.items()} == {
            "training": [0, 3, 5, 6],
            "validation": [2],
            "test": [1],
        }
    assert len(split_nodules(nodules, NoduleSplit(label_fraction=0.5))["training"]) == 2


@given(sets(), st.sampled_from([0.0, 0.3]))
def test_without_folds_nothing_is_held_out(nodules: NoduleSet, validation: float) -> None:
    parts = split_nodules(nodules, NoduleSplit(folds=0, validation=validation))
    assert not len(parts["test"]) and (len(parts["validation"]) > 0) == (validation > 0)
    assert sorted(np.concatenate([parts["training"], parts["validation"]])) == nodules.labelled
    training, others = ({nodules.records[index].patient for index in parts[part]} for part in PARTS[:2])
    assert not training & others


def test_several_findings_are_stratified_by_whether_there_is_any() -> None:
    labels: list[tuple[int, ...] | None] = [(0, 0) if n % 4 else (n % 8 == 0, 1) for n in range(40)]
    nodules = replace(nodule_set(list(range(40)), labels), task="multi-label")
    for fold in range(5):
        test = split_nodules(nodules, NoduleSplit(fold=fold))["test"]
        assert sum(any(nodules.records[index].label or ()) for index in test) == 2


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(DataError, match="no nodule has a label"):
        split_nodules(nodule_set([1, 2], [None, None]), NoduleSplit())
    with pytest.raises(DataError, match="5 folds need as many patients; found 2"):
        split_nodules(nodule_set([1, 2, 2], [(0,), (1,), (1,)]), NoduleSplit())
    official = nodule_set([1, 2], [(0,), (1,)], ["training", "validation"])
    with pytest.raises(DataError, match="the test part is empty"):
        split_nodules(official, NoduleSplit())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"folds": 1}, "0 of 1"),
        ({"folds": -1}, "0 of -1"),
        ({"fold": 5}, "5 of 5"),
        ({"fold": -1}, "-1 of 5"),
        ({"validation": 1.0}, "validation share is 0 to below 1; found 1.0"),
        ({"label_fraction": 0.0}, "label fraction is above 0 and at most 1; found 0.0"),
        ({"label_fraction": 1.1}, "found 1.1"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        NoduleSplit(**wrong)  # type: ignore[arg-type]
