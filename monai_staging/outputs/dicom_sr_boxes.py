"""Boxes of a label as measurement groups of a DICOM report (TID 1411): a tracked volume between two rectangles each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.dicom.objects import make_uid
from monai_staging.outputs import dicom_codes as codes
from monai_staging.outputs.annotation import Annotation
from monai_staging.outputs.dicom_codes import to_dicom
from monai_staging.outputs.dicom_sources import MANUFACTURER, SourceImages
from monai_staging.outputs.findings import NAME_CHARACTERS, Category

if TYPE_CHECKING:
    import highdicom

_TO_LPS = {"LPS": np.ones(3), "RAS": np.array([-1.0, -1.0, 1.0])}
# The corners of a rectangle of half sides 1, once around.
_AROUND = ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))


class MarkedBox(NamedTuple):
    """A box: its name, and its lower and upper rectangle, (2, 5, 3) closed, LPS mm."""

    name: str
    rectangles: npt.NDArray[np.float64]


def marked_boxes(markups: str) -> list[MarkedBox]:
    """The boxes of a markups document of 3D Slicer: its ROI nodes; whatever is no box, or lacks a part, is none.

    Args:
        markups: the document, JSON.
    """
    found = []
    for own in json.loads(markups)["markups"] if markups else ():
        box = _box(own)
        if box is not None:
            found.append(box)
    return found


def box_groups(
    annotation: Annotation, sources: SourceImages
) -> Sequence[highdicom.sr.VolumetricROIMeasurementsAndQualitativeEvaluations]:
    """The measurement groups of a label's boxes; none where it has none.

    Args:
        annotation: of the label.
        sources: the images that the boxes were drawn on.
    """
    from highdicom import sr

    groups = []
    category, kind = codes.CATEGORIES[Category.NODULE]
    for number, box in enumerate(marked_boxes(annotation.markups), start=1):
        surface = sr.VolumeSurface(
            graphic_type=sr.GraphicTypeValues3D.POLYGON,
            graphic_data=list(box.rectangles),
            frame_of_reference_uid=sources.series.frame_of_reference,
            source_series=sr.SourceSeriesForSegmentation(sources.series.series),
        )
        uid = make_uid(MANUFACTURER, "box", sources.series.series, annotation.digest, number)
        groups.append(
            sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=sr.TrackingIdentifier(uid=uid, identifier=f"{number} {box.name}"[:NAME_CHARACTERS]),
                referenced_volume_surface=surface,
                finding_category=to_dicom(category),
                finding_type=to_dicom(kind),
            )
        )
    return groups


def _box(own: Any) -> MarkedBox | None:
    try:
        center, size = np.asarray(own["center"], np.float64), np.asarray(own["size"], np.float64)
        axes = np.asarray(own.get("orientation") or np.eye(3), np.float64).reshape(3, 3)
        flip = _TO_LPS[own.get("coordinateSystem", "LPS")]
        name = " ".join(str(own.get("name", "")).split())
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    if (
        own.get("type") != "ROI"
        or center.shape != (3,)
        or size.shape != (3,)
        or not np.isfinite([*center, *size]).all()
    ):
        return None
    corners = np.array([[(x, y, z) for x, y in _AROUND] for z in (-1, 1)], np.float64)
    return MarkedBox(name, (center + (corners * size / 2) @ axes.T) * flip)
