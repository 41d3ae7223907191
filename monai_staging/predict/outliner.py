"""From a detector's boxes to outlines: a segmentation network looks around each box, not at the whole scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from monai_staging.cohort.lesions import Part, shared_voxels
from monai_staging.cohort.volume import Volume
from monai_staging.metrics.intervals import FloatArray
from monai_staging.transforms.chest_view import ChestViews
from monai_staging.transforms.grid import Grid, plan_grid
from monai_staging.transforms.lesion_parts import LesionParts
from monai_staging.workflows.inferers import AutocastInferer
from monai_staging.workflows.window_inferer import MULTIPLE, memory_format

SIZE = (64, 64, 40)
"""Voxels that are looked at around a box at the least: those of a patch the network has learned from."""
MARGIN_MM = 16.0
"""Around a box: a detector's box may be smaller than its lesion."""
LARGEST_MM = 240.0
"""No more is looked at along an axis."""
OF_PEAK, LEAST = 0.5, 0.1
"""Somebody says that there is a lesion in the box: a voxel counts from this part of the box's highest probability
on, if that is lower than the threshold. Where the highest does not reach the second number there is no outline."""


class LesionOutliner:
    """Outlines what lies in a box.

    Of the parts that the network finds in the box's surroundings the one with the most voxels inside the box is the
    lesion, whole; a box without any has none.

    Args:
        network: of whole-chest segmentation, in evaluation mode: (B, C, X, Y, Z) to log-odds.
        views: what it sees.
        parts: makes lesions of probabilities.
        device: where it runs.
        amp: see :class:`monai_staging.workflows.inferers.AutocastInferer`.
    """

    def __init__(
        self,
        network: nn.Module,
        views: ChestViews,
        parts: LesionParts,
        device: str | torch.device = "cpu",
        amp: bool | str = "auto",
    ) -> None:
        self.network = network
        self.views = views
        self.parts = parts
        self.device = torch.device(device)
        self._inferer = AutocastInferer(device, amp)

    def __call__(self, volume: Volume, boxes_mm: FloatArray, lungs_mm: FloatArray) -> list[Part | None]:
        """The lesion in each of some boxes.

        Args:
            volume: the scan.
            boxes_mm: (N, 6) corners, RAS mm.
            lungs_mm: (2, 3), box of the lungs.

        Returns:
            A part of the scan's voxels a box; ``None`` where nothing was found in it.
        """
        return [self._one(volume, box, lungs_mm) for box in np.asarray(boxes_mm, dtype=np.float64)]

    def _one(self, volume: Volume, box: FloatArray, lungs_mm: FloatArray) -> Part | None:
        grid = self._grid(volume, box)
        image = self.views.look(volume.array, volume.affine, grid, lungs_mm)
        batch = image[None].to(self.device, memory_format=memory_format(self.network))
        with torch.inference_mode():
            chance = self._inferer(batch, self.network).float().sigmoid()[0, 0].cpu()
        peak = _highest(chance, grid, box)
        if peak < LEAST:
            return None
        threshold = min(self.parts.threshold, OF_PEAK * peak)
        parts = LesionParts(threshold, self.parts.smallest_mm3)
        found = parts(chance, grid, volume.shape, volume.affine)
        shares = [voxels_in(part, box, volume) for part in found]
        best = int(np.argmax(shares)) if shares else 0
        return found[best] if shares and shares[best] else None

    def _grid(self, volume: Volume, box: FloatArray) -> Grid:
        center, extent_mm = (box[:3] + box[3:]) / 2, box[3:] - box[:3]
        wanted = np.minimum(extent_mm + 2 * MARGIN_MM, LARGEST_MM) / np.asarray(self.views.spacing_mm)
        # A network halves its map: whole cells, and no less than it has learned from.
        cells = np.ceil(wanted / MULTIPLE).astype(int) * MULTIPLE
        x, y, z = np.maximum(SIZE, cells).tolist()
        middle = (float(center[0]), float(center[1]), float(center[2]))
        return plan_grid(volume.shape, volume.affine, self.views.spacing_mm, (x, y, z), middle)


def _highest(chance: torch.Tensor, grid: Grid, box: FloatArray) -> float:
    """The highest probability of a grid's voxels inside a box."""
    origin, spacing = np.asarray(grid.origin_mm), np.asarray(grid.spacing_mm)
    low = np.clip(np.floor((box[:3] - origin) / spacing), 0, np.asarray(grid.size) - 1).astype(int)
    high = np.clip(np.ceil((box[3:] - origin) / spacing), 0, np.asarray(grid.size) - 1).astype(int)
    i, j, k = (slice(first, last + 1) for first, last in zip(low, high, strict=True))
    return float(chance[i, j, k].max())


def voxels_in(part: Part, box: FloatArray, volume: Volume) -> int:
    """How many of a part's voxels have their centre in a box, (6) corners in RAS mm."""
    points = (np.argwhere(part.mask) + part.corner) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return int(((points >= box[:3]) & (points <= box[3:])).all(axis=1).sum())


def same_lesion(first: Part, second: Part) -> bool:
    """Whether two outlines are of one lesion: they share half of the smaller one or more."""
    return 2 * shared_voxels(first, second) >= min(first.voxels, second.voxels)


def without_repeats(parts: Sequence[Part | None]) -> tuple[list[int], dict[int, int]]:
    """Which boxes are lesions of their own, and which are more boxes of one that came before.

    Args:
        parts: the lesion in each box, the surest box first.

    Returns:
        Places of the boxes that are lesions, and, of those that repeat one, place to the place of the one.
    """
    kept: list[int] = []
    repeats: dict[int, int] = {}
    for place, part in enumerate(parts):
        if part is None:
            continue
        same = [other for other in kept if same_lesion(part, parts[other])]  # type: ignore[arg-type]
        if same:
            repeats[place] = same[0]
        else:
            kept.append(place)
    return kept, repeats
