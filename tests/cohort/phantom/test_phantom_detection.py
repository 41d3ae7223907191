"""Scans with nodules: as many and as large as LUNA16's, all of them in the truth, nothing else in it."""

from __future__ import annotations

import csv
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from monai_staging.cli.main import main
from monai_staging.cohort.case import Case
from monai_staging.cohort.ingest import IngestOptions, ingest
from monai_staging.cohort.phantom import Phantom, PhantomConfig, draw_scanner, render_phantom, write_phantom_tree
from monai_staging.cohort.phantom.canvas import make_canvas
from monai_staging.cohort.phantom.config import Stream, random_stream
from monai_staging.cohort.phantom.distractors import plan_distractors
from monai_staging.cohort.phantom.draw import grow_trees, mark
from monai_staging.cohort.phantom.nodules import SMALLEST_MM, place_nodules, plan_nodules
from monai_staging.cohort.phantom.place import Placed, Placer
from monai_staging.cohort.phantom.scanner import aim_at_lungs
from monai_staging.cohort.phantom.shapes import make_shape, sphere_directions
from monai_staging.cohort.phantom.study import configuration_digest
from monai_staging.cohort.volume import read_mask
from monai_staging.errors import UsageError

TINY = PhantomConfig(resolution="tiny", disease="nodules")
SEED = 6
PLANS = [plan_nodules(SEED, index) for index in range(2000)]
NONE = next(index for index, plan in enumerate(PLANS) if not plan)
SEVERAL = next(index for index, plan in enumerate(PLANS) if len(plan) > 2)


@lru_cache
def rendered(index: int) -> Phantom:
    return render_phantom(index, SEED, TINY)


def test_scans_have_as_many_nodules_as_those_of_luna16() -> None:
    counts = np.array([len(plan) for plan in PLANS])
    # 888 scans with 1186 nodules, 601 of the scans with one at least.
    assert abs((counts > 0).mean() - 601 / 888) < 4 * (0.32 * 0.68 / len(PLANS)) ** 0.5
    assert abs(counts.mean() - 1186 / 888) < 4 * counts.std() / len(PLANS) ** 0.5
    assert counts.max() == 8


def test_nodules_are_as_large_as_their_kind_can_be() -> None:
    nodules = [nodule for plan in PLANS for nodule in plan]
    sizes = np.array([nodule.diameter_mm for nodule in nodules])
    assert sizes.min() >= 4.0
    assert sizes.max() <= 30.0
    assert 0.70 < (sizes < 10).mean() < 0.80
    assert {nodule.texture for nodule in nodules} == set(SMALLEST_MM)
    assert all(nodule.diameter_mm >= SMALLEST_MM[nodule.texture] for nodule in nodules)
    assert all(
        nodule.solid_diameter_mm == {"solid": nodule.diameter_mm, "ground_glass": 0.0}.get(nodule.texture)
        or (nodule.texture == "part_solid" and 2.5 < nodule.solid_diameter_mm < nodule.diameter_mm)
        for nodule in nodules
    )


@pytest.mark.parametrize("spacing_mm", [1.25, 2.0])
@pytest.mark.parametrize("diameter_mm", [4.0, 6.0, 12.0])
def test_the_mask_of_a_small_nodule_has_its_volume(diameter_mm: float, spacing_mm: float) -> None:
    config = PhantomConfig(disease="nodules")
    index = next(k for k in range(99) if draw_scanner(SEED, k, config).slice_spacing_mm == spacing_mm)
    wide = np.array([[-135.0, -100.0, 0.0], [135.0, 90.0, 0.0]])
    canvas = make_canvas(aim_at_lungs(draw_scanner(SEED, index, config), wide), 1.0, (-12.0, 12.0))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(5):
        shape = make_shape(rng, diameter_mm, "smooth")
        canvas.labels[...] = 0
        mark(canvas, Placed(1, "nodule", "RUL", shape, rng.uniform(-3.0, 3.0, 3), 30.0, diameter_mm, diameter_mm))
        voxel = canvas.scanner.spacing_mm**2 * spacing_mm
        # Of a star-shaped body: the mean of the cubed radius over all directions.
        volume = 4 / 3 * np.pi * (shape.radius(sphere_directions(4000)) ** 3).mean()
        found.append(np.count_nonzero(canvas.labels) * voxel / volume)
    assert canvas.scanner.spacing_mm < 1.0
    # Half a voxel of partial volume takes a little off the smallest.
    assert 0.8 < np.mean(found) < 1.1
    assert min(found) > 0.65


@pytest.mark.parametrize("index", [SEVERAL, SEVERAL + 1])
def test_every_nodule_is_in_the_truth_and_whole_in_the_scan(index: int) -> None:
    phantom = rendered(index)
    canvas, spacing = phantom.canvas, phantom.canvas.scanner.spacing_mm
    assert len(phantom.truth.lesions) == len(PLANS[index])
    assert sorted(np.unique(canvas.labels)) == list(range(len(PLANS[index]) + 1))
    for lesion, plan in zip(phantom.truth.lesions, PLANS[index], strict=True):
        assert (lesion.kind, lesion.diameter_mm) == ("nodule", pytest.approx(plan.diameter_mm, abs=1e-3))
        k, j, i = np.nonzero(canvas.labels == lesion.label)
        for axis, size in ((k, canvas.shape[0]), (j, canvas.shape[1]), (i, canvas.shape[2])):
            assert axis.min() > 0
            assert axis.max() < size - 1
        middle = np.array([i.min() + i.max(), j.min() + j.max()]) / 2 * spacing + canvas.origin[:2]
        np.testing.assert_allclose(lesion.center_mm[:2], -middle, atol=2e-3)
    assert (phantom.truth.t, phantom.truth.n, phantom.truth.m, phantom.truth.stage) == ("", "", "", "")


@pytest.mark.parametrize("index", [SEVERAL, SEVERAL + 1])
def test_no_nodule_disappears_in_a_wide_vessel(index: int) -> None:
    phantom = rendered(index)
    scale = phantom.canvas.scale
    vessels, _ = grow_trees(random_stream(SEED, index, Stream.VESSELS), phantom.anatomy, TINY)
    placer = Placer(phantom.anatomy, random_stream(SEED, index, Stream.PLACEMENT))
    for nodule in place_nodules(placer, PLANS[index], (vessels, vessels), 0.0):
        start, end, radius = vessels.start * scale, vessels.end * scale, vessels.radius * scale
        along = end - start
        part = ((nodule.centre - start) * along).sum(axis=1) / np.maximum((along**2).sum(axis=1), 1e-9)
        distance = np.linalg.norm(start + np.clip(part, 0, 1)[:, None] * along - nodule.centre, axis=1)
        assert (distance > radius)[radius > 0.25 * nodule.diameter_mm].all()


def test_the_scan_shows_the_lungs_and_little_else() -> None:
    phantom = rendered(SEVERAL)
    grid, canvas = phantom.anatomy.grid, phantom.canvas
    z, y, x = np.nonzero(phantom.anatomy.lung < 0)
    lungs = canvas.to_scanner(np.stack([x, y, z], axis=1) * grid.step_mm + np.array(grid.low))
    steps = np.array([canvas.scanner.spacing_mm] * 2 + [canvas.scanner.slice_spacing_mm])
    low, high = np.array(canvas.origin), np.array(canvas.origin) + (np.array(canvas.shape[::-1]) - 1) * steps
    assert (lungs.min(axis=0) > low).all()
    assert (lungs.max(axis=0) < high).all()
    assert (lungs.min(axis=0) - low)[2] < 20
    assert (high - lungs.max(axis=0))[2] < 20
    assert canvas.scanner.field_of_view_mm == pytest.approx((lungs.max(axis=0) - lungs.min(axis=0))[:2].max() + 30)


def test_slices_are_thin_and_scanners_otherwise_the_same() -> None:
    thin = [draw_scanner(SEED, index, PhantomConfig(disease="nodules")) for index in range(200)]
    usual = [draw_scanner(SEED, index, PhantomConfig()) for index in range(200)]
    assert max(scanner.slice_thickness_mm for scanner in thin) <= 2.5
    for name in ("noise_hu", "sharpness", "phase", "roll_deg", "offset_mm", "motion_mm"):
        assert [getattr(scanner, name) for scanner in thin] == [getattr(scanner, name) for scanner in usual]


def test_there_is_more_that_looks_like_a_nodule_than_beside_a_cancer() -> None:
    nodules = [plan_distractors(SEED, index, TINY.disease) for index in range(300)]
    cancers = [plan_distractors(SEED, index) for index in range(300)]
    for name in ("granulomas", "crossings", "scars", "thickenings", "large_nodes"):
        assert sum(getattr(plan, name) for plan in nodules) > 1.5 * sum(getattr(plan, name) for plan in cancers)
    # What is under 3 mm is no nodule by LUNA16's rule either, and those in the truth have 4 mm and more.
    assert {plan.micronodule_mm for plan in nodules} == {3.0}


@pytest.mark.usefixtures("reads_here")
def test_from_the_command_to_the_cohort(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_phantom_tree(tmp_path / "raw", 2, SEED, TINY, workers=1, indexes=[NONE, SEVERAL])
    result = ingest("phantom", tmp_path / "raw", tmp_path / "cohort", IngestOptions(workers=1))
    assert result.rejections == ()
    by_patient: dict[str, Case] = {case.patient: case for case in result.cohort.cases}
    empty, full = (by_patient[f"PH-{SEED}-{index:04d}"] for index in (NONE, SEVERAL))
    assert empty.lesions == ()
    for case in (empty, full):
        mask = result.cohort.mask_path(case)
        assert mask is not None
        assert set(np.unique(read_mask(mask)[0])) == {0, *(lesion.label for lesion in case.lesions)}
        assert len(case.t) == 9
        assert len(case.n) == 4
        assert case.subtype is None
    truth = rendered(SEVERAL).truth
    assert [own.center_mm for own in full.lesions] == [own.center_mm for own in truth.lesions]
    assert {own.kind for own in full.lesions} == {"nodule"}
    with open(tmp_path / "raw" / "clinical.csv", encoding="utf-8") as file:
        assert all(row["t"] == row["n"] == row["m"] == row["stage"] == "" for row in csv.DictReader(file))

    arguments = ["phantom", str(tmp_path / "cli"), "--cases", "1", "--resolution", "tiny", "--workers", "1"]
    assert main([*arguments, "--disease", "nodules", "--seed", str(SEED), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"nodules": {str(len(PLANS[0])): 1}}


def test_solid_nodules_and_ground_glass_look_different() -> None:
    plans = {index: plan for index, plan in enumerate(PLANS[:200]) if any(n.diameter_mm > 12 for n in plan)}
    index = next(
        k for k, plan in plans.items() if any(n.texture == "ground_glass" and n.diameter_mm > 12 for n in plan)
    )
    solid = next(k for k, plan in plans.items() if plan[0].texture == "solid")
    values = {}
    for name, chosen in (("ground_glass", index), ("solid", solid)):
        phantom = rendered(chosen)
        at = next(k for k, n in enumerate(PLANS[chosen], 1) if n.texture == name and n.diameter_mm > 12)
        values[name] = float(np.median(np.asarray(phantom.canvas.hu)[phantom.canvas.labels == at]))
    assert -750 < values["ground_glass"] < -400
    assert -100 < values["solid"] < 120


def test_what_has_no_meaning_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="subtypes are those of cancers"):
        PhantomConfig(disease="nodules", subtypes=True)
    assert main(["phantom", str(tmp_path), "--disease", "nodules", "--subtypes"]) == 2
    assert main(["phantom", str(tmp_path), "--nodules", "3", "--disease", "cancer"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_phantoms_made_before_there_was_a_choice_keep_their_uids() -> None:
    # Of the cohorts that shipped weights were trained on.
    assert configuration_digest(PhantomConfig()) == "c5ec6a58a898"
    others = {
        configuration_digest(config)
        for config in (PhantomConfig(), PhantomConfig(disease="nodules"), PhantomConfig(subtypes=True))
    }
    assert len(others) == 3
