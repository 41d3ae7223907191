"""Lesions from masks and from boxes on slices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.case import Box, Lesion

Array = npt.NDArray[Any]


def lesion_of_mask(
    mask: Array, affine: npt.NDArray[np.float64], *, kind: str, label: int | None = None, site: str | None = None
) -> Lesion | None:
    """The lesion that a mask marks; ``None`` where it marks nothing.

    Args:
        mask: shape (columns, rows, slices); what is not 0 is the lesion.
        affine: (4, 4), voxel index to RAS mm.
        kind: see :class:`Lesion`.
        label: see :class:`Lesion`.
        site: see :class:`Lesion`.
    """
    index = np.argwhere(mask)
    if not len(index):
        return None
    centers = index @ affine[:3, :3].T + affine[:3, 3]
    return _lesion(centers.min(axis=0), centers.max(axis=0), affine, kind=kind, label=label, site=site)


def components(mask: Array) -> list[Array]:
    """The connected parts of a mask (faces, edges and corners connect), largest first; arrays of bool."""
    from scipy import ndimage

    labelled, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labelled.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    return [labelled == part + 1 for part in order]


def paint(regions: Sequence[Array], shape: tuple[int, int, int]) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """One mask of several regions, the first as 1; where two overlap, the smaller one shows."""
    painted = np.zeros(shape, np.uint8 if len(regions) < 256 else np.uint16, order="F")
    for number in sorted(range(len(regions)), key=lambda n: (-int(np.count_nonzero(regions[n])), n)):
        painted[regions[number] != 0] = number + 1
    return painted


def lesions_of_boxes(boxes: Iterable[Box], affine: npt.NDArray[np.float64]) -> tuple[Lesion, ...]:
    """Lesions of boxes on slices, the largest first, as the primary; the others are nodules.

    Boxes on neighbouring slices that overlap are of one lesion; boxes on the same slice, and boxes with a slice between
    them, are not.

    Args:
        boxes: see :class:`Lesion`.
        affine: (4, 4), voxel index to RAS mm.
    """
    groups = sorted(_grouped(sorted(set(boxes))), key=lambda group: (-_volume(group), group))
    found = []
    for number, group in enumerate(groups):
        corners = np.array([(x, y, k) for k, x0, y0, x1, y1 in group for x in (x0, x1 - 1) for y in (y0, y1 - 1)])
        # An edge at x is where pixel x begins: the box's outermost pixels are x0 and x1 - 1, and so along y.
        centers = corners @ affine[:3, :3].T + affine[:3, 3]
        kind = "primary" if number == 0 else "nodule"
        found.append(_lesion(centers.min(axis=0), centers.max(axis=0), affine, kind=kind, boxes=tuple(group)))
    return tuple(found)


def _grouped(boxes: Sequence[Box]) -> list[list[Box]]:
    group_of = list(range(len(boxes)))

    def root(index: int) -> int:
        while group_of[index] != index:
            index = group_of[index]
        return index

    for first, a in enumerate(boxes):
        for second in range(first + 1, len(boxes)):
            b = boxes[second]
            if b[0] - a[0] > 1:
                break
            if b[0] - a[0] == 1 and min(a[3], b[3]) > max(a[1], b[1]) and min(a[4], b[4]) > max(a[2], b[2]):
                group_of[root(second)] = root(first)
    groups: dict[int, list[Box]] = {}
    for index, box in enumerate(boxes):
        groups.setdefault(root(index), []).append(box)
    return list(groups.values())


def _volume(boxes: Iterable[Box]) -> float:
    return sum((x1 - x0) * (y1 - y0) for _, x0, y0, x1, y1 in boxes)


def _lesion(
    low: Array,
    high: Array,
    affine: npt.NDArray[np.float64],
    *,
    kind: str,
    label: int | None = None,
    site: str | None = None,
    boxes: tuple[Box, ...] = (),
) -> Lesion:
    """The lesion whose outermost voxel centres are at ``low`` and ``high`` (RAS mm) along each axis."""
    # Half a voxel beyond the centres, along every world axis, is as far as any voxel's corner reaches.
    half = np.abs(affine[:3, :3]).sum(axis=1) / 2
    center, size = (low + high) / 2, high - low + 2 * half
    return Lesion(
        kind=kind,
        center_mm=_micrometres(center),
        size_mm=_micrometres(size),
        site=site,
        label=label,
        boxes=boxes,
    )


def _micrometres(values: Array) -> tuple[float, float, float]:
    """Rounded, so that the same lesion is written the same whatever the machine's last digits."""
    x, y, z = (round(float(value), 3) + 0.0 for value in values)
    return x, y, z
