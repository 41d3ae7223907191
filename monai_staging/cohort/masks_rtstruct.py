"""DICOM RTSTRUCT contours onto a volume's grid.

A voxel belongs to a structure when its centre lies inside the contours on its slice, by the even-odd rule over all of
them: a contour within another cuts a hole, and so does a keyhole. A centre on an edge belongs to the polygon on its
higher-index side, so that polygons that share an edge share no voxel. A contour marks the slice nearest to its plane;
slices without contours stay empty: nothing is interpolated, and a structure of which no two contoured slices are
neighbours is refused.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.dicom.rules import Rule
from monai_staging.cohort.dicom.values import text
from monai_staging.cohort.masks_source import (
    Source,
    check_frame_of_reference,
    lps_to_index,
    open_object,
    point,
    refusal,
    refusing_damage,
    whole_number,
)
from monai_staging.cohort.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

PLANE_TOLERANCE_VOXELS = 0.1
"""The points of one contour, and the contours of one slice, lie in one plane within this part of the slice spacing."""
_EDGE_TOLERANCE_VOXELS = 1e-3
"""Coordinates are rounded to this: an edge drawn through voxel centres stays there through single-precision affines."""
_CLASSES = {"1.2.840.10008.5.1.4.1.1.481.3": "RT Structure Set Storage"}
_CONTOUR_DATA = 0x30060050
_AREAS = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "INTERPOLATED_PLANAR")

_Points = npt.NDArray[np.float64]


def list_rois(source: Source) -> dict[str, int]:
    """Name -> number of closed planar contours of each structure, in the file's order; 0 for points and open lines.

    Structures that share a name are told apart as ``NAME (ROI 7)``.

    Raises:
        SeriesRefused: the object is not an RTSTRUCT.
    """
    dataset = open_object(source, _CLASSES)
    with refusing_damage(dataset):
        return {name: len(contours) for name, contours in _contours(dataset).items()}


def mask_from_rtstruct(
    source: Source, volume: Volume, *, rois: Collection[str] | None = None, frame_of_reference: str = ""
) -> dict[str, npt.NDArray[np.uint8]]:
    """Structures of an RTSTRUCT as masks (uint8, 0 or 1) on the grid of ``volume``, by name.

    Args:
        source: path or data set.
        volume: where to place them; its slices must be parallel to the contours.
        rois: the names wanted, as `list_rois` gives them; by default all with a closed planar contour (each takes
            a byte a voxel).
        frame_of_reference: FrameOfReferenceUID of the volume's images; empty where it is not known.

    Raises:
        SeriesRefused: not an RTSTRUCT, or one that lacks what it must have, no such structure, one without closed
            contours or in another frame of reference asked for, contours not in the planes of the slices, on other
            slices than the volume's, or a contour that leaves the volume.
    """
    dataset = open_object(source, _CLASSES)
    with refusing_damage(dataset):
        contours = _contours(dataset)
        wanted = [name for name, own in contours.items() if own] if rois is None else list(rois)
        for name in wanted:
            if not contours.get(name):
                kind = "no closed planar contour" if name in contours else "not in the structure set"
                held = ", ".join(own for own in contours if contours[own]) or "none"
                found = f"structure {name!r}: {kind}; it has {held}."
                raise refusal(dataset, Rule.NOT_A_MASK, found)
        frames = _frames_of_reference(dataset)
        for name in wanted:
            check_frame_of_reference(dataset, f"structure {name!r}", frames[name], frame_of_reference)
        return {
            name: _mask(dataset, name, [_points(dataset, name, contour) for contour in contours[name]], volume)
            for name in wanted
        }


def _names(dataset: Dataset) -> dict[int, str]:
    """The name of each structure by its number."""
    items = dataset.get("StructureSetROISequence") or []
    shared = Counter(str(item.get("ROIName", "")) for item in items)
    names: dict[int, str] = {}
    for position, item in enumerate(items, start=1):
        name = str(item.get("ROIName", ""))
        number = whole_number(dataset, item, "ROINumber", f"structure {position}, {name!r},")
        if number in names:
            raise refusal(
                dataset, Rule.UNREADABLE, f"two structures, {names[number]!r} and {name!r}, of one ROINumber."
            )
        names[number] = name if name and shared[name] == 1 else f"{name} (ROI {number})".strip()
    return names


def _frames_of_reference(dataset: Dataset) -> dict[str, str]:
    """Each structure's own, else the file's only one; empty where it has several or none."""
    uids = {
        str(item.get("FrameOfReferenceUID", "")) for item in dataset.get("ReferencedFrameOfReferenceSequence") or []
    }
    whole = str(dataset.get("FrameOfReferenceUID") or (uids.pop() if len(uids) == 1 else ""))
    items = dataset.get("StructureSetROISequence") or []
    return {
        name: str(item.get("ReferencedFrameOfReferenceUID") or whole)
        for name, item in zip(_names(dataset).values(), items, strict=True)
    }


def _contours(dataset: Dataset) -> dict[str, list[Dataset]]:
    """Items of the closed contours of each structure."""
    names = _names(dataset)
    contours: dict[str, list[Dataset]] = {name: [] for name in names.values()}
    for position, roi in enumerate(dataset.get("ROIContourSequence") or [], start=1):
        number = whole_number(dataset, roi, "ReferencedROINumber", f"item {position} of ROIContourSequence")
        if number not in names:
            raise refusal(dataset, Rule.NOT_A_MASK, f"contours of ROI {number}, which the structure set does not name.")
        for contour in roi.get("ContourSequence") or []:
            if str(contour.get("ContourGeometricType", "")) in _AREAS:
                contours[names[number]].append(contour)
    return contours


def _points(dataset: Dataset, name: str, contour: Dataset) -> _Points:
    """The points (points, 3) of a contour in LPS mm."""
    # As text: pydicom's decimal strings are objects, and there may be a million of them.
    data = text(contour, _CONTOUR_DATA)
    try:
        values = np.array(data.split("\\") if data else [], dtype=np.float64)
    except ValueError as error:
        found = f"structure {name!r}: ContourData holds what is no number ({error})."
        raise refusal(dataset, Rule.UNREADABLE, found) from error
    if len(values) < 9 or len(values) % 3 or not np.isfinite(values).all():
        found = f"structure {name!r}: a closed contour of {len(values)} coordinates; three points or more make one."
        raise refusal(dataset, Rule.MISSING_GEOMETRY, found)
    return values.reshape(-1, 3)


def _mask(dataset: Dataset, name: str, contours: list[_Points], volume: Volume) -> npt.NDArray[np.uint8]:
    to_index = lps_to_index(volume)
    shape = np.array(volume.shape)
    polygons: dict[int, list[_Points]] = defaultdict(list)
    planes: dict[int, float] = {}
    for contour in contours:
        index = contour @ to_index[:3, :3].T + to_index[:3, 3]
        height = float(np.median(index[:, 2]))
        spread = float(np.abs(index[:, 2] - height).max())
        if spread > PLANE_TOLERANCE_VOXELS:
            found = f"structure {name!r}: a contour leaves its slice by {spread:.2f} spacings; refuse to cut it."
            raise refusal(dataset, Rule.MASK_OFF_GRID, found)
        if (index < -0.5 - _EDGE_TOLERANCE_VOXELS).any() or (index > shape - 0.5 + _EDGE_TOLERANCE_VOXELS).any():
            outside = np.maximum(-0.5 - index, index - (shape - 0.5)).max(axis=1)
            k = int(outside.argmax())
            found = (
                f"structure {name!r}: the contour point {point(contour[k])} mm LPS lies at voxel {point(index[k])}, "
                f"outside the volume of {list(volume.shape)}."
            )
            raise refusal(dataset, Rule.MASK_OUTSIDE, found)
        k = int(np.clip(np.rint(height), 0, shape[2] - 1))
        if abs(planes.setdefault(k, height) - height) > PLANE_TOLERANCE_VOXELS:
            found = (
                f"structure {name!r}: contours in the planes k={planes[k]:.2f} and k={height:.2f} both fall on slice "
                f"{k}: they were drawn on thinner slices; refuse to merge them."
            )
            raise refusal(dataset, Rule.MASK_OFF_GRID, found)
        polygons[k].append(np.round(index[:, :2] / _EDGE_TOLERANCE_VOXELS) * _EDGE_TOLERANCE_VOXELS)
    slices = sorted(polygons)
    if len(slices) > 2 and min(np.diff(slices)) > 1:
        found = (
            f"structure {name!r}: {len(slices)} contoured slices, none next to another: drawn on thicker slices, or on "
            "some only; refuse to interpolate."
        )
        raise refusal(dataset, Rule.MASK_OFF_GRID, found)
    mask = np.zeros(volume.shape, np.uint8, order="F")
    for k, own in polygons.items():
        mask[:, :, k] = fill(own, (volume.shape[0], volume.shape[1]))
    return mask


def fill(polygons: Collection[_Points], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Which pixel centres lie inside closed polygons, by the even-odd rule over all of them.

    Args:
        polygons: arrays (points, 2) of (i, j); the last point is joined to the first. Within -0.5 and ``shape`` - 0.5.
        shape: pixels along i and j.

    Returns:
        uint8 of ``shape``, 0 or 1.
    """
    # Along each line of constant j, the parity of the crossings at or before i: each toggles the pixels from it on.
    toggles = np.zeros((shape[0] + 1, shape[1]), np.int32)
    for polygon in polygons:
        start, end = polygon, np.roll(polygon, -1, axis=0)
        low = np.minimum(start[:, 1], end[:, 1])
        high = np.maximum(start[:, 1], end[:, 1])
        # An edge crosses the lines j with low <= j < high: a vertex on a line counts once, a level edge never.
        first = np.maximum(np.ceil(low), 0).astype(int)
        last = np.minimum(np.ceil(high), shape[1]).astype(int)
        count = np.maximum(last - first, 0)
        edge = np.repeat(np.arange(len(polygon)), count)
        j = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
        (x0, y0), (x1, y1) = start[edge].T, end[edge].T
        crossing = x0 + (j - y0) * (x1 - x0) / (y1 - y0)
        # Rounded again: the product above must not push a crossing on a centre to its other side.
        i = np.ceil(np.round(crossing, 6)).astype(int)
        np.add.at(toggles, (np.clip(i, 0, shape[0]), j), 1)
    return (np.cumsum(toggles[:-1], axis=0) & 1).astype(np.uint8)
