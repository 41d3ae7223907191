"""Rows, metrics and tables of segmentations, of one evaluation and of several folds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from monai_staging.errors import DataError
from monai_staging.outputs.segmentation import (
    NoduleSegmentation,
    read_segmentations,
    segmentation_metrics,
    write_segmentation_evaluation,
    write_segmentations,
)

SCORES = ("dice", "hd95_mm", "surface_dice", "volume_error_mm3", "volume_bias_mm3", "diameter_error_mm")
READERS = ("reader_dice", "reader_others_dice", "model_reader_dice", "model_others_dice")


def nodule(name: str, patient: str, readers: int, dice: float) -> NoduleSegmentation:
    values = dict.fromkeys((*SCORES, "diameter_bias_mm"), dice)
    values |= dict.fromkeys(READERS, 0.7 if readers > 1 else math.nan)
    return NoduleSegmentation(name, patient, readers, values)


NODULES = [nodule("1", "a", 1, 0.6), nodule("2", "a", 4, 0.8), nodule("3", "b", 2, 0.9)]


def picture(row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    image = np.zeros((20, 20), dtype=np.uint8)
    mask, reference = np.zeros((2, 20, 20), dtype=bool)
    mask[5:9, 5:9] = reference[6:10, 6:10] = True
    return image, mask, reference, 0.5 + 0.1 * row


def test_readers_and_network_are_compared_on_the_same_nodules(tmp_path: Path) -> None:
    result = write_segmentation_evaluation(tmp_path, NODULES, title="test", n_boot=50, pictures=picture)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["dice"]["value"] == pytest.approx(2.3 / 3) and metrics["dice"]["n"] == 2
    assert metrics["reader_dice"]["value"] == pytest.approx(0.7)
    assert metrics["reader_dice_difference"]["value"] == pytest.approx(0)
    assert metrics["dice_4_readers"] == {**metrics["dice_4_readers"], "value": 0.8, "n": 1}
    assert "dice_1_readers" in metrics and "reader_dice_1_readers" not in metrics
    assert "| a reader" in result.table and "two readers or more, 2 patients" in result.table
    assert result.figures[0].stat().st_size > 5_000


def test_one_reader_alone_has_no_agreement(tmp_path: Path) -> None:
    result = write_segmentation_evaluation(tmp_path, NODULES[:1], n_boot=10)
    assert "| a reader" not in result.table and not result.figures
    assert json.loads((tmp_path / "metrics.json").read_text())["reader_dice"]["value"] is None


def test_rows_of_folds_are_put_together(tmp_path: Path) -> None:
    paths = [
        write_segmentations(tmp_path / f"{place}.csv", part) for place, part in enumerate((NODULES[:2], NODULES[2:]))
    ]
    found = read_segmentations(paths)
    assert [(one.name, one.patient, one.readers) for one in found] == [("1", "a", 1), ("2", "a", 4), ("3", "b", 2)]
    pooled, whole = (segmentation_metrics(nodules, n_boot=20) for nodules in (found, NODULES))
    assert {name: estimate.text(4) for name, estimate in pooled.items()} == {
        name: estimate.text(4) for name, estimate in whole.items()
    }
    with pytest.raises(DataError, match="nodule 1 is in another file as well"):
        read_segmentations([paths[0], paths[0]])


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_segmentations([tmp_path / "none.csv"])
    (tmp_path / "other.csv").write_text("nodule,patient,readers,p_malignant\n1,a,1,0.5\n")
    with pytest.raises(DataError, match="lacks diameter_error_mm, dice"):
        read_segmentations([tmp_path / "other.csv"])
    with pytest.raises(DataError, match="at least 1 nodule, found 0"):
        segmentation_metrics([])
