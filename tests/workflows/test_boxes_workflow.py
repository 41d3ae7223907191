"""The box regressor's batches, what is collected of an evaluation, its report, and the detector of whole scans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.utils.data import DataLoader

from monai_staging.cohort import load_cohort
from monai_staging.cohort.volume import Volume, read_volume
from monai_staging.detection import Detector
from monai_staging.networks.box_regressor import BoxOutput, SliceBoxNetwork
from monai_staging.outputs.boxes import read_slices
from monai_staging.transforms.slice_boxes import RandSliceBoxes, SliceImage
from monai_staging.workflows.boxes import BoxCollector, BoxPrepareBatch, epochs_to_reach, ordered_corners
from monai_staging.workflows.boxes_data import SliceBoxData
from monai_staging.workflows.boxes_detector import SliceBoxDetector
from monai_staging.workflows.boxes_report import BoxReport, box_mm
from monai_staging.workflows.boxes_split import SliceSplit
from monai_staging.workflows.nodule_data import as_batch

IMAGE = SliceImage(40, ["lung"])


class BrightBox(SliceBoxNetwork):
    """The box around what is white; where nothing is, a box that jumps about, and unlikely."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def details(self, image: Tensor) -> BoxOutput:
        boxes, presence = [], []
        for one in image:
            bright = (one[0] > 0.8).nonzero()
            self.calls += 1
            if len(bright):
                (y0, x0), (y1, x1) = bright.min(dim=0).values, bright.max(dim=0).values + 1
                boxes.append(torch.stack([x0, y0, x1, y1]).float())
            else:
                jump = 8.0 * (self.calls % 4)
                boxes.append(torch.tensor([jump, jump, jump + 6, jump + 6]))
            presence.append(4.0 if len(bright) else -4.0)
        found = torch.stack(boxes)
        return BoxOutput(found, found.new_zeros(len(found), 0, 0), torch.tensor(presence), found)


@pytest.fixture(scope="module")
def data(box_cohort: Any) -> SliceBoxData:
    return SliceBoxData(box_cohort.root, IMAGE, SliceSplit("slice"))


def evaluated(data: SliceBoxData, collector: BoxCollector, shift: float = 0.0) -> Engine:
    """An evaluation whose network finds every box, but for a shift to the right."""
    network = BrightBox()
    prepare = BoxPrepareBatch()

    def step(engine: Engine, batch: Any) -> dict[str, Any]:
        image, box, _, settings = prepare(batch)
        found = network(image, **settings)
        assert isinstance(found, BoxOutput)
        return {"pred": found._replace(boxes=found.boxes + torch.tensor([shift, 0, shift, 0])), "label": box}

    engine = Engine(step)
    collector.attach(engine)
    engine.run(DataLoader(data.part("test"), batch_size=4, collate_fn=as_batch))
    return engine


def mean_l1(prediction: BoxOutput, box: Tensor) -> Tensor:
    return nn.functional.l1_loss(prediction.boxes, box)


def test_a_batch_is_grey_from_0_to_1_and_moved_with_its_boxes(data: SliceBoxData) -> None:
    batch = data.part("training").__getitems__([0, 1, 2])
    image, box, arguments, settings = BoxPrepareBatch()(batch)
    assert image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1
    torch.testing.assert_close(box, batch["box"])
    assert arguments == () and settings == {"details": True}
    torch.manual_seed(0)
    moved, other, _, settings = BoxPrepareBatch(RandSliceBoxes(), details=False)(batch)
    assert not torch.equal(moved, image) and not torch.equal(other, box) and settings == {"details": False}


def test_the_collector_scores_slices(data: SliceBoxData) -> None:
    perfect = evaluated(data, BoxCollector(mean_l1))
    assert perfect.state.metrics == {"iou": pytest.approx(1), "loss": pytest.approx(0, abs=1e-6)}
    shifted = evaluated(data, BoxCollector(mean_l1), shift=2.0)
    assert shifted.state.metrics["loss"] == pytest.approx(1.0)
    boxes = data.part("test").values("box").numpy()
    width = boxes[:, 2] - boxes[:, 0]
    assert shifted.state.metrics["iou"] == pytest.approx(np.mean((width - 2) / (width + 2)), rel=1e-5)


def test_a_box_that_ends_before_it_begins_is_turned() -> None:
    found = ordered_corners(np.array([[5.0, 2.0, 1.0, 9.0], [1.0, 2.0, 3.0, 4.0]]))
    assert found.tolist() == [[1, 2, 5, 9], [1, 2, 3, 4]]


def test_the_first_epoch_that_reaches_an_iou() -> None:
    epochs = [{"epoch": float(e), "val_iou": iou} for e, iou in ((1, 0.3), (2, 0.71), (3, 0.69))]
    assert epochs_to_reach([{"epoch": 0.5}, *epochs]) == 2
    assert np.isnan(epochs_to_reach(epochs, 0.9))


def test_the_report_has_metrics_rows_and_says_what_leaks(data: SliceBoxData, tmp_path: Path) -> None:
    lines: list[str] = []
    report = BoxReport(data, mean_l1, tmp_path, resamples=20, figures=False, printer=lines.append)
    evaluated(data, report, shift=2.0)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    rows = read_slices(tmp_path / "predictions.csv")
    assert metrics["iou"]["value"] == pytest.approx(np.mean([row.iou for row in rows]), abs=1e-5)
    assert metrics["iou"]["n"] == len({row.patient for row in rows})
    assert metrics["leaking_patients"]["value"] == pytest.approx(data.leaking) and any(row.leaks for row in rows)
    assert metrics["epochs_to_iou_70"]["value"] is None
    for row in rows:
        # In pixels of the slice, which is not square: the image has air above and beneath it.
        assert row.found[0] - row.truth[0] == pytest.approx(2, abs=1e-4) and row.found[1] == pytest.approx(row.truth[1])
    assert "LEAKS" in lines[0] and "| LEAKS" in "\n".join(lines)


def test_a_box_on_a_slice_is_a_box_in_the_world(box_cohort: Any) -> None:
    cohort = load_cohort(box_cohort.root)
    for case in cohort.cases:
        volume = read_volume(cohort.image_path(case))
        boxes = np.array([box_mm(box, k, volume.affine) for k, box in box_cohort.boxes[case.series].items()])
        whole = np.concatenate([boxes[:, :3].min(axis=0), boxes[:, 3:].max(axis=0)])
        center, half = np.array(case.lesions[0].center_mm), np.array(case.lesions[0].size_mm) / 2
        np.testing.assert_allclose(whole, np.concatenate([center - half, center + half]), atol=2e-3)


def test_the_detector_finds_the_tumour_in_the_world_and_is_surest_of_it(box_cohort: Any) -> None:
    cohort = load_cohort(box_cohort.root)
    detector = SliceBoxDetector(BrightBox(), IMAGE, batch_size=5)
    assert isinstance(detector, Detector)
    for case in cohort.cases:
        found = detector.detect(read_volume(cohort.image_path(case)), "a")
        best = int(found.scores.argmax())
        center, half = np.array(case.lesions[0].center_mm), np.array(case.lesions[0].size_mm) / 2
        np.testing.assert_allclose(found.boxes_mm[best], np.concatenate([center - half, center + half]), atol=2e-3)
        assert found.scores[best] == pytest.approx(1 / (1 + np.exp(-4)), rel=1e-3)
        assert set(found.cases) == {"a"} and (np.delete(found.scores, best) < 0.05).all()


def test_boxes_outside_the_slice_are_no_lesions() -> None:
    class Outside(BrightBox):
        def details(self, image: Tensor) -> BoxOutput:
            boxes = torch.tensor([[50.0, 50.0, 60.0, 60.0]]).repeat(len(image), 1)
            return BoxOutput(boxes, boxes.new_zeros(len(boxes), 0, 0), boxes.new_zeros(len(boxes)), boxes)

    volume = Volume(np.full((40, 40, 3), -800, np.int16), np.eye(4))
    assert len(SliceBoxDetector(Outside(), IMAGE).detect(volume, "a")) == 0
    # A single slice has no neighbours that could agree.
    single = Volume(np.full((40, 40, 1), -800, np.int16), np.eye(4))
    assert SliceBoxDetector(BrightBox(), IMAGE).detect(single, "a").scores.tolist() == [0.0]
