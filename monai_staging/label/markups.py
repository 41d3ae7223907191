"""Boxes as 3D Slicer reads them: a markups file of ROI nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai_staging.metrics.intervals import FloatArray

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_AXES = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
"""Of a box along the world's axes, as Slicer itself writes it: its axes are RAS, the file's LPS."""


def roi_document(boxes_mm: FloatArray, names: Sequence[str], description: str = "") -> dict[str, Any]:
    """The document of some boxes, one ROI node each.

    Args:
        boxes_mm: (N, 6) corners (xmin, ymin, zmin, xmax, ymax, zmax), RAS mm; written as LPS.
        names: of each box, as it is shown.
        description: of each.
    """
    return {
        "@schema": SCHEMA,
        "markups": [_roi(box, name, description) for box, name in zip(boxes_mm, names, strict=True)],
    }


def _roi(box: FloatArray, name: str, description: str) -> dict[str, Any]:
    x, y, z = ((box[:3] + box[3:]) / 2).tolist()
    center = [-x, -y, z]
    return {
        "type": "ROI",
        "name": name,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": False,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": 1,
        "roiType": "Box",
        "center": center,
        "orientation": list(_AXES),
        "size": (box[3:] - box[:3]).tolist(),
        "insideOut": False,
        "controlPoints": [
            {
                "id": "1",
                "label": name,
                "description": description,
                "associatedNodeID": "",
                "position": center,
                "orientation": list(_AXES),
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "defined",
            }
        ],
        "measurements": [],
    }
