"""The plan: every category is produced, as often as wanted, and nothing about scan or patient predicts it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, kruskal

from monai_staging.cohort.phantom import PhantomConfig, draw_scanner, plan_clinical, plan_disease
from monai_staging.cohort.phantom.distractors import plan_distractors
from monai_staging.cohort.phantom.metastases import m_category
from monai_staging.cohort.phantom.nodes import n_category, station_name
from monai_staging.errors import UsageError
from monai_staging.tnm import main_category

COUNT = 1500
CONFIG = PhantomConfig()


@pytest.fixture(scope="module")
def plans():
    return [plan_disease(11, k, CONFIG) for k in range(COUNT)]


@pytest.fixture(scope="module")
def scanners():
    return [draw_scanner(11, k, CONFIG) for k in range(COUNT)]


def test_every_category_occurs(plans):
    assert {p.t for p in plans} >= {"T1mi", "T1a", "T1b", "T1c", "T2", "T2a", "T2b", "T3", "T4"}
    assert {p.n for p in plans} == {"N0", "N1", "N2", "N3"}
    assert {p.m for p in plans} == {"M0", "M1a", "M1b", "M1c"}
    assert {p.descriptor for p in plans} == {
        None, "pleura", "main_bronchus", "chest_wall", "same_lobe_nodule", "other_lobe_nodule", "mediastinum",
    }  # fmt: skip
    assert {p.texture for p in plans} == {"solid", "part_solid", "ground_glass"}
    assert {m.site for p in plans for m in p.metastases} == {
        "lung", "pleural_effusion", "pericardial_effusion", "adrenal", "liver", "bone",
    }  # fmt: skip


def test_proportions_are_those_of_the_configuration(plans):
    for weights, values in (
        (CONFIG.t_weights, [main_category(p.t) for p in plans]),
        (CONFIG.n_weights, [p.n for p in plans]),
        (CONFIG.m_weights, [p.m for p in plans]),
    ):
        found = Counter(values)
        for name, weight in weights.items():
            # Four standard errors.
            assert abs(found[name] / COUNT - weight) < 4 * (weight * (1 - weight) / COUNT) ** 0.5


def test_the_planned_sites_give_the_planned_n_and_m(plans):
    for plan in plans:
        assert n_category([station_name(node) for node in plan.nodes], plan.side) == plan.n
        sites = [m.site.replace("_", " ") for m in plan.metastases]
        assert m_category(sites) == plan.m


def test_letters_are_independent_of_each_other(plans):
    letters = {"t": [main_category(p.t) for p in plans], "n": [p.n for p in plans], "m": [p.m for p in plans]}
    for a, b in (("t", "n"), ("t", "m"), ("n", "m")):
        assert _chi2(letters[a], letters[b]) > 1e-3


def test_no_nuisance_goes_with_a_label(plans, scanners):
    clinical = [plan_clinical(11, k, CONFIG) for k in range(COUNT)]
    harmless = [plan_distractors(11, k) for k in range(COUNT)]
    labels = {
        "t": [main_category(p.t) for p in plans], "n": [p.n for p in plans], "m": [p.m for p in plans],
        "side": [p.side for p in plans],
    }  # fmt: skip
    classes = {
        "slice_spacing": [s.slice_spacing_mm for s in scanners], "matrix": [s.matrix for s in scanners],
        "phase": [s.phase for s in scanners], "kernel": [s.kernel for s in scanners],
        "motion": [s.motion_mm > 0 for s in scanners], "sex": [c.sex for c in clinical],
        "smoking": [c.smoking for c in clinical], "t_spelling": [c.spelling["t"] for c in clinical],
        "granulomas": [d.granulomas for d in harmless], "small": [d.nodules for d in harmless],
        "nodes": [d.nodes for d in harmless], "bands": [d.bands for d in harmless],
    }  # fmt: skip
    numbers = {
        "spacing": [s.spacing_mm for s in scanners], "noise": [s.noise_hu for s in scanners],
        "sharpness": [s.sharpness for s in scanners], "x": [s.offset_mm[0] for s in scanners],
        "y": [s.offset_mm[1] for s in scanners], "roll": [s.roll_deg for s in scanners],
        "fov": [s.field_of_view_mm for s in scanners], "start": [s.start_mm for s in scanners],
        "age": [c.age for c in clinical],
    }  # fmt: skip
    values = [_chi2(label, other) for label in labels.values() for other in classes.values()]
    for label in labels.values():
        groups = np.array(label)
        values += [
            float(kruskal(*(np.array(other)[groups == g] for g in set(label))).pvalue) for other in numbers.values()
        ]
    # Bonferroni at 1 % over all pairs; and the p values as a whole must not crowd at zero.
    assert min(values) > 0.01 / len(values)
    assert np.mean(np.array(values) < 0.1) < 0.25


def _chi2(a, b) -> float:
    rows, columns = sorted(set(a), key=str), sorted(set(b), key=str)
    table = np.zeros((len(rows), len(columns)))
    for x, y in zip(a, b, strict=True):
        table[rows.index(x), columns.index(y)] += 1
    table = table[:, table.sum(0) >= 20]
    return float(chi2_contingency(table).pvalue)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 10**6))
def test_the_same_seed_gives_the_same_plan_and_sizes_stay_in_range(seed, index):
    plan = plan_disease(seed, index, CONFIG)
    assert plan == plan_disease(seed, index, CONFIG)
    assert draw_scanner(seed, index, CONFIG) == draw_scanner(seed, index, CONFIG)
    assert 4.0 <= plan.diameter_mm <= 90.0
    assert 0.0 <= plan.solid_diameter_mm <= plan.diameter_mm
    scanner = draw_scanner(seed, index, CONFIG)
    assert 0.6 <= scanner.spacing_mm <= 1.0
    assert 0.6 <= scanner.slice_spacing_mm <= 5.0
    assert 300 <= scanner.field_of_view_mm <= 401


def test_a_letter_depends_only_on_its_own_weights():
    other = PhantomConfig(n_weights={"N0": 1.0})
    assert [plan_disease(5, k, other).t for k in range(50)] == [plan_disease(5, k, CONFIG).t for k in range(50)]
    assert {plan_disease(5, k, other).n for k in range(50)} == {"N0"}


@pytest.mark.parametrize(
    "wrong", [{"t_weights": {"T1": -1.0}}, {"n_weights": {}}, {"unknown_fraction": 1.5}, {"resolution": "huge"}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises((UsageError, ValueError)):
        PhantomConfig(**wrong)


def test_negative_indexes_are_refused():
    with pytest.raises(UsageError, match="index -1"):
        plan_disease(0, -1, CONFIG)
