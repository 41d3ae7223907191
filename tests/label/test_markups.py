from __future__ import annotations

import json

import numpy as np

from monai_staging.label.markups import roi_document

BOX = np.array([[1.0, 2.0, 3.0, 5.0, 8.0, 13.0]])


def test_a_box_is_written_in_lps() -> None:
    (roi,) = roi_document(BOX, ["candidate 1"])["markups"]
    assert roi["coordinateSystem"] == "LPS"
    assert roi["center"] == [-3, -5, 8] and roi["size"] == [4, 6, 10]
    assert roi["controlPoints"][0]["position"] == roi["center"]
    # Along the axes that it is written in a box reaches as far as it does in ours.
    axes = np.reshape(roi["orientation"], (3, 3))
    corners = [np.array(roi["center"]) + side * axes @ (np.array(roi["size"]) / 2) for side in (-1, 1)]
    np.testing.assert_allclose(np.sort(np.array(corners) * [-1, -1, 1], axis=0).ravel(), BOX[0])


def test_it_has_what_monai_labels_own_markups_have(monailabel: None) -> None:
    from monailabel.utils.others.detection import create_slicer_detection_json

    path, _ = create_slicer_detection_json({"box": [[-3.0, -5.0, 8.0, 4.0, 6.0, 10.0]], "label": [1], "image": "x"})
    with open(path) as file:
        (theirs,) = json.load(file)["markups"]
    ours = roi_document(BOX, ["x"])
    assert set(theirs) - {"label"} == set(ours["markups"][0])
    same = ("type", "roiType", "coordinateSystem", "coordinateUnits", "center", "size", "orientation")
    assert {key: theirs[key] for key in same} == {key: ours["markups"][0][key] for key in same}
    assert set(theirs["controlPoints"][0]) == set(ours["markups"][0]["controlPoints"][0])


def test_no_box_is_a_document_too() -> None:
    assert roi_document(np.zeros((0, 6)), [])["markups"] == []
