"""Lesions from masks and from boxes on slices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.case import Box, Lesion

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Part:
    """A region, cut to the smallest box of voxels that holds it: a speck costs a speck, not a volume.

    Attributes:
        corner: index (i, j, k) of the box's first voxel in the volume.
        mask: bool, shape of the box; some voxel on each of its faces is set.
    """

    corner: tuple[int, int, int]
    mask: npt.NDArray[np.bool_]

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Where in the volume ``mask`` lies."""
        i, j, k = (slice(low, low + size) for low, size in zip(self.corner, self.mask.shape, strict=True))
        return i, j, k

    @property
    def voxels(self) -> int:
        """How many voxels the region has."""
        return int(np.count_nonzero(self.mask))


def part_of_mask(mask: Array) -> Part | None:
    """All of a mask (what is not 0) as one part; ``None`` where it marks nothing."""
    spans = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not len(spans[0]):
        return None
    i, j, k = (int(span[0]) for span in spans)
    box = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
    return Part((i, j, k), mask[box] != 0)


def components(mask: Array) -> list[Part]:
    """The connected parts of a mask (faces, edges and corners connect), largest first, then by their first voxel."""
    from scipy import ndimage

    whole = part_of_mask(mask)
    if whole is None:
        return []
    # Our masks run along the first axis: labelling them transposed goes through memory in its order.
    regions, structure = whole.mask.T, np.ones((3, 3, 3))
    try:
        labelled, _ = ndimage.label(regions, structure=structure, output=np.uint16)
    except RuntimeError:  # more parts than 16 bits can number
        labelled, _ = ndimage.label(regions, structure=structure)
    found = []
    for number, spans in enumerate(ndimage.find_objects(labelled), start=1):
        own = (labelled[spans] == number).T
        corner = [low + span.start for low, span in zip(whole.corner, reversed(spans), strict=True)]
        first = [int(low + step) for low, step in zip(corner, np.unravel_index(own.argmax(), own.shape), strict=True)]
        found.append((first, Part((corner[0], corner[1], corner[2]), own)))
    return [part for _, part in sorted(found, key=lambda item: (-item[1].voxels, item[0]))]


def lesion_of_part(
    part: Part, affine: npt.NDArray[np.float64], *, kind: str, label: int | None = None, site: str | None = None
) -> Lesion:
    """The lesion that a part of a mask is.

    Args:
        part: not empty.
        affine: (4, 4), voxel index to RAS mm.
        kind: see :class:`Lesion`.
        label: see :class:`Lesion`.
        site: see :class:`Lesion`.
    """
    centers = (np.argwhere(part.mask) + part.corner) @ affine[:3, :3].T + affine[:3, 3]
    return _lesion(centers.min(axis=0), centers.max(axis=0), affine, kind=kind, label=label, site=site)


def shared_voxels(first: Part, second: Part) -> int:
    """How many voxels two parts have in common."""
    low = [max(a, b) for a, b in zip(first.corner, second.corner, strict=True)]
    high = [min(a.stop, b.stop) for a, b in zip(first.box, second.box, strict=True)]
    if any(a >= b for a, b in zip(low, high, strict=True)):
        return 0
    common = [
        part.mask[tuple(slice(a - c, b - c) for a, b, c in zip(low, high, part.corner, strict=True))]
        for part in (first, second)
    ]
    return int(np.count_nonzero(common[0] & common[1]))


def overlap(first: Part, second: Part) -> float:
    """What two parts share, as a fraction of their union."""
    shared = shared_voxels(first, second)
    return shared / (first.voxels + second.voxels - shared)


def paint(parts: Sequence[Part], shape: tuple[int, int, int]) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """One mask of several parts, the first as 1; where two overlap, the smaller one shows."""
    painted = np.zeros(shape, np.uint8 if len(parts) < 256 else np.uint16, order="F")
    for number in sorted(range(len(parts)), key=lambda n: (-parts[n].voxels, n)):
        painted[parts[number].box][parts[number].mask] = number + 1
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
