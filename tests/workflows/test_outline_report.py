"""Lesions that are clicked one by one, and what is said of their outlines."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from monai_staging.cohort.volume import read_mask
from monai_staging.errors import DataError
from monai_staging.transforms.click import ClickedViews, Clicks, click_map
from monai_staging.transforms.lesion_parts import LesionParts
from monai_staging.workflows.chest_data import ChestCase
from monai_staging.workflows.chest_patches import lesion_share_of, places_to_draw
from monai_staging.workflows.chest_report import ScanCollector
from monai_staging.workflows.outline_report import ClickedLesions, OutlineCollector, OutlineInference, OutlineReport

AFFINE = np.array([[-4.5, 0, 0, 160.0], [0, -4.5, 0, 130.0], [0, 0, 7.0, -140.0], [0, 0, 0, 1.0]])
BOXES = {1: ((48, 30, 25), (53, 35, 29)), 2: ((14, 20, 15), (22, 28, 20))}
VIEWS = ClickedViews((3.0, 3.0, 5.0), ["lung"])


@pytest.fixture(scope="module")
def case(chest_with: Callable[..., ChestCase], tmp_path_factory: pytest.TempPathFactory) -> ChestCase:
    """A chest with a small lesion and a large one."""
    return chest_with(tmp_path_factory.mktemp("chest"), BOXES, AFFINE)


def run(collector: ScanCollector, lesions: ClickedLesions, missed: int | None = None) -> SimpleNamespace:
    """As an evaluator whose network is right but for one lesion, that it does not see at all."""
    engine = SimpleNamespace(state=SimpleNamespace(metrics={}, batch=None, output=None))
    collector.begin()
    for number, item in enumerate(lesions):
        share = lesion_share_of(item["case"], item["grid"])
        logits = torch.full_like(share, -9.0) if number == missed else 20 * (share - 0.5)
        engine.state.batch, engine.state.output = {**item, "image": item["image"][None]}, {"pred": logits[None, None]}
        collector.collect(engine)
    collector.complete(engine)
    return engine


def test_each_lesion_is_clicked_once_in_its_middle(case: ChestCase, tmp_path: Path) -> None:
    middles = places_to_draw(case, tmp_path / "chest").middles
    clicked = ClickedLesions([case], VIEWS, tmp_path)
    assert [item["case"].name for item in clicked] == ["scan-1", "scan-2"]
    for item, middle, label in zip(clicked, middles, case.labels, strict=True):
        assert item["image"].shape == (3, 64, 64, 40) and item["scan"] is case and item["case"].labels == (label,)
        np.testing.assert_allclose(item["clicks"].inside, middle[None], atol=1e-4)
        torch.testing.assert_close(item["image"][1], click_map(item["grid"], middle[None]), atol=1e-4, rtol=0)
        assert not item["image"][2].any()
    # Without a mask, at the middle of the lesion's box.
    bare = replace(case, mask=None, labels=(), centers_mm=((1.0, 2.0, 3.0),))
    (item,) = ClickedLesions([bare], VIEWS, tmp_path)
    assert item["clicks"] == Clicks(((1.0, 2.0, 3.0),)) and item["case"].reference() == []


def test_a_cohort_without_lesions_is_refused(case: ChestCase, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a lesion to click at is needed; found none in 1 scans"):
        ClickedLesions([replace(case, labels=())], VIEWS, tmp_path)


def test_lesions_are_scored_one_by_one(case: ChestCase, tmp_path: Path) -> None:
    lesions = ClickedLesions([case], VIEWS, tmp_path)
    right = run(OutlineCollector(LesionParts()), lesions)
    assert right.state.metrics["dice"] > 0.9 and right.state.metrics["found"] == 1
    lines: list[str] = []
    report = OutlineReport(LesionParts(), tmp_path / "out", "drawn", resamples=20, figures=False, printer=lines.append)
    run(report, lesions, missed=1)
    assert "drawn: 2 lesions of 1 patients" in "\n".join(lines)
    with open(tmp_path / "out" / "predictions.csv", newline="") as file:
        found, missed = csv.DictReader(file)
    assert (found["scan"], missed["scan"]) == ("scan-1", "scan-2")
    assert float(found["dice"]) > 0.9 and float(found["diameter_error_mm"]) < 5 and float(found["lesions"]) == 1
    assert float(missed["dice"]) == float(missed["found"]) == float(missed["diameter_mm"]) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["dice"]["value"] == pytest.approx(float(found["dice"]) / 2, abs=1e-5)


def test_masks_hold_all_lesions_of_a_scan(case: ChestCase, tmp_path: Path) -> None:
    other = replace(case, name="other", labels=(2,))
    writer = OutlineInference(LesionParts(), tmp_path / "out", printer=lambda line: None)
    run(writer, ClickedLesions([case, other], VIEWS, tmp_path))
    table = json.loads((tmp_path / "out" / "lesions.json").read_text())
    assert {name: len(lesions) for name, lesions in table.items()} == {"scan": 2, "other": 1}
    true, _ = read_mask(case.mask)
    found, _ = read_mask(tmp_path / "out" / "masks" / "scan.nii")
    for number, label in ((1, 2), (2, 1)):  # the largest is the first
        same = ((found == number) & (true == label)).sum()
        assert 2 * same / ((found == number).sum() + (true == label).sum()) > 0.9
    alone, _ = read_mask(tmp_path / "out" / "masks" / "other.nii")
    np.testing.assert_array_equal(alone == 1, found == 1)
