"""Boxes as 3D Slicer reads and writes them: a markups file of ROI nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monai_staging.errors import DataError
from monai_staging.metrics.intervals import FloatArray

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_AXES = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
"""Of a box along the world's axes, as Slicer itself writes it: its axes are RAS, the file's LPS."""


@dataclass(frozen=True, eq=False)
class Roi:
    """A box.

    Attributes:
        name: as it is shown.
        center_mm: (3), RAS mm.
        size_mm: (3), extents of the smallest box along the world's axes that holds it.
    """

    name: str
    center_mm: FloatArray
    size_mm: FloatArray


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


def read_roi(node: Any) -> Roi:
    """The box that a markups file's node is.

    Args:
        node: one of the document's ``markups``.

    Raises:
        DataError: it is no ROI that is a box, or its numbers are none of a box.
    """
    node = node if isinstance(node, dict) else {}
    name = str(node.get("name", ""))[:60]
    kind = (node.get("type"), node.get("roiType", "Box"), node.get("coordinateUnits", "mm"))
    if kind != ("ROI", "Box", "mm"):
        raise DataError(f"Markup {name!r}: a box is of type ROI, roiType Box and in mm; found {kind}.")
    system = node.get("coordinateSystem", "LPS")
    if system not in ("LPS", "RAS"):
        raise DataError(f"Markup {name!r}: coordinateSystem is LPS or RAS; found {str(system)[:20]!r}.")
    try:
        center, size = (np.asarray(node[key], dtype=np.float64).reshape(3) for key in ("center", "size"))
        axes = np.asarray(node.get("orientation", np.eye(3)), dtype=np.float64).reshape(3, 3)
    except (KeyError, TypeError, ValueError):
        raise DataError(f"Markup {name!r}: a box has a center and a size of three numbers; found none.") from None
    if not np.isfinite([*center, *size, *axes.ravel()]).all() or min(size) <= 0:
        raise DataError(f"Markup {name!r}: three sizes above 0 mm make a box; found {size.tolist()}.")
    if not np.allclose(axes @ axes.T, np.eye(3), atol=1e-3):
        raise DataError(f"Markup {name!r}: a box has perpendicular axes; found {axes.tolist()}.")
    return Roi(name, center * ((-1, -1, 1) if system == "LPS" else (1, 1, 1)), np.abs(axes) @ size)


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
