"""Several readers' outlines of nodules: which are of one nodule, and the region they agree on.

LIDC's readers drew independently: nothing says which outlines are of one nodule. Outlines whose points come within the
slice thickness of each other are taken for one nodule's, as pylidc's ``cluster_annotations`` does (Hancock and Magnan,
J. Med. Imaging 3(4), 2016); while that makes a group of more than four, readers being four, the whole scan is grouped
again with nine tenths of the distance, down to 0.1 mm. A group that is still larger is of nodules that cannot be told
apart.

An outline runs along the first pixels outside the nodule (LIDC's data collection process, McNitt-Gray et al., Acad.
Radiol. 14(12), 2007), around an included region as within an excluded one: a region is what an including outline
encloses without the outline, less what an excluding one encloses with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.lesions import Part, part_of_mask
from monai_staging.cohort.masks_rtstruct import PLANE_TOLERANCE_VOXELS, fill

READERS = 4
AGREEMENT = 0.5
"""A voxel is the nodule's where this part of the nodule's readers, or more, have it."""
_FACTOR = 0.9
_LEAST_TOLERANCE_MM = 0.1

Points = npt.NDArray[np.int64]


class ReadingRefused(Exception):
    """A reading that cannot be placed; ``rule`` says why and ``found`` by what value."""

    def __init__(self, rule: str, found: str) -> None:
        super().__init__(rule, found)
        self.rule = rule
        self.found = found


@dataclass(frozen=True)
class Outline:
    """One closed line on one slice.

    Attributes:
        points: ``(column, row)`` of its pixels, the first pixel of an image being (0, 0).
        z_mm: of the slice's ImagePositionPatient.
        included: whether what it encloses belongs to the nodule or is cut out of it.
        sop_uid: SOPInstanceUID of the slice; empty where it is not known.
    """

    points: tuple[tuple[int, int], ...]
    z_mm: float
    included: bool = True
    sop_uid: str = ""


@dataclass(frozen=True)
class Reading:
    """One reader's outlines and ratings of one nodule of 3 mm or more.

    Attributes:
        name: what the source calls it.
        outlines: one or more.
        malignancy: 1 to 5.
        ratings: by :data:`monai_staging.cohort.ratings.RATINGS`.
    """

    name: str
    outlines: tuple[Outline, ...]
    malignancy: int
    ratings: Mapping[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, eq=False)
class Grid:
    """What outlines are placed on.

    Attributes:
        shape: columns, rows and slices.
        affine: (4, 4), voxel index to RAS mm.
        positions: SOPInstanceUID to slice index.
    """

    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]
    positions: Mapping[str, int] = field(default_factory=dict)


def group_readings(readings: Sequence[Reading], pixel_mm: tuple[float, float], tolerance_mm: float) -> list[list[int]]:
    """Which readings are of one nodule: indices, each group and the groups by their first.

    Args:
        readings: of one scan.
        pixel_mm: spacing of columns and of rows.
        tolerance_mm: what apart outlines of one nodule may be; the slice thickness.
    """
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    if not readings:
        return []
    clouds = [_cloud(reading, pixel_mm) for reading in readings]
    trees = [cKDTree(cloud) for cloud in clouds]
    lows, highs = (np.array([edge(cloud, axis=0) for cloud in clouds]) for edge in (np.min, np.max))
    apart = np.full((len(clouds), len(clouds)), np.inf)
    np.fill_diagonal(apart, 0.0)
    for first, tree in enumerate(trees):
        # Boxes further apart than that hold no points that are nearer.
        gaps = np.maximum(np.maximum(lows[first] - highs[first + 1 :], lows[first + 1 :] - highs[first]), 0)
        for second in first + 1 + np.flatnonzero(np.linalg.norm(gaps, axis=1) <= tolerance_mm):
            nearest, _ = tree.query(clouds[second])
            apart[first, second] = apart[second, first] = nearest.min()
    while True:
        _, labels = connected_components(apart <= tolerance_mm, directed=False)
        tolerance_mm *= _FACTOR
        if np.bincount(labels).max() <= READERS or tolerance_mm < _LEAST_TOLERANCE_MM:
            break
    groups: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        groups[int(label)].append(index)
    return list(groups.values())


def region(reading: Reading, grid: Grid) -> Part:
    """The voxels a reader took for the nodule.

    Raises:
        ReadingRefused: an outline is on no slice of the grid or leaves it, or nothing is enclosed.
    """
    columns, rows, _ = grid.shape
    low = np.array(grid.shape[:2])
    high = np.zeros(2, np.int64)
    placed: dict[int, list[tuple[Points, bool]]] = defaultdict(list)
    for outline in reading.outlines:
        points = np.array(outline.points, np.int64)
        if (points < 0).any() or (points >= (columns, rows)).any():
            k = int(np.argmax((points < 0).any(axis=1) | (points >= (columns, rows)).any(axis=1)))
            found = f"nodule {reading.name}: the point {tuple(points[k].tolist())}; the image is {columns}x{rows}."
            raise ReadingRefused("annotation-outside-image", found)
        placed[_slice(reading, outline, grid)].append((points, outline.included))
        low, high = np.minimum(low, points.min(axis=0)), np.maximum(high, points.max(axis=0) + 1)
    first, last = min(placed), max(placed)
    shape = (int(high[0] - low[0]), int(high[1] - low[1]))
    mask = np.zeros((*shape, last - first + 1), np.bool_)
    for k, outlines in placed.items():
        # Regions first: what one line excludes is out, whichever line comes first in the file.
        for points, included in sorted(outlines, key=lambda own: not own[1]):
            enclosed, line = _enclosed(points - low, shape)
            if included:
                mask[:, :, k - first] |= enclosed & ~line
            else:
                mask[:, :, k - first] &= ~(enclosed | line)
    part = part_of_mask(mask)
    if part is None:
        raise ReadingRefused("empty-outline", f"nodule {reading.name}: its outlines enclose no pixel.")
    i, j, k = (int(a) for a in (*low, first))
    return Part((part.corner[0] + i, part.corner[1] + j, part.corner[2] + k), part.mask)


def consensus(parts: Sequence[Part]) -> Part | None:
    """The voxels that :data:`AGREEMENT` of the parts have; ``None`` where there are none."""
    low = np.min([part.corner for part in parts], axis=0)
    high = np.max([[span.stop for span in part.box] for part in parts], axis=0)
    votes = np.zeros(tuple(high - low), np.uint8)
    for part in parts:
        box = tuple(slice(span.start - a, span.stop - a) for span, a in zip(part.box, low, strict=True))
        votes[box] += part.mask
    agreed = part_of_mask(votes >= AGREEMENT * len(parts))
    if agreed is None:
        return None
    i, j, k = (int(a + b) for a, b in zip(agreed.corner, low, strict=True))
    return Part((i, j, k), agreed.mask)


def _cloud(reading: Reading, pixel_mm: tuple[float, float]) -> npt.NDArray[np.float64]:
    """The points (points, 3) of all outlines: column and row in mm, and z."""
    found = [
        np.column_stack([np.multiply(own.points, pixel_mm), [own.z_mm] * len(own.points)]) for own in reading.outlines
    ]
    return np.concatenate(found)


def _slice(reading: Reading, outline: Outline, grid: Grid) -> int:
    """The slice an outline is on: by its SOPInstanceUID, else by its z."""
    step = float(grid.affine[2, 2])
    height = (outline.z_mm - float(grid.affine[2, 3])) / step if step else np.inf
    k = grid.positions.get(outline.sop_uid)
    if k is None:
        nearest = round(height) if np.isfinite(height) else -1
        if abs(height - nearest) > PLANE_TOLERANCE_VOXELS or not 0 <= nearest < grid.shape[2]:
            found = f"nodule {reading.name}: no slice with z={outline.z_mm:g} mm or SOPInstanceUID {outline.sop_uid!r}."
            raise ReadingRefused("annotation-without-image", found)
        return nearest
    if abs(height - k) > 0.5:
        z = grid.affine[2, 3] + step * k
        found = f"nodule {reading.name}: an outline at z={outline.z_mm:g} mm on slice {outline.sop_uid} at z={z:g} mm."
        raise ReadingRefused("slice-disagrees", found)
    return k


def _enclosed(points: Points, shape: tuple[int, int]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """What a closed line encloses (with some of its own pixels, or without), and the pixels it runs through."""
    line = np.zeros(shape, np.bool_)
    steps = np.roll(points, -1, axis=0) - points
    # Between neighbouring pixels nothing lies; a longer step runs through the pixel centres that are exactly on it.
    counts = np.maximum(np.gcd(steps[:, 0], steps[:, 1]), 1)
    along = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    on = np.repeat(points, counts, axis=0) + along[:, None] * np.repeat(steps // counts[:, None], counts, axis=0)
    line[on[:, 0], on[:, 1]] = True
    return fill([points.astype(np.float64)], shape).astype(np.bool_), line
