from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_staging.cli.main import main
from monai_staging.detection import Detections, OperatingPoints, read_detections
from monai_staging.detection.evaluation import detection_froc, write_detection_evaluation
from monai_staging.detection.truth import DetectionTruth
from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.boxes import Boxes, average_precision


def cohort(seed: int = 0, scans: int = 14) -> tuple[list[dict], Detections]:
    """Scans with nodules, nodes and a tumour, two of a patient, and marks on and beside them."""
    random = np.random.default_rng(seed)
    items, cases, boxes, scores = [], [], [], []
    for number in range(scans):
        lesions = []
        for _ in range(int(random.integers(0, 4))):
            kind, site = [("nodule", None), ("primary", "right upper lobe"), ("node", "4R")][int(random.integers(0, 3))]
            size = float(random.uniform(4, 30))
            center = random.uniform(-150, 150, 3)
            known = bool(random.random() < 0.5)
            sides = (size, size, 0.8 * size)
            found = {"kind": kind, "site": site, "center_mm": tuple(center), "size_mm": sides}
            lesions.append({**found, "diameter_mm": 1.1 * size if known else None})
            if random.random() < 0.8:
                moved = center + random.normal(0, 1, 3)
                boxes.append(np.concatenate([moved - size / 2, moved + size / 2]))
                scores.append(random.random())
        for _ in range(int(random.integers(0, 9))):
            corner = random.uniform(-150, 150, 3)
            boxes.append(np.concatenate([corner, corner + random.uniform(4, 20, 3)]))
            scores.append(random.random())
        cases += [f"case-{number}"] * (len(boxes) - len(cases))
        items.append({"study": f"case-{number}", "case": f"patient-{number // 2}", "lesions": lesions})
    return items, Detections(tuple(cases), np.array(boxes), np.array(scores))


def test_truth_is_the_groups_lesions_and_the_rest_counts_neither_way() -> None:
    lesion = {"center_mm": (1.0, 2.0, 3.0), "size_mm": (4.0, 6.0, 5.0)}
    scans = [
        {
            "study": "a",
            "case": "p",
            "lesions": [
                {**lesion, "kind": "nodule", "site": None, "diameter_mm": 7.5},
                {**lesion, "kind": "metastasis", "site": "lung", "diameter_mm": None},
                {**lesion, "kind": "node", "site": "4R", "diameter_mm": None},
            ],
        },
        {"study": "b", "case": "p", "lesions": []},
    ]
    truth = DetectionTruth.of(scans)
    assert truth.scans == ("a", "b") and truth.patients == {"a": "p", "b": "p"}
    assert truth.lesions.scans == ("a", "a") and truth.lesions.diameters_mm.tolist() == [7.5, 6.0]
    assert truth.boxes.corners.tolist() == [[-1, -1, 0.5, 3, 5, 5.5]] * 2
    assert truth.excluded.scans == ("a",)
    on_the_node = Detections(("a",), [[-1, -1, 0.5, 3, 5, 5.5]], [0.9])
    only_nodes = DetectionTruth.of(scans, ["mediastinal node L", "mediastinal node R"])
    assert only_nodes.lesions.scans == ("a",) and len(only_nodes.excluded) == 2
    far = Detections(("a", "b"), [[50, 50, 50, 60, 60, 60], [-1, -1, 0.5, 3, 5, 5.5]], [0.9, 0.8])
    assert len(detection_froc(far, truth, n_boot=0).matches.false_scores) == 2
    assert len(detection_froc(on_the_node, truth, n_boot=0).matches.false_scores) == 0
    with pytest.raises(UsageError, match="A lesion group is one of"):
        DetectionTruth.of(scans, ["tumour"])


def test_the_files_give_the_command_the_same_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items, found = cohort()
    truth = DetectionTruth.of(items)
    result = write_detection_evaluation(tmp_path, found, truth, title="made up", seed=3, n_boot=100)
    arguments = ["froc", str(tmp_path / "annotations.csv"), str(tmp_path / "detections.csv"), "--json", "--seed", "3"]
    arguments += ["--series", str(tmp_path / "scans.csv"), "--excluded", str(tmp_path / "excluded.csv")]
    capsys.readouterr()
    assert main([*arguments, "--bootstrap", "100", "--sizes", "6", "10", "20"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "froc.json").read_text())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["cpm"]["value"] == printed["cpm"] and metrics["cpm"]["n"] == 7
    assert metrics["sensitivity_1_8_fp"]["low"] == printed["low"][0]
    assert metrics["sensitivity_8_fp"]["high"] == printed["high"][6]
    assert result.figures[0].stat().st_size > 10_000
    assert "| 20 mm and more | " in result.table and "AP, IoU .5" in result.table
    again = read_detections(tmp_path / "detections.csv")
    assert again.cases == found.cases and np.array_equal(again.boxes_mm, found.boxes_mm)


def test_boxes_are_scored_as_average_precision_does(tmp_path: Path) -> None:
    items, found = cohort(1)
    truth = DetectionTruth.of(items)
    result = write_detection_evaluation(tmp_path, found, truth, n_boot=50, figures=False)
    expected = average_precision(
        truth.boxes, Boxes(found.cases, found.boxes_mm, found.scores), truth.patients, n_boot=50
    )
    assert {name: result.metrics[name] for name in expected} == expected
    assert result.figures == () and not (tmp_path / "figures").exists()


def test_frozen_operating_points_are_told_as_they_come_out(tmp_path: Path) -> None:
    items, found = cohort(2, scans=30)
    truth = DetectionTruth.of(items)
    others = DetectionTruth.of((other := cohort(3, scans=30))[0])
    points = OperatingPoints.choose(detection_froc(other[1], others, n_boot=0), "other scans")
    result = write_detection_evaluation(tmp_path, found, truth, points=points, n_boot=200, figures=False)
    for point, key in zip(points.points, ("1_8", "1_4", "1_2", "1", "2", "4", "8"), strict=True):
        own = detection_froc(found.at_least(point.threshold), truth, n_boot=0)
        sensitivity = result.metrics[f"frozen_{key}_fp_sensitivity"]
        false = result.metrics[f"frozen_{key}_fp_false_positives"]
        assert sensitivity.value == pytest.approx(own.detected / own.lesions)
        assert false.value == pytest.approx(len(own.matches.false_scores) / 30)
        assert sensitivity.low <= sensitivity.value <= sensitivity.high and false.n == 15
    assert "operating point, chosen on other scans" in result.table


def test_a_detection_of_a_scan_that_was_not_searched_is_refused(tmp_path: Path) -> None:
    items, _ = cohort()
    stray = Detections(("case-99",), [[0, 0, 0, 1, 1, 1]], [0.5])
    with pytest.raises(DataError, match="case-99"):
        write_detection_evaluation(tmp_path, stray, DetectionTruth.of(items), n_boot=0)
