"""The CT grid of one phantom: where its voxels are, and how lesions are painted into it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from monai_staging.cohort.phantom.grid import Array
from monai_staging.cohort.phantom.scanner import Scanner, rotation
from monai_staging.cohort.phantom.shapes import Shape

TOP_MM = 126.0  # the scan's first and last slice, in a body of normal size
BOTTOM_MM = -196.0


@dataclass
class Canvas:
    """A CT under construction.

    ``hu`` and ``labels`` are (slices, rows, columns), slices from foot to head. ``origin`` is the centre of voxel
    (0, 0, 0)
    in the scanner's frame (DICOM patient coordinates, mm). ``extents`` holds, for each label that has voxels, a
    box that holds them all.
    """

    scanner: Scanner
    scale: float
    origin: tuple[float, float, float]
    hu: Array
    labels: NDArray[np.uint8]
    extents: dict[int, tuple[slice, slice, slice]] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return self.hu.shape

    def z_mm(self, k: int) -> float:
        """Height of slice ``k``."""
        return self.origin[2] + k * self.scanner.slice_spacing_mm

    def to_scanner(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """Anatomical coordinates (N, 3) to the scanner's frame."""
        c, s = rotation(self.scanner)
        p = np.asarray(points) * np.float32(self.scale)
        ox, oy = self.scanner.offset_mm
        return np.stack([c * p[:, 0] - s * p[:, 1] + ox, s * p[:, 0] + c * p[:, 1] + oy, p[:, 2]], axis=1)

    def occupancy(self, shape: Shape, centre: NDArray[np.floating]) -> tuple[Array, tuple[slice, slice, slice]] | None:
        """Part of each voxel inside ``shape`` at ``centre`` (scanner's frame), with the box it covers; None outside."""
        scanner = self.scanner
        field_mm, half, _ = shape.field()
        slab = scanner.slice_thickness_mm
        nz, ny, nx = self.shape
        box = []
        for value, start, step, n in (
            (centre[2], self.origin[2], scanner.slice_spacing_mm, nz),
            (centre[1], self.origin[1], scanner.spacing_mm, ny),
            (centre[0], self.origin[0], scanner.spacing_mm, nx),
        ):
            reach = half + (slab / 2 if step == scanner.slice_spacing_mm else 0.0)
            first = max(0, math.floor((value - reach - start) / step))
            last = min(n, math.ceil((value + reach - start) / step) + 1)
            if first >= last:
                return None
            box.append(slice(first, last))
        parts = max(1, min(6, math.ceil(slab / max(0.8, half / 16))))
        sub = (np.arange(parts) + 0.5) / parts - 0.5
        z = (self.origin[2] + np.arange(box[0].start, box[0].stop) * scanner.slice_spacing_mm)[:, None] + sub * slab
        y = self.origin[1] + np.arange(box[1].start, box[1].stop) * scanner.spacing_mm
        x = self.origin[0] + np.arange(box[2].start, box[2].stop) * scanner.spacing_mm
        c, s = rotation(scanner)
        dx, dy = (x - centre[0])[None, :], (y - centre[1])[:, None]
        # Back into the patient's axes, where the shape is defined; then to grid_sample's -1..1.
        px, py, pz = (c * dx + s * dy) / half, (-s * dx + c * dy) / half, (z.ravel() - centre[2]) / half
        points = np.empty((len(pz), *px.shape, 3), dtype=np.float32)
        points[..., 0], points[..., 1] = px, py
        points[..., 2] = pz[:, None, None]
        distance = torch.nn.functional.grid_sample(
            torch.from_numpy(field_mm)[None, None], torch.from_numpy(points)[None],
            mode="bilinear", padding_mode="border", align_corners=True,
        )[0, 0].numpy()  # fmt: skip
        full = np.clip(0.5 - distance / scanner.blur_mm, 0, 1)
        return full.reshape(-1, parts, *full.shape[1:]).mean(1), (box[0], box[1], box[2])

    def paint(self, part: Array, box: tuple[slice, slice, slice], value: float | Array) -> None:
        """Mixes ``value`` (HU) into the box."""
        view = self.hu[box]
        view += part * (value - view)

    def mark(self, part: Array, box: tuple[slice, slice, slice], label: int) -> None:
        """Writes ``label`` where at least half of a voxel is filled and no lesion has been written yet.

        A lesion so small that it fills half of no voxel gets those it fills most.
        """
        view = self.labels[box]
        most = float(part.max(initial=0.0))
        mine = (part >= (0.5 if most >= 0.5 else 0.7 * most)) & (part > 0) & (view == 0)
        if mine.any():
            view[mine] = label
            self.extents[label] = box

    def where(self, label: int) -> tuple[slice, slice, slice]:
        """The smallest box that holds a label's voxels."""
        around = self.extents[label]
        mask = self.labels[around] == label
        found = []
        for axis, part in enumerate(around):
            hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
            found.append(slice(part.start + int(hit[0]), part.start + int(hit[-1]) + 1))
        return found[0], found[1], found[2]

    def renumber(self, numbers: dict[int, int]) -> None:
        """Gives labels new numbers."""
        table = np.arange(256, dtype=np.uint8)
        for old, new in numbers.items():
            table[old] = new
        if any(old != new for old, new in numbers.items()):
            self.labels[...] = table[self.labels]
            self.extents = {numbers[old]: box for old, box in self.extents.items()}


def make_canvas(scanner: Scanner, scale: float, reach_mm: tuple[float, float] = (BOTTOM_MM, TOP_MM)) -> Canvas:
    """An empty canvas between two heights of a body of normal size: from above the lungs to the adrenals."""
    bottom, top = reach_mm
    low = bottom * scale + scanner.start_mm
    count = int((top - bottom) * scale // scanner.slice_spacing_mm) + 1
    corner = -(scanner.matrix - 1) / 2 * scanner.spacing_mm
    shape = (count, scanner.matrix, scanner.matrix)
    return Canvas(
        scanner, scale, (corner, corner, low), np.empty(shape, dtype=np.float32), np.zeros(shape, dtype=np.uint8)
    )
