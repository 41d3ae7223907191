"""DICOM SEG (binary, fractional, labelmap) onto a volume's grid, frame by frame, by geometry.

The frames must lie on the grid: parallel to its axes (any permutation and direction), same spacing, same pixel centres.
They need not cover it. Nothing is resampled.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.dicom.codestream import cut_frame, wrong_size
from monai_staging.cohort.dicom.pixels import decoded
from monai_staging.cohort.dicom.rules import Rule
from monai_staging.cohort.limits import IMAGE_CODEC, overclaimed, oversized
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

SPACING_TOLERANCE = 1.5
"""Frames may be this many times as far apart (SpacingBetweenSlices) as the slices they are placed on."""
GRID_TOLERANCE_VOXELS = 0.1
"""How far a pixel's centre may lie from a voxel's, anywhere on the frame."""
_SIZES = ("Rows", "Columns", "BitsAllocated")
_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage",
}


class Segment(NamedTuple):
    """One segment of a SEG: its number, its SegmentLabel, and its mask (uint8, 0 or 1, on the volume's grid)."""

    number: int
    label: str
    mask: npt.NDArray[np.uint8]


def list_segments(source: Source) -> dict[int, str]:
    """Segment number -> SegmentLabel of a SEG, in its order, without its pixels being decoded.

    The background of a labelmap (0, or its PixelPaddingValue) is no segment.

    Raises:
        SeriesRefused: the object is not a SEG.
    """
    dataset = open_object(source, _CLASSES)
    with refusing_damage(dataset):
        return _labels(dataset)


def mask_from_seg(
    source: Source,
    volume: Volume,
    *,
    segments: Collection[int] | None = None,
    threshold: float = 0.5,
    frame_of_reference: str = "",
) -> list[Segment]:
    """The segments of a SEG on the grid of ``volume``, one mask each, so that overlapping segments stay whole.

    Args:
        source: path or data set.
        volume: where to place them; the one the SEG was drawn on, or one on the same grid.
        segments: the numbers wanted; all by default (each takes a byte a voxel).
        threshold: a pixel of a fractional segment counts from this part of MaximumFractionalValue on.
        frame_of_reference: FrameOfReferenceUID of the volume's images; empty where it is not known.

    Raises:
        SeriesRefused: not a SEG, or one that lacks what it must have, no such segment, no geometry, in another frame of
            reference, off the volume's grid, or a marked pixel outside it.
    """
    dataset = open_object(source, _CLASSES)
    with refusing_damage(dataset):
        labels = _labels(dataset)
        wanted = list(labels) if segments is None else list(segments)
        masks = {number: np.zeros(volume.shape, np.uint8, order="F") for number in wanted}
        _place_all(dataset, masks, volume, threshold, frame_of_reference)
    return [Segment(number, labels[number], masks[number]) for number in wanted]


def union_from_seg(
    source: Source, volume: Volume, name_of: Mapping[int, str], *, frame_of_reference: str = ""
) -> dict[str, npt.NDArray[np.uint8]]:
    """The segments of a SEG that share a name as one mask: each name takes a byte a voxel, however many segments.

    Args:
        source: path or data set.
        volume: where to place them, as `mask_from_seg` has it.
        name_of: the name of each segment wanted, by number.
        frame_of_reference: see `mask_from_seg`.

    Returns:
        uint8 masks, 0 or 1, by name.

    Raises:
        SeriesRefused: as `mask_from_seg`.
    """
    unions = {name: np.zeros(volume.shape, np.uint8, order="F") for name in name_of.values()}
    masks = {number: unions[name] for number, name in name_of.items()}
    dataset = open_object(source, _CLASSES)
    with refusing_damage(dataset):
        _place_all(dataset, masks, volume, 0.5, frame_of_reference)
    return unions


def _place_all(
    dataset: Dataset,
    masks: Mapping[int, npt.NDArray[np.uint8]],
    volume: Volume,
    threshold: float,
    frame_of_reference: str,
) -> None:
    """Writes each segment into its mask of ``masks``."""
    labels = _labels(dataset)
    unknown = [number for number in masks if number not in labels]
    if unknown:
        found = f"no segment {', '.join(map(str, unknown))}; it has {', '.join(map(str, labels))}."
        raise refusal(dataset, Rule.NOT_A_MASK, found)
    check_frame_of_reference(dataset, "the SEG", str(dataset.get("FrameOfReferenceUID", "")), frame_of_reference)
    to_index = lps_to_index(volume)
    for number, frame, affine in _frames(dataset, threshold):
        # A labelmap's frame holds every segment; another's holds the one named with it.
        present = (int(value) for value in np.unique(frame)) if number is None else (number,)
        for own in present:
            if own in masks:
                marked = frame == own if number is None else frame
                _place(masks[own], marked, to_index @ affine, affine, dataset, f"segment {own} ({labels[own]})")


def _labels(dataset: Dataset) -> dict[int, str]:
    items = dataset.get("SegmentSequence")
    if not items:
        raise refusal(dataset, Rule.UNREADABLE, "the SEG has no SegmentSequence.")
    labels = {
        whole_number(dataset, item, "SegmentNumber", f"segment {position}"): str(item.get("SegmentLabel", ""))
        for position, item in enumerate(items, start=1)
    }
    if dataset.get("SegmentationType") == "LABELMAP":
        # The background may be described like a segment; what is left out of the frames would be missing from its mask.
        for background in (0, dataset.get("PixelPaddingValue")):
            labels.pop(background, None)
    return labels


def _frames(dataset: Dataset, threshold: float) -> Any:
    """Yields (segment number or ``None`` for a labelmap, pixels, affine of (column, row) to LPS mm) of each frame."""
    kind = str(dataset.get("SegmentationType", ""))
    rows, columns = _check_claim(dataset)
    try:
        cut = cut_frame(dataset)
        size = wrong_size(dataset)
        pixels = None if cut or size else decoded(dataset)
    # Whatever pydicom raises of fragments that do not fit; all of it means that there are no pixels to trust.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise refusal(dataset, Rule.UNDECODABLE, f"pixels of the SEG cannot be decoded ({reason}).") from error
    if cut is not None:
        found = f"the codestream of frame {cut} of the SEG has no end (FF D9); refuse a part."
        raise refusal(dataset, Rule.TRUNCATED, found)
    if pixels is None:
        raise refusal(dataset, Rule.PIXEL_LAYOUT, f"the SEG: {size}; refuse to choose.")
    pixels = pixels.reshape(-1, rows, columns)
    own_groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if len(own_groups) != len(pixels):
        found = f"the SEG has {len(pixels)} frames and the geometry of {len(own_groups)}."
        raise refusal(dataset, Rule.MISSING_GEOMETRY, found)
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [{}])[0]
    for number, (frame, own) in enumerate(zip(pixels, own_groups, strict=True), start=1):
        affine = _frame_affine(dataset, own, shared, number)
        if kind == "LABELMAP":
            yield None, frame, affine
            continue
        identification = _group(own, shared, "SegmentIdentificationSequence")
        if identification is None:
            raise refusal(dataset, Rule.NOT_A_MASK, f"frame {number} of the SEG does not say whose segment it is.")
        if kind == "FRACTIONAL":
            frame = frame >= threshold * whole_number(dataset, dataset, "MaximumFractionalValue", "the SEG")
        yield whole_number(dataset, identification, "ReferencedSegmentNumber", f"frame {number}"), frame != 0, affine


def _check_claim(dataset: Dataset) -> tuple[int, int]:
    """Rows and columns of a SEG whose size its bytes may hold: looked at before there is any room made for them."""
    rows, columns, bits = (whole_number(dataset, dataset, name, "the SEG") for name in _SIZES)
    frames = whole_number(dataset, dataset, "NumberOfFrames", "the SEG") if "NumberOfFrames" in dataset else 1
    if min(rows, columns, frames) < 1:
        found = f"the SEG has {frames} frames of {columns} x {rows} pixels."
        raise refusal(dataset, Rule.UNDECODABLE, found)
    there = len(dataset.get("PixelData") or b"")
    broken = oversized((columns, rows, frames)) or overclaimed(columns * rows * frames * bits // 8, there, IMAGE_CODEC)
    if broken is not None:
        raise refusal(dataset, Rule.IMPLAUSIBLE_SIZE, f"the SEG: {broken}.")
    return rows, columns


def _frame_affine(dataset: Dataset, own: Any, shared: Any, number: int) -> npt.NDArray[np.float64]:
    position = _group(own, shared, "PlanePositionSequence")
    orientation = _group(own, shared, "PlaneOrientationSequence")
    measures = _group(own, shared, "PixelMeasuresSequence")
    origin = _vector(position, "ImagePositionPatient", 3)
    cosines = _vector(orientation, "ImageOrientationPatient", 6)
    spacing = _vector(measures, "PixelSpacing", 2)
    if origin is None or cosines is None or spacing is None or min(spacing) <= 0:
        found = f"frame {number} of the SEG has no position, orientation or spacing in patient coordinates."
        raise refusal(dataset, Rule.MISSING_GEOMETRY, found)
    across = np.array([cosines[:3], cosines[3:]])
    if np.abs(across @ across.T - np.eye(2)).max() > 1e-3:
        found = f"frame {number} of the SEG: its orientation {point(cosines)} is not two perpendicular unit vectors."
        raise refusal(dataset, Rule.NOT_ORTHOGONAL, found)
    affine = np.zeros((4, 4))
    affine[:3, 0] = cosines[:3] * spacing[1]
    affine[:3, 1] = cosines[3:] * spacing[0]
    # The distance to the next frame; 0 where the SEG does not say.
    affine[:3, 2] = np.cross(cosines[:3], cosines[3:]) * float(measures.get("SpacingBetweenSlices") or 0)
    affine[:3, 3] = origin
    affine[3, 3] = 1
    return affine


def _vector(item: Any, keyword: str, count: int) -> npt.NDArray[np.float64] | None:
    """Exactly ``count`` finite numbers of a functional group, or ``None``."""
    values = np.asarray([float(part) for part in (item and item.get(keyword)) or ()])
    return values if len(values) == count and np.isfinite(values).all() else None


def _group(own: Any, shared: Any, sequence: str) -> Any:
    """The item of a functional group, the frame's own before the shared one."""
    for groups in (own, shared):
        items = groups.get(sequence)
        if items:
            return items[0]
    return None


def _place(
    mask: npt.NDArray[np.uint8],
    marked: npt.NDArray[np.bool_],
    index: npt.NDArray[np.float64],
    affine: npt.NDArray[np.float64],
    dataset: Dataset,
    name: str,
) -> None:
    """Writes the ``marked`` pixels (rows, columns) of a frame into ``mask``; ``index`` is pixel -> voxel index."""
    rows = np.flatnonzero(marked.any(axis=1))
    columns = np.flatnonzero(marked.any(axis=0))
    if not len(rows):
        return
    along_columns, along_rows = int(np.abs(index[:3, 0]).argmax()), int(np.abs(index[:3, 1]).argmax())
    steps = np.zeros((3, 2))
    steps[along_columns, 0] = np.sign(index[along_columns, 0])
    steps[along_rows, 1] = np.sign(index[along_rows, 1])
    origin = np.rint(index[:3, 3])
    # The error is largest at a corner of what is marked.
    corners = np.array([(c, r) for c in (columns[0], columns[-1]) for r in (rows[0], rows[-1])], dtype=np.float64).T
    off = np.abs((index[:3, :2] - steps) @ corners + (index[:3, 3] - origin)[:, None]).max()
    if along_columns == along_rows or off > GRID_TOLERANCE_VOXELS:
        shift = index[:3, 3] - origin
        found = (
            f"{name}: a frame at {point(affine[:3, 3])} mm LPS lies {off:.2f} voxels off the volume's grid "
            f"(its pixel is {np.round(np.abs(index[:3, :2]).max(axis=0), 3).tolist()} voxels, its origin off by "
            f"{np.round(shift, 2).tolist()}); refuse to resample."
        )
        raise refusal(dataset, Rule.MASK_OFF_GRID, found)
    apart = np.abs(index[:3, 2]).max()
    if apart > SPACING_TOLERANCE:
        found = f"{name}: frames are {apart:.2f} slices apart, drawn on thicker slices; refuse to fill the gaps."
        raise refusal(dataset, Rule.MASK_OFF_GRID, found)
    voxels = origin[:, None] + steps @ corners
    low, high = voxels.min(axis=1), voxels.max(axis=1)
    if (low < 0).any() or (high >= mask.shape).any():
        found = (
            f"{name}: a frame at {point(affine[:3, 3])} mm LPS marks voxels {low.astype(int).tolist()} to "
            f"{high.astype(int).tolist()}, outside the volume of {list(mask.shape)}."
        )
        raise refusal(dataset, Rule.MASK_OUTSIDE, found)
    box = marked[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # box[row, column]: flipped where the index falls, transposed where the rows are the mask's earlier axis.
    box = box[:: int(steps[along_rows, 1]), :: int(steps[along_columns, 0])]
    target = mask[tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))]
    normal = 3 - along_columns - along_rows
    plane = np.moveaxis(target, normal, 0)[0]
    plane |= (box if along_rows < along_columns else box.T).astype(np.uint8)
