from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.engines import SupervisedEvaluator

from monai_staging.cohort import Lesion
from monai_staging.cohort.volume import Volume, write_volume
from monai_staging.detection import Detections, OperatingPoints, read_detections
from monai_staging.detection.detector import detect_all
from monai_staging.detection.truth import DetectionTruth
from monai_staging.errors import DataError, UsageError
from monai_staging.workflows import detection_report
from monai_staging.workflows.detection import (
    DetectionLoss,
    DetectionPrepareBatch,
    ScanInferer,
    ScanPrepareBatch,
    patch_batch,
    scan_batch,
)
from monai_staging.workflows.detection_report import (
    DetectionCollector,
    DetectionReport,
    DetectionWriter,
    choose_operating_points,
)


class Brightest:
    """A detector that puts a box around the brightest voxel, and a false one beside it."""

    def detect(self, volume: Volume, case: str) -> Detections:
        place = np.unravel_index(np.argmax(volume.array), volume.shape)
        center = volume.affine[:3, :3] @ place + volume.affine[:3, 3]
        boxes = np.array([np.concatenate([center - 3, center + 3]), np.concatenate([center + 40, center + 46])])
        return Detections.of_case(case, boxes, np.array([0.9, 0.4]))


@pytest.fixture
def scans(tmp_path: Path) -> list[dict]:
    """Three scans with a lesion, one without."""
    items = []
    for number in range(4):
        hu = np.full((20, 20, 20), -900, np.int16)
        hu[5 + number, 6, 7] = 100
        write_volume(tmp_path / f"{number}.nii", Volume(hu, np.diag([-1.0, 2.0, 3.0, 1.0])))
        lesion = {"kind": "nodule", "site": None, "center_mm": (-5.0 - number, 12.0, 21.0), "size_mm": (6.0, 6.0, 6.0)}
        lesions = [{**lesion, "diameter_mm": None}] if number else []
        image = str(tmp_path / f"{number}.nii")
        items.append({"image": image, "study": f"case-{number}", "case": f"case-{number}", "lesions": lesions})
    return items


def evaluate(scans: list[dict], handler: object) -> Engine:
    loader = torch.utils.data.DataLoader(scans, batch_size=3, collate_fn=scan_batch)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader,
        network=torch.nn.Identity(),
        inferer=ScanInferer(Brightest()),
        prepare_batch=ScanPrepareBatch(),
        decollate=False,
        val_handlers=[handler],
    )
    evaluator.run()
    return evaluator


def test_an_evaluator_runs_any_detector_on_scans(scans: list[dict]) -> None:
    collector = DetectionCollector(DetectionTruth.of(scans))
    for _ in range(2):
        # A second epoch begins anew. The scan without a lesion has a false positive that is as sure as the hits: at 1/8
        # the curve is half way up.
        assert evaluate(scans, collector).state.metrics["cpm"] == pytest.approx(6.5 / 7)
        assert collector.detections.cases == tuple(name for item in scans for name in [item["study"]] * 2)
    every = detect_all(Brightest(), [(item["study"], item["image"]) for item in scans])
    np.testing.assert_array_equal(every.boxes_mm, collector.detections.boxes_mm)


def test_points_chosen_on_some_scans_are_reported_on_others(scans: list[dict], tmp_path: Path) -> None:
    truth = DetectionTruth.of(scans)
    path = tmp_path / "points.json"
    points = choose_operating_points(Brightest(), scans, truth, path, "scans")
    assert OperatingPoints.load(path) == points and points.threshold("1/2 fp/scan") == 0.9
    printed: list[str] = []
    report = DetectionReport(truth, tmp_path / "out", path, resamples=20, figures=False, title="scans")
    report.printer = printed.append
    evaluator = evaluate(scans, report)
    text = "\n".join(printed)
    assert "scans: 3 lesions in 4 scans of 4 patients, 3 hit by a mark" in text
    assert "operating point, chosen on scans" in text and str(tmp_path / "out" / "detections.csv") in text
    assert report.result is not None and evaluator.state.metrics["cpm"] == report.result.metrics["cpm"].value
    without = DetectionReport(truth, tmp_path / "out", tmp_path / "none.json", resamples=20, figures=False)
    without.printer = printed.append
    evaluate(scans, without)
    assert "operating point" not in printed[-1] and "frozen_1_fp_sensitivity" not in without.result.metrics


def test_lesions_that_were_found_and_missed_are_drawn_without_a_name(
    scans: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A large lesion that nothing is found in, and one that is hit beside its middle slice.
    missed = {"kind": "nodule", "site": None, "center_mm": (0.0, 30.0, 40.0), "size_mm": (9.0, 9.0, 9.0)}
    scans[0]["lesions"] = [{**missed, "diameter_mm": None}]
    moved = scans[3]["lesions"][0]
    scans[3]["lesions"] = [{**moved, "center_mm": (-8.0, 12.0, 29.0), "size_mm": (20.0, 20.0, 20.0)}]
    asked: list[dict] = []
    draw = detection_report.scan_lesion_figure

    def keep(path: Path, image: str, lesion: Lesion, found: Any, **settings: Any) -> Path:
        asked.append({"image": image, "lesion": lesion, "found": found, **settings})
        return draw(path, image, lesion, found, **settings)

    monkeypatch.setattr(detection_report, "scan_lesion_figure", keep)
    printed: list[str] = []
    settings = {"resamples": 5, "title": "scans", "printer": printed.append}
    report = DetectionReport(DetectionTruth.of(scans), tmp_path / "out", scans=scans, **settings)
    evaluate(scans, report)
    assert report.result is not None
    assert not any(one["phantom"] for one in asked)
    drawn = DetectionReport(DetectionTruth.of(scans), tmp_path / "drawn", scans=scans, phantom=True, **settings)
    evaluate(scans, drawn)
    assert len(asked) == 6 and all(one["phantom"] for one in asked[3:])
    del asked[3:]
    names = [path.name for path in report.result.figures]
    assert names == ["froc.png", "lesion_1.png", "lesion_2.png", "lesion_3.png"]
    assert all(path.is_file() and f"  {path}" in printed for path in report.result.figures)
    surest, median, nothing = asked
    assert surest["case_name"] == "case-1" and surest["image"] == scans[1]["image"]
    assert surest["found"] == (-9.0, 9.0, 18.0, -3.0, 15.0, 24.0) and surest["z_mm"] == 21
    assert "scans; surest of 3 found (centre in the lesion), score 0.9, diameter 6 mm" in surest["subtitle"]
    assert "median of 3 found" in median["subtitle"]
    assert nothing["lesion"] == Lesion("nodule", (0.0, 30.0, 40.0), (9.0, 9.0, 9.0)) and nothing["found"] is None
    assert "largest of 1 not found, diameter 9 mm" in nothing["subtitle"]
    # The slice is the lesion's middle where the box is there too, else what both have in common.
    assert detection_report._shared_z_mm(29.0, (0, 0, 18, 6, 6, 24), (0, 0, 19, 20, 20, 39)) == 21.5
    assert detection_report._shared_z_mm(29.0, (0, 0, 0, 6, 6, 9), (0, 0, 19, 20, 20, 39)) == 29


def test_without_volumes_or_figures_no_lesion_is_drawn(scans: list[dict], tmp_path: Path) -> None:
    truth = DetectionTruth.of(scans)
    for name, settings in (("bare", {}), ("none", {"scans": scans, "figures": False})):
        report = DetectionReport(truth, tmp_path / name, resamples=5, printer=lambda _: None, **settings)
        evaluate(scans, report)
        assert not list((tmp_path / name).glob("figures/lesion_*.png"))


def test_a_writer_keeps_what_counts_at_its_point(scans: list[dict], tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    choose_operating_points(Brightest(), scans, DetectionTruth.of(scans), path, "scans")
    printed: list[str] = []
    evaluate(scans, DetectionWriter(tmp_path, path, "1/2 fp/scan", printed.append))
    assert read_detections(tmp_path / "detections.csv").scores.tolist() == [0.9] * 4
    assert printed[0].startswith("4 lesions in 4 scans with a lesion")
    evaluate(scans, DetectionWriter(tmp_path, printer=printed.append))
    assert len(read_detections(tmp_path / "detections.csv")) == 8
    with pytest.raises(UsageError, match="Operating point"):
        DetectionWriter(tmp_path, path, "3 fp/scan")
    with pytest.raises(DataError, match="cannot be read"):
        DetectionWriter(tmp_path, tmp_path / "none.json", "1 fp/scan")


def test_patches_of_several_scans_are_one_batch() -> None:
    def patch(count: int) -> dict:
        boxes = torch.arange(6.0).repeat(count, 1)
        return {"image": torch.rand(1, 4, 4, 4), "boxes": boxes, "labels": torch.zeros(count).long(), "case": "a"}

    batch = patch_batch([[patch(0), patch(2)], [patch(1), patch(1)]])
    images, targets, args, kwargs = DetectionPrepareBatch()(batch, "cpu")
    assert images.shape == (4, 1, 4, 4, 4) and args == () and kwargs["targets"] is targets
    assert [len(target["boxes"]) for target in targets] == [0, 2, 1, 1]
    assert batch["case"] == ["a"] * 4


def test_the_loss_weighs_the_boxes_and_the_lesion_map() -> None:
    parts = {"classification": torch.tensor(1.0), "box_regression": torch.tensor(0.5), "lesion_map": torch.tensor(0.25)}
    assert DetectionLoss(box_weight=3.0, map_weight=2.0)(parts, []) == pytest.approx(3.0)
