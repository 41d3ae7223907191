"""From probabilities to a nodule's mask: a threshold, and which of the parts are kept."""

from __future__ import annotations

import numpy as np
from monai.transforms import Transform
from numpy.typing import NDArray

from monai_staging.errors import UsageError

PARTS = ("all", "largest", "central")
REACH_MM = 10.0
"""At this distance from the middle a voxel of the ``central`` part weighs exp(-1)."""


class NoduleMask(Transform):
    """A mask of what is probably nodule.

    Somebody has said that there is a nodule, so a mask is not empty: where nothing reaches the threshold, what has at
    least half of the largest probability is taken.

    Args:
        threshold: from here on a voxel is nodule.
        keep: of the connected parts (by faces, edges and corners) ``all``, the ``largest``, or the ``central`` one,
            which has the most voxels near the middle, each weighing the less the farther away it is; a speck does not
            outweigh the nodule beside it.
        smallest_voxels: smaller parts are left out, unless there is no other.

    Raises:
        UsageError: a setting out of range.
    """

    def __init__(self, threshold: float = 0.5, keep: str = "central", smallest_voxels: int = 1) -> None:
        if not 0 < threshold < 1 or smallest_voxels < 1:
            raise UsageError(
                "NoduleMask: a threshold above 0 and below 1, and at least 1 voxel; "
                f"found {threshold} and {smallest_voxels}"
            )
        if keep not in PARTS:
            raise UsageError(f"NoduleMask: keep must be one of {', '.join(PARTS)}; found {keep!r}")
        self.threshold = threshold
        self.keep = keep
        self.smallest_voxels = smallest_voxels

    def __call__(
        self, probability: NDArray[np.float32], spacing_mm: tuple[float, ...] | None = None
    ) -> NDArray[np.bool_]:
        """The mask (D, H, W) of probabilities (D, H, W).

        Args:
            probability: of each voxel.
            spacing_mm: of the voxels, for distances; 1 mm along all axes where there is none.
        """
        from scipy import ndimage

        largest = float(probability.max())
        level = self.threshold if largest >= self.threshold else largest / 2
        mask: NDArray[np.bool_] = (probability >= level) & (probability > 0)
        if self.keep == "all" and self.smallest_voxels == 1:
            return mask
        labels, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
        if count < 2:
            return mask
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        large = sizes >= min(self.smallest_voxels, sizes.max())
        if self.keep == "all":
            kept: NDArray[np.bool_] = large[labels - 1] & mask
            return kept
        order = sizes.astype(np.float64)
        if self.keep == "central":
            weight = np.exp(-_from_middle(mask.shape, spacing_mm) / REACH_MM)
            order = ndimage.sum(weight, labels, np.arange(1, count + 1))
        best = int(np.where(large, order, -np.inf).argmax()) + 1
        chosen: NDArray[np.bool_] = labels == best
        return chosen


def _from_middle(shape: tuple[int, ...], spacing_mm: tuple[float, ...] | None) -> NDArray[np.float64]:
    steps = (1.0,) * len(shape) if spacing_mm is None else spacing_mm
    axes = [
        ((np.arange(length) - (length - 1) / 2) * step).reshape(
            [-1 if axis == place else 1 for axis in range(len(shape))]
        )
        for place, (length, step) in enumerate(zip(shape, steps, strict=True))
    ]
    distance: NDArray[np.float64] = np.sqrt(sum(axis**2 for axis in axes))
    return distance
