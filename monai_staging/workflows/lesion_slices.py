"""Axial patches of whole scans with the lesions on them, for a segmentation network that looks at slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from monai_staging.detection.patch_boxes import boxes_to_grid
from monai_staging.detection.truth import lesion_box_mm
from monai_staging.errors import UsageError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.transforms.ellipsoids import ellipsoid_share
from monai_staging.transforms.grid import Affine, Grid, plan_grid
from monai_staging.transforms.loading import map_file
from monai_staging.transforms.resample import resample
from monai_staging.transforms.windows import HUWindows


class LesionSlices(Dataset[dict[str, Any]]):
    """Random axial patches with their neighbouring slices, a part of them through a lesion.

    The target is the ellipsoid in each lesion's box, so that any cohort with boxes will do. A patch through a lesion is
    at a random height of it, up to one slice beyond its ends, where the network is to learn that it has ended; the
    others are anywhere in the scan. A patch costs a patch, not a volume. Draws come from torch's global generator.

    Args:
        scans: a data list with ``image``, ``case`` and ``lesions``.
        size: pixels along x and y.
        spacing_mm: along x, y, z.
        slices: of a patch, an odd number; the target is on the middle one.
        windows: of HU, see :class:`monai_staging.transforms.windows.HUWindows`.
        count: patches a scan and epoch.
        lesion_fraction: of the patches, of scans that have a lesion.
        jitter_mm: how far the lesion's middle may be from that of the patch, along x and y.

    Returns:
        ``image`` (C * slices, size, size) and ``share`` (1, size, size), of each pixel the part that is lesion, both
        uint8 of 0 to 255.

    Raises:
        UsageError: a setting out of range.
    """

    def __init__(
        self,
        scans: Sequence[Mapping[str, Any]],
        size: int = 64,
        spacing_mm: Sequence[float] = (1.25, 1.25, 2.0),
        slices: int = 3,
        windows: Sequence[str | Sequence[float]] = ((-300.0, 1400.0),),
        count: int = 32,
        lesion_fraction: float = 0.7,
        jitter_mm: float = 25.0,
    ) -> None:
        if size < 1 or slices < 1 or slices % 2 == 0 or count < 1 or not 0 <= lesion_fraction <= 1 or jitter_mm < 0:
            raise UsageError(
                "LesionSlices: size and count of at least 1, an odd number of slices, a fraction of 0 to 1 and a "
                f"jitter of 0 mm or more are needed; found {size}, {count}, {slices}, {lesion_fraction} and {jitter_mm}"
            )
        self.scans = list(scans)
        self.size = (size, size, slices)
        self.spacing_mm = (float(spacing_mm[0]), float(spacing_mm[1]), float(spacing_mm[2]))
        self.windows = HUWindows(windows)
        self.count = count
        self.lesion_fraction = lesion_fraction
        self.jitter_mm = jitter_mm
        # Scans without a lesion have nothing that the others' slices without one do not have: they are not left out,
        # but the lesions' share of the draws is made up by the others.
        with_lesion = sum(bool(scan["lesions"]) for scan in self.scans)
        self.chance = min(1.0, lesion_fraction * len(self.scans) / max(1, with_lesion))

    def __len__(self) -> int:
        return len(self.scans) * self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        scan = self.scans[index % len(self.scans)]
        chance, which, *draws = torch.rand(5).tolist()
        signed = 2 * np.asarray(draws) - 1
        boxes = np.array([lesion_box_mm(lesion) for lesion in scan["lesions"]]).reshape(-1, 6)
        array, affine = map_file(Path(scan["image"]))
        if len(boxes) and chance < self.chance:
            # Without the last bit a float32 just below 1 may become 1 when multiplied.
            box = boxes[int(min(which, 1 - 1e-6) * len(boxes))]
            half = (box[3:] - box[:3]) / 2
            reach = np.array([self.jitter_mm, self.jitter_mm, half[2] + self.spacing_mm[2]])
            center = (box[:3] + box[3:]) / 2 + signed * reach
        else:
            center = self._anywhere(array.shape, affine, signed)
        x, y, z = (float(value) for value in center)
        grid = plan_grid(array.shape, affine, self.spacing_mm, self.size, (x, y, z))
        image = self.windows(resample(array, affine, grid)[None])
        stack = image.permute(0, 3, 1, 2).reshape(-1, *self.size[:2])
        return {"image": _stored(stack), "share": _stored(lesion_share(boxes, grid)[None]), "case": scan["case"]}

    def _anywhere(self, shape: tuple[int, ...], affine: Affine, signed: FloatArray) -> FloatArray:
        """A point of the scan where the patch lies wholly within it in plane, if it is large enough for that."""
        whole = plan_grid(shape, affine, self.spacing_mm)
        extent = (np.asarray(whole.size) - 1) * self.spacing_mm
        free = np.maximum(extent - (np.asarray(self.size) - 1) * self.spacing_mm, 0)
        return np.asarray(whole.origin_mm) + extent / 2 + signed * free / 2


def lesion_share(boxes_mm: FloatArray, grid: Grid) -> Tensor:
    """(X, Y), of each pixel of a grid's middle slice the part that lies in the ellipsoid of a box.

    Args:
        boxes_mm: (N, 6) corners, RAS mm.
        grid: with an odd number of slices.
    """
    cells = torch.from_numpy(boxes_to_grid(boxes_mm, grid.affine))
    # The middle slice is a grid of its own.
    cells[:, [2, 5]] -= grid.size[2] // 2
    return ellipsoid_share(cells, (*grid.size[:2], 1))[..., 0]


def _stored(values: Tensor) -> Tensor:
    return values.mul(255).round_().to(torch.uint8).contiguous()
