"""What a report keeps of a label; the whole way through an archive is tested in ``tests/label/test_archive.py``."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from pydicom import Dataset

from monai_staging.outputs.annotation import Annotation, read_annotation
from monai_staging.outputs.dicom_sr_boxes import marked_boxes

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone.utc)


def test_a_name_is_one_that_dicom_takes_whatever_the_user_is_called() -> None:
    assert Annotation("final", MOMENT, annotator="a^b=c\\d").creator == "a b c d^"
    assert len(Annotation("final", MOMENT, annotator="x" * 200).creator) == 64
    assert len(Annotation("t" * 64, MOMENT).title) == 64


def test_labels_saved_twice_are_two() -> None:
    first, second = (Annotation("final", MOMENT + timedelta(microseconds=n), {"t": "T1a"}) for n in (0, 1))
    assert first.digest != second.digest
    assert first.digest == Annotation("final", MOMENT, {"t": "T1a"}).digest


def test_another_report_is_none_of_a_label() -> None:
    assert read_annotation(Dataset()) is None


BOX = {"type": "ROI", "name": "a", "center": [10, 20, 30], "size": [2, 4, 6]}


@pytest.mark.parametrize(
    ("box", "low", "high"),
    [
        (BOX, [9, 18, 27], [11, 22, 33]),
        ({**BOX, "coordinateSystem": "RAS"}, [-11, -22, 27], [-9, -18, 33]),
        ({**BOX, "orientation": [0, 1, 0, 1, 0, 0, 0, 0, 1]}, [8, 19, 27], [12, 21, 33]),
    ],
)
def test_boxes_have_the_corners_that_they_were_drawn_with(box: dict[str, object], low: object, high: object) -> None:
    (found,) = marked_boxes(json.dumps({"markups": [box]}))
    assert found.name == "a" and found.rectangles.shape == (2, 5, 3)
    np.testing.assert_allclose(found.rectangles.min(axis=(0, 1)), low)
    np.testing.assert_allclose(found.rectangles.max(axis=(0, 1)), high)
    np.testing.assert_array_equal(found.rectangles[:, 0], found.rectangles[:, -1])


@pytest.mark.parametrize(
    "other",
    [
        {**BOX, "type": "Fiducial"},
        {**BOX, "center": [1, 2]},
        {**BOX, "size": ["a", 1, 2]},
        {**BOX, "center": [float("nan"), 0, 0]},
        {**BOX, "coordinateSystem": "XYZ"},
        {"type": "ROI"},
        7,
    ],
)
def test_what_is_no_box_is_left_out(other: object) -> None:
    assert marked_boxes(json.dumps({"markups": [other, BOX]}))[0].name == "a"
    assert len(marked_boxes(json.dumps({"markups": [other, BOX]}))) == 1


def test_a_label_without_markups_has_no_box() -> None:
    assert marked_boxes("") == []
