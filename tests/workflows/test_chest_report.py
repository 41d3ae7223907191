"""What becomes of probabilities of whole scans: scores, a report, masks and a table of lesions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.utils.enums import CommonKeys as Keys

from monai_staging.cohort.volume import read_mask, read_volume
from monai_staging.measure import measure_lesion
from monai_staging.transforms.grid import plan_grid
from monai_staging.transforms.lesion_parts import LesionParts
from monai_staging.transforms.resample import resample
from monai_staging.workflows.chest import ChestPrepareBatch, one_scan
from monai_staging.workflows.chest_data import ChestCase, chest_cases
from monai_staging.workflows.chest_report import ChestCollector, ChestInference, ChestReport, ScanCollector

PARTS = LesionParts(0.5, 5.0)


@pytest.fixture(scope="module")
def cases(box_cohort: Any) -> list[ChestCase]:
    return chest_cases(box_cohort.root, "training")[:3]


def batch_of(case: ChestCase, shift_mm: float = 0.0) -> dict[str, Any]:
    """A network's answer that is the reference, moved to the patient's right."""
    assert case.mask is not None
    labels, affine = read_mask(case.mask)
    grid = plan_grid(labels.shape, affine, (0.8, 0.9, 3.0))
    moved = affine.copy()
    moved[0, 3] += shift_mm
    chance = resample(np.isin(labels, case.labels).view(np.uint8), moved, grid, pad_value=0.0)
    bound = torch.ones(grid.size, dtype=torch.bool)
    return {"image": torch.zeros(1, *grid.size), "bound": bound, "grid": grid, "case": case, "chance": chance}


def evaluate(collector: ScanCollector, batches: list[dict[str, Any]]) -> Engine:
    engine = Engine(lambda _, batch: {Keys.PRED: batch["chance"][None, None]})
    collector.attach(engine)
    engine.run(batches)
    return engine


def test_a_perfect_answer_is_perfect_on_the_scans_voxels(cases: list[ChestCase]) -> None:
    collector = ChestCollector(PARTS)
    engine = evaluate(collector, [batch_of(case) for case in cases])
    assert engine.state.metrics == {"dice": 1.0, "found": 1.0, "false_parts": 0.0, "t_exact": 1.0}
    assert all(scan.values["diameter_error_mm"] == 0 for scan in collector.scans)
    engine = evaluate(collector, [batch_of(case, shift_mm=1.6) for case in cases])
    assert len(collector.scans) == len(cases) and 0.3 < engine.state.metrics["dice"] < 0.9
    engine = evaluate(
        collector,
        [{**batch_of(case), "bound": torch.zeros(1).bool().expand(batch_of(case)["grid"].size)} for case in cases],
    )
    assert engine.state.metrics["dice"] == 0.0


def test_the_report_is_written_and_printed(cases: list[ChestCase], tmp_path: Path) -> None:
    lines: list[str] = []
    report = ChestReport(PARTS, tmp_path, "chests", resamples=20, printer=lines.append)
    evaluate(report, [batch_of(case, shift_mm=0.8) for case in cases])
    text = "\n".join(lines)
    assert "chests: 3 scans of 3 patients" in text and "| T by size exact" in text
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["dice"]["n"] == 3 and 0 < metrics["dice"]["value"] < 1
    assert str(tmp_path / "figures" / "scans.png") in text and (tmp_path / "predictions.csv").is_file()


def test_inference_writes_masks_and_sizes(cases: list[ChestCase], tmp_path: Path) -> None:
    lines: list[str] = []
    evaluate(ChestInference(PARTS, tmp_path, lines.append), [batch_of(case) for case in cases])
    table = json.loads((tmp_path / "lesions.json").read_text())
    assert list(table) == [case.name for case in cases]
    for case in cases:
        assert case.mask is not None
        mask, affine = read_mask(tmp_path / "masks" / f"{case.name}.nii")
        reference, wanted = read_mask(case.mask)
        np.testing.assert_array_equal(mask, reference)
        np.testing.assert_array_equal(affine, wanted)
        (lesion,) = table[case.name]
        size = measure_lesion(reference, affine, read_volume(case.image).array)
        assert lesion["label"] == 1 and lesion["diameter_3d_mm"] == size.diameter_3d_mm and lesion["t"] == list(size.t)
        middle = affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]
        np.testing.assert_allclose(lesion["center_mm"], middle, atol=1e-3)
    assert f"{cases[0].name}: 1 lesions" in lines[0]


def test_a_batch_is_one_scan_with_its_bound(cases: list[ChestCase]) -> None:
    item = batch_of(cases[0])
    batch = one_scan([item])
    image, target, _, arguments = ChestPrepareBatch()(batch, "cpu")
    assert image.shape == (1, *item["image"].shape) and target is None
    assert torch.equal(arguments["bound"], item["bound"]) and batch["case"] is cases[0]
    with pytest.raises(ValueError, match="too many"):
        one_scan([item, item])
