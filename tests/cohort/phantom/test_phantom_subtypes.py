"""Subtypes change how tumours look and where they lie, and leave the letters as they are."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from monai_staging.cohort.ingest import IngestOptions, ingest
from monai_staging.cohort.phantom import DiseasePlan, PhantomConfig, plan_disease, render_phantom, write_phantom_tree
from monai_staging.cohort.phantom.anatomy import build_anatomy
from monai_staging.cohort.phantom.config import Stream, random_stream
from monai_staging.cohort.phantom.labels import t_category
from monai_staging.cohort.phantom.place import Placer
from monai_staging.cohort.phantom.scanner import PHASES
from monai_staging.cohort.phantom.trees import ARTERY_GATES
from monai_staging.cohort.phantom.tumour import FOUND, place_primary
from monai_staging.cohort.sources.lung_pet_ct_dx import SUBTYPES
from monai_staging.tnm import main_category

SEED = 5
CONFIG = PhantomConfig(resolution="tiny", subtypes=True)
PLANS = [plan_disease(SEED, index, CONFIG) for index in range(1500)]


def test_the_letters_are_those_without_subtypes() -> None:
    without = [plan_disease(SEED, index, PhantomConfig()) for index in range(len(PLANS))]
    for plan, other in zip(PLANS, without, strict=True):
        assert (main_category(plan.t), plan.n, plan.m) == (main_category(other.t), other.n, other.m)
        assert (plan.nodes, plan.metastases, plan.side) == (other.nodes, other.metastases, other.side)
        assert other.subtype is None


def test_the_plan_of_a_subtype_gives_the_letter_it_had() -> None:
    for plan in PLANS:
        found = FOUND[plan.descriptor] if plan.descriptor else ()
        t = t_category(plan.diameter_mm, plan.solid_diameter_mm, found)
        assert main_category(t) == main_category(plan.t), plan


def test_every_subtype_is_frequent_and_tells_nothing_of_nodes_and_metastases() -> None:
    counts = Counter(plan.subtype for plan in PLANS)
    assert set(counts) == set(SUBTYPES)
    assert min(counts.values()) > 0.15 * len(PLANS)
    for letter in ("n", "m"):
        values = sorted({getattr(plan, letter) for plan in PLANS})
        table = [[sum(p.subtype == s and getattr(p, letter) == v for p in PLANS) for v in values] for s in SUBTYPES]
        assert chi2_contingency(table).pvalue > 1e-3


def test_each_subtype_has_its_size_texture_and_inside() -> None:
    of = {subtype: [plan for plan in PLANS if plan.subtype == subtype] for subtype in SUBTYPES}
    assert {plan.texture for subtype in "BEG" for plan in of[subtype]} == {"solid"}
    assert np.mean([plan.texture != "solid" for plan in of["A"]]) > 0.3
    assert min(plan.diameter_mm for plan in of["E"]) >= 30.0
    assert min(plan.diameter_mm for plan in of["B"]) >= 16.0
    assert min(plan.diameter_mm for plan in of["G"]) >= 15.0
    assert {subtype: {plan.zone for plan in own} for subtype, own in of.items()} == {
        "A": {"peripheral"}, "B": {"central"}, "E": {"peripheral"}, "G": {"central", None},
    }  # fmt: skip
    assert {plan.core for plan in of["A"] + of["B"]} == {"none"}
    assert {plan.core for plan in of["E"]} == {"necrosis"}
    assert all((plan.core == "cavity") == (plan.zone is None) for plan in of["G"])


def _placed(plan: DiseasePlan, index: int) -> tuple[float, float]:
    """Distances in mm of the tumour's surface from the chest wall and from where the vessels enter its lobe."""
    anatomy = build_anatomy(SEED, index, "M", dict(PHASES["none"]), 5.0)
    placer = Placer(anatomy, random_stream(SEED, index, Stream.PLACEMENT))
    lesion = place_primary(placer, plan, 0.0).lesion
    wall = -float(placer.depth(anatomy.chest.cage, lesion.centre[None])[0])
    gate = np.array(ARTERY_GATES[plan.lobe][1]) * anatomy.build.scale
    return wall - plan.diameter_mm / 2, float(np.linalg.norm(lesion.centre - gate)) - plan.diameter_mm / 2


def test_peripheral_tumours_lie_at_the_chest_wall_and_central_ones_at_the_hilum() -> None:
    of = {
        zone: [k for k, plan in enumerate(PLANS) if plan.zone == zone and not plan.descriptor and plan.diameter_mm < 35]
        for zone in ("peripheral", "central")
    }
    for index in of["peripheral"][:5]:
        assert _placed(PLANS[index], index)[0] < 22
    for index in of["central"][:5]:
        assert _placed(PLANS[index], index)[1] < 8


@pytest.mark.parametrize("core", ["cavity", "none"])
def test_cavities_are_in_the_image_and_solid_tumours_are_solid(core: str) -> None:
    index = next(k for k, p in enumerate(PLANS) if p.core == core and p.texture == "solid" and p.diameter_mm > 35)
    phantom = render_phantom(index, SEED, CONFIG)
    canvas = phantom.canvas
    inside = np.asarray(canvas.hu)[canvas.labels == 1]
    air = (inside < -700).mean()
    assert (0.05 < air < 0.4) if core == "cavity" else air < 0.01


@pytest.mark.usefixtures("reads_here")
def test_the_histology_reaches_the_cohort_under_the_names_of_the_real_source(tmp_path: Path) -> None:
    truths = write_phantom_tree(tmp_path / "raw", 3, SEED, CONFIG, workers=1)
    expected = {truth.patient: SUBTYPES[plan.subtype or ""] for truth, plan in zip(truths, PLANS, strict=False)}
    assert {truth.patient: truth.subtype for truth in truths} == expected
    result = ingest("phantom", tmp_path / "raw", tmp_path / "cohort", IngestOptions(workers=1))
    assert {case.patient: case.subtype for case in result.cohort.cases} == expected
    # A cohort without subtypes has the table it always had.
    write_phantom_tree(tmp_path / "plain", 1, SEED, PhantomConfig(resolution="tiny"), workers=1)
    with open(tmp_path / "plain" / "clinical.csv", encoding="utf-8") as file:
        assert "subtype" not in next(csv.reader(file))
    assert "subtype" not in (tmp_path / "plain" / "truth" / f"PH-{SEED}-0000.json").read_text(encoding="utf-8")
