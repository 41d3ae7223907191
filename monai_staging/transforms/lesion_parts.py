"""From a network's probabilities to lesions on the scan's own voxels."""

from __future__ import annotations

import numpy as np
import torch

from monai_staging.cohort.lesions import Part, components
from monai_staging.errors import UsageError
from monai_staging.transforms.grid import Affine, Grid
from monai_staging.transforms.resample import resample

SMALLEST_MM3 = 30.0
"""Of a part that counts: a ball of 3.9 mm."""


class LesionParts:
    """Connected parts of what is probably lesion, on the scan's own voxels.

    Probabilities are interpolated to the scan's voxels (averaged over them, where those are the coarser ones) and then
    compared with the threshold, so that outlines are finer than the network's voxels. Only the surroundings of what
    reaches the threshold are looked at: the scan's voxels are never all in memory.

    Args:
        threshold: from here on a voxel is lesion.
        smallest_mm3: smaller parts are left out.

    Raises:
        UsageError: a threshold outside (0, 1), or a negative volume.
    """

    def __init__(self, threshold: float = 0.5, smallest_mm3: float = SMALLEST_MM3) -> None:
        if not 0 < threshold < 1 or smallest_mm3 < 0:
            raise UsageError(
                "LesionParts: a threshold above 0 and below 1 and a volume of 0 or more are needed; found "
                f"{threshold} and {smallest_mm3}"
            )
        self.threshold = threshold
        self.smallest_mm3 = smallest_mm3

    def __call__(
        self,
        probability: torch.Tensor,
        grid: Grid,
        shape: tuple[int, int, int],
        affine: Affine,
        bound: torch.Tensor | None = None,
    ) -> list[Part]:
        """The parts, largest first (faces, edges and corners connect).

        Args:
            probability: (X, Y, Z).
            grid: where it lies.
            shape: (I, J, K) of the scan.
            affine: (4, 4), the scan's voxel index to RAS mm.
            bound: (X, Y, Z) bool: what does not reach into it is no lesion; a lesion that grows out of it is kept
                whole. Everywhere where it is left out.
        """
        from scipy import ndimage

        to_scan = np.linalg.inv(affine) @ grid.affine
        # How far a voxel of the network reaches: to the next one, and into the voxels of the scan it is averaged over.
        extent = np.abs(np.linalg.inv(to_scan[:3, :3])).sum(axis=1)
        reach = np.ceil(1 + extent / 2).astype(int)
        values = probability.cpu().numpy()
        near = ndimage.maximum_filter(values, tuple(2 * reach + 1)) >= self.threshold
        labels, _ = ndimage.label(near, structure=np.ones((3, 3, 3)))
        smallest = self.smallest_mm3 / abs(np.linalg.det(affine[:3, :3]))
        within = np.ones(values.shape, dtype=bool) if bound is None else bound.cpu().numpy()
        found: list[Part] = []
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            own = np.where(labels[box] == number, values[box], np.float32(0))
            if own[within[box]].max(initial=0) < self.threshold:
                continue
            found += [part for part in self._parts(own, box, to_scan, shape) if part.voxels >= smallest]
        return sorted(found, key=lambda part: (-part.voxels, part.corner))

    def _parts(
        self, values: np.ndarray, box: tuple[slice, ...], to_scan: Affine, shape: tuple[int, int, int]
    ) -> list[Part]:
        """Parts of one region of the network's voxels; ``to_scan`` is index to index."""
        moved = to_scan.copy()
        moved[:3, 3] += to_scan[:3, :3] @ [span.start for span in box]
        corners = np.stack(np.meshgrid(*[(-0.5, length - 0.5) for length in values.shape]), axis=-1).reshape(-1, 3)
        corners = corners @ moved[:3, :3].T + moved[:3, 3]
        low = np.clip(np.floor(corners.min(axis=0)), 0, np.asarray(shape) - 1)
        high = np.clip(np.ceil(corners.max(axis=0)), 0, np.asarray(shape) - 1)
        i, j, k = (int(length) for length in high - low + 1)
        window = Grid((i, j, k), (1.0, 1.0, 1.0), (float(low[0]), float(low[1]), float(low[2])))
        fine = resample(values, moved, window, pad_value=0.0).numpy()
        found = []
        for part in components(fine >= self.threshold):
            i, j, k = (int(first) + step for first, step in zip(low, part.corner, strict=True))
            found.append(Part((i, j, k), part.mask))
        return found
