"""Labels follow from what is in the image: recomputed here from the label map and the written rules."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from monai_staging.cohort.phantom import PhantomConfig, plan_disease, render_phantom
from monai_staging.cohort.phantom.labels import t_category
from monai_staging.cohort.phantom.metastases import m_category
from monai_staging.cohort.phantom.nodes import n_category
from monai_staging.cohort.phantom.truth import PhantomTruth, recorded, spell
from monai_staging.tnm import TNM, Descriptor, parse_t

INDEXES = range(8)


def _measured(canvas, label: int) -> float:
    """Longest distance between voxel centres of a label, mm."""
    k, j, i = np.nonzero(canvas.labels == label)
    s = canvas.scanner
    points = np.stack([i * s.spacing_mm, j * s.spacing_mm, k * s.slice_spacing_mm], axis=1)
    if len(points) > 50:
        points = points[ConvexHull(points).vertices]
    return float(pdist(points).max()) if len(points) > 1 else 0.0


@pytest.mark.parametrize("index", INDEXES)
def test_diameters_agree_with_the_label_map(rendered, index):
    phantom = rendered(index)
    scanner = phantom.canvas.scanner
    voxel = float(np.linalg.norm([scanner.spacing_mm, scanner.spacing_mm, scanner.slice_spacing_mm]))
    checked = 0
    for lesion in phantom.truth.lesions:
        if lesion.diameter_mm is None or lesion.diameter_mm < 12:
            continue
        assert abs(_measured(phantom.canvas, lesion.label) - lesion.diameter_mm) <= 1.3 * voxel, lesion
        checked += 1
    assert checked >= (phantom.truth.lesions[0].diameter_mm >= 12)


@pytest.mark.parametrize("index", INDEXES)
def test_letters_and_stage_follow_from_the_lesions(rendered, index):
    truth = rendered(index).truth
    primary = truth.lesions[0]
    assert primary.kind == "primary" and primary.label == 1
    found = tuple(Descriptor(name) for name in truth.descriptors)
    assert truth.t == t_category(primary.diameter_mm, primary.solid_diameter_mm, found)
    nodes = [row.site for row in truth.lesions if row.kind == "node"]
    assert (truth.n == "N0") == (not nodes)
    assert truth.n == n_category(nodes, primary.site[0])
    assert truth.m == m_category([row.site for row in truth.lesions if row.kind == "metastasis"])
    assert TNM.parse(truth.t, truth.n, truth.m, edition="8").group == truth.stage


@pytest.mark.parametrize("index", INDEXES)
def test_labels_count_from_one_and_boxes_hold_them(rendered, index):
    phantom = rendered(index)
    canvas, scanner = phantom.canvas, phantom.canvas.scanner
    assert sorted(np.unique(canvas.labels)) == [0, *(row.label for row in phantom.truth.lesions)]
    assert [row.label for row in phantom.truth.lesions] == list(range(1, len(phantom.truth.lesions) + 1))
    for row in phantom.truth.lesions:
        k, j, i = np.nonzero(canvas.labels == row.label)
        x = canvas.origin[0] + i * scanner.spacing_mm
        y = canvas.origin[1] + j * scanner.spacing_mm
        z = canvas.origin[2] + k * scanner.slice_spacing_mm
        low = (
            np.array([-x.max(), -y.max(), z.min()])
            - np.array([scanner.spacing_mm] * 2 + [scanner.slice_spacing_mm]) / 2
        )
        high = (
            np.array([-x.min(), -y.min(), z.max()])
            + np.array([scanner.spacing_mm] * 2 + [scanner.slice_spacing_mm]) / 2
        )
        np.testing.assert_allclose(row.center_mm, (low + high) / 2, atol=2e-3)
        np.testing.assert_allclose(row.size_mm, high - low, atol=2e-3)


def test_even_the_smallest_primary_is_in_the_label_map():
    config = PhantomConfig(resolution="tiny", t_weights={"T1": 1.0}, m_weights={"M0": 1.0}, n_weights={"N0": 1.0})
    index = min(range(60), key=lambda k: plan_disease(0, k, config).diameter_mm)
    assert plan_disease(0, index, config).diameter_mm < 6
    phantom = render_phantom(index, 0, config)
    assert [row.kind for row in phantom.truth.lesions] == ["primary"]
    assert (phantom.canvas.labels == 1).any()


@pytest.mark.parametrize(
    ("diameter", "solid", "found", "t"),
    [
        (4.5, 4.5, (), "T1a"),
        (9.0, 9.0, (), "T1a"), (15.0, 15.0, (), "T1b"), (28.0, 14.0, (), "T1b"), (28.0, 4.0, (), "T1mi"),
        (35.0, 0.0, (), "T1a"), (45.0, 45.0, (), "T2b"), (60.0, 60.0, (), "T3"), (80.0, 80.0, (), "T4"),
        (20.0, 20.0, (Descriptor.VISCERAL_PLEURA,), "T2a"), (20.0, 20.0, (Descriptor.CHEST_WALL,), "T3"),
        (20.0, 20.0, (Descriptor.NODULE_OTHER_LOBE,), "T4"), (45.0, 45.0, (Descriptor.VISCERAL_PLEURA,), "T2b"),
    ],
)  # fmt: skip
def test_t_of_sizes_and_descriptors(diameter, solid, found, t):
    assert t_category(diameter, solid, found) == t


@pytest.mark.parametrize(
    ("stations", "side", "n"),
    [
        ([], "R", "N0"), (["10R"], "R", "N1"), (["10R"], "L", "N3"), (["11L"], "L", "N1"), (["4R", "10R"], "R", "N2"),
        (["7"], "L", "N2"), (["5"], "L", "N2"), (["5"], "R", "N3"), (["1R"], "R", "N3"), (["1L"], "R", "N3"),
    ],
)  # fmt: skip
def test_n_of_stations(stations, side, n):
    assert n_category(stations, side) == n


@pytest.mark.parametrize(
    ("sites", "m"),
    [
        ([], "M0"), (["lung LUL", "lung LLL"], "M1a"), (["pleural effusion R"], "M1a"), (["liver"], "M1b"),
        (["liver", "liver"], "M1c"), (["bone rib 3 L lytic", "adrenal R"], "M1c"), (["lung LUL", "liver"], "M1b"),
    ],
)  # fmt: skip
def test_m_of_sites(sites, m):
    assert m_category(sites) == m


def test_spellings_are_read_back_as_sets_that_hold_the_truth():
    for category in ("T1mi", "T1a", "T2b", "T4"):
        for spelling in ("full", "main", "bare", "unknown"):
            assert category in parse_t(spell(category, spelling), "8")
    assert spell("M1b", "unknown") == "MX" and spell("T2a", "bare") == "2" and spell("T2a", "main") == "T2"


def test_the_recorded_stage_says_no_more_than_the_recorded_letters(rendered):
    from monai_staging.cohort.phantom import plan_clinical
    from monai_staging.cohort.phantom.config import PhantomConfig

    clinical = [plan_clinical(2, k, PhantomConfig(unknown_fraction=0.5)) for k in range(40)]
    hidden = [c for c in clinical if c.spelling["m"] == "unknown"]
    assert hidden and all(recorded("T2a", "N1", "M0", c)[3] == "" for c in hidden)
    known = [c for c in clinical if set(c.spelling.values()) == {"full"}]
    assert known and all(recorded("T2a", "N1", "M0", c)[3] == "IIB" for c in known)


def test_truth_survives_json(rendered):
    truth = rendered(0).truth
    assert PhantomTruth.from_json(truth.to_json()) == truth
