from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.cohort import Case, Cohort
from monai_staging.cohort.audit import refuse_leaks
from monai_staging.cohort.splits import Split, SplitOptions, label_fraction, split_cases, strata_of
from monai_staging.errors import UsageError
from monai_staging.tnm import categories

T, N, M = (categories(letter, "8") for letter in "tnm")


def make(patient: str, series: int, t: str | None = "T1a", n: str = "N0", m: str = "M0") -> Case:
    letters = (T if t is None else (t,), (n,), (m,))
    return Case(patient, f"1.3.{series}", f"1.2.{series}", "volumes/0.nii", *letters, "8")


def parts(split: Split) -> dict[str, tuple[Case, ...]]:
    return {"training": split.training, "validation": split.validation, "test": split.test}


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 25), st.sampled_from([None, *T]), st.sampled_from(N), st.sampled_from(M)),
        min_size=1,
        max_size=60,
    ),
    st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9]),
    st.sampled_from([0, 2, 3, 5, 10]),
    st.integers(0, 3),
    st.randoms(),
)
def test_patients_stay_together_and_nothing_is_lost(rows, test, folds, seed, random) -> None:  # type: ignore[no-untyped-def]
    cases = [make(f"P{patient}", index, *labels) for index, (patient, *labels) in enumerate(rows)]
    options = SplitOptions(test, folds, seed=seed)
    split = split_cases(cases, options)
    found = parts(split)
    assert sorted(c.series for own in found.values() for c in own) == sorted(c.series for c in cases)
    sides: dict[str, set[object]] = defaultdict(set)
    for part, own in found.items():
        for case in own:
            sides[case.patient].add((part, case.fold))
    assert all(len(side) == 1 for side in sides.values())
    assert split.training
    assert all(case.fold is None for case in split.test)
    if split.folds:
        assert {case.fold for case in split.training + split.validation} == set(range(split.folds))
        assert {case.fold for case in split.validation} == {0}
    patients = len(sides)
    if test and patients >= 3:
        assert split.test
    if folds and split.folds < folds:
        assert split.folds in (0, len({case.patient for case in split.training + split.validation}))
    shuffled = list(cases)
    random.shuffle(shuffled)
    assert split_cases(shuffled, options) == split


def test_parts_have_the_strata_s_proportions() -> None:
    cases = [make(f"P{i}", i, t=("T1a", "T2a", "T3", "T4")[i % 4], m=("M0", "M1a")[i // 4 % 2]) for i in range(160)]
    split = split_cases(cases, SplitOptions(0.25, 5))
    counts = Counter((case.t, case.m) for case in split.test)
    assert len(split.test) == 40
    assert set(counts.values()) == {5}
    for fold in range(5):
        own = [case for case in split.training + split.validation if case.fold == fold]
        assert set(Counter((case.t, case.m) for case in own).values()) == {3}


def test_a_validation_fraction_instead_of_folds() -> None:
    split = split_cases([make(f"P{i}", i) for i in range(50)], SplitOptions(0.2, 0, 0.1))
    assert {part: len(own) for part, own in parts(split).items()} == {"training": 35, "validation": 5, "test": 10}
    assert all(case.fold is None for case in split.training + split.validation)


def test_another_seed_gives_another_split() -> None:
    cases = [make(f"P{i}", i) for i in range(40)]
    assert split_cases(cases, SplitOptions(seed=1)) != split_cases(cases, SplitOptions(seed=2))


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["Pat_0", "PAT 0", "b", "C", "c", "D", "E", "F"]), st.integers(0, 20)), min_size=1
    ),
    st.sampled_from([SplitOptions(0.3, 3), SplitOptions(0.5, 2), SplitOptions(0.2, 0, 0.2)]),
    st.randoms(),
)
def test_what_the_audit_calls_a_leak_is_never_split(rows, options, random) -> None:  # type: ignore[no-untyped-def]
    cases = [replace(make(patient, index), study=f"1.3.{study}") for index, (patient, study) in enumerate(rows)]
    split = split_cases(cases, options)
    refuse_leaks(Cohort(Path("none"), "c", "folder", None, **parts(split)), pixels=False)
    assert split.training
    assert Counter(case.patient for own in parts(split).values() for case in own) == Counter(c.patient for c in cases)
    shuffled = list(cases)
    random.shuffle(shuffled)
    assert split_cases(shuffled, options) == split


def test_patients_who_share_a_study_or_a_spelling_count_as_one() -> None:
    cases = [make(f"P{i}", i) for i in range(4)] + [make("p0", 4), replace(make("Q", 5), study="1.3.0")]
    split = split_cases(cases, SplitOptions(0.25, 4))
    assert split.folds == 3
    for own in parts(split).values():
        assert len({"P0", "p0", "Q"} & {case.patient for case in own}) in (0, 3)


def test_rare_strata_are_merged() -> None:
    cases = [make(f"A{i}", i, "T1a") for i in range(10)] + [make(f"B{i}", 100 + i, "T3", "N1", "M1a") for i in range(3)]
    cases += [make("C", 200, "T3", "N2", "M1b"), make("D", 201, None, "N3", "M0")]
    patients = sorted({case.patient for case in cases})
    strata = strata_of(cases, patients, minimum=4, most=99)
    assert min(Counter(strata.values()).values()) >= 4
    # N is given up first: T3 with N1 and N2 have M1 in common.
    assert strata["B0"] == strata["C"] != strata["A0"]
    assert len(set(strata_of(cases, patients, minimum=1, most=2).values())) == 2


@pytest.mark.parametrize(
    "options",
    [{"test": 1.0}, {"test": -0.1}, {"folds": 1}, {"folds": -2}, {"folds": 5, "validation": 0.1}, {"seed": -1},
     {"test": 0.6, "folds": 0, "validation": 0.4}],
)  # fmt: skip
def test_refuses_options_that_make_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        SplitOptions(**options)  # type: ignore[arg-type]


def test_published_folds_take_the_place_of_drawn_ones() -> None:
    cases = [make(f"P{number // 2}", number) for number in range(12)]
    published = {case.series: number % 5 + 2 for number, case in enumerate(cases)}
    split = split_cases(cases, SplitOptions(0, 3), published)
    first = {f"P{n}": min(published[case.series] for case in cases[2 * n : 2 * n + 2]) for n in range(6)}
    assert {case.patient: case.fold for case in split.training + split.validation} == first
    assert {case.fold for case in split.validation} == {min(first.values())}
    assert split.folds == len(set(first.values()))
    # Patients who are held out are in no fold.
    held_out = split_cases(cases, SplitOptions(0.3, 3), published)
    assert all(case.fold is None for case in held_out.test)
    assert all(case.fold == first[case.patient] for case in held_out.training + held_out.validation)


def test_published_folds_that_are_none_are_drawn() -> None:
    cases = [make(f"P{number}", number) for number in range(9)]
    drawn = split_cases(cases, SplitOptions(0, 3))
    one = {case.series: 4 for case in cases}
    assert split_cases(cases, SplitOptions(0, 3), one) == drawn
    some = {case.series: number for number, case in enumerate(cases[1:])}
    assert split_cases(cases, SplitOptions(0, 3), some) == drawn
    every = {case.series: number for number, case in enumerate(cases)}
    assert split_cases(cases, SplitOptions(0, 0), every).folds == 0


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 25), st.sampled_from([None, *T])), min_size=1, max_size=60),
    st.lists(st.floats(0.01, 1.0), min_size=2, max_size=4),
    st.integers(0, 3),
    st.randoms(),
)
def test_a_smaller_label_fraction_is_part_of_a_larger_one(rows, fractions, seed, random) -> None:  # type: ignore[no-untyped-def]
    cases = [make(f"P{patient}", index, t) for index, (patient, t) in enumerate(rows)]
    patients = {case.patient for case in cases}
    before: set[str] = set()
    for fraction in sorted(fractions):
        drawn = label_fraction(cases, fraction, seed)
        found = {case.patient for case in drawn}
        assert before <= found and abs(len(found) - fraction * len(patients)) <= 1
        # All cases of a patient or none, in the order in which they came.
        assert drawn == tuple(case for case in cases if case.patient in found)
        before = found
    shuffled = list(cases)
    random.shuffle(shuffled)
    assert {case.series for case in label_fraction(shuffled, fractions[0], seed)} == {
        case.series for case in label_fraction(cases, fractions[0], seed)
    }
    assert label_fraction(cases, 1.0, seed) == tuple(cases)


def test_a_label_fraction_has_the_categories_proportions() -> None:
    cases = [make(f"P{i}", i, t=("T1a", "T1b", "T2a", "T4", None)[i % 5]) for i in range(100)]
    drawn = label_fraction(cases, 0.25, seed=1)
    assert Counter("?" if len(case.t) > 1 else case.t[0][:2] for case in drawn) == {"T1": 10, "T2": 5, "T4": 5, "?": 5}
    assert drawn != label_fraction(cases, 0.25, seed=2)


def test_patients_of_one_study_are_drawn_together() -> None:
    cases = [replace(make(f"P{i}", i), study=f"1.2.{i // 2}") for i in range(20)]
    kept = {case.patient for case in label_fraction(cases, 0.3, seed=0)}
    assert len(kept) == 6 and all((f"P{i}" in kept) == (f"P{i + 1}" in kept) for i in range(0, 20, 2))


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01, float("nan")])
def test_a_label_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match="label fraction must be above 0 and at most 1"):
        label_fraction([make("P0", 0)], fraction)
