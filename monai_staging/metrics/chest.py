"""Scores of the lesions that were outlined in a whole scan, a scan at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.lesions import Part, overlap
from monai_staging.measure.lesion import measure_lesion
from monai_staging.measure.mesh import Affine
from monai_staging.metrics.segmentation import Mask, dice, hausdorff_mm, surface_dice


def scan_scores(
    found: Sequence[Part],
    reference: Sequence[Part],
    hu: npt.NDArray[np.int16],
    affine: Affine,
    edition: str = "8",
) -> dict[str, float]:
    """Scores of one scan.

    Overlap and volume are of all lesions together. Diameter and T by size are those of the largest lesion found and of
    the first of the reference, both by :func:`monai_staging.measure.measure_lesion`: nobody tells the network which of
    the parts is the tumour.

    Args:
        found: lesions of the network, largest first.
        reference: lesions of the reference, the primary tumour first.
        hu: (I, J, K) the scan, for the solid part.
        affine: (4, 4), voxel index to RAS mm.
        edition: of T.

    Returns:
        ``dice``, ``hd95_mm``, ``surface_dice``; ``volume_mm3`` and ``diameter_mm`` (longest in three dimensions), the
        same of the reference as ``reference_*``, and of each the ``*_error`` (without a sign) and ``*_bias``;
        ``t_exact``, 1 where T by size is the reference's; ``lesions``, how many there are, ``found``, the share of them
        that was touched, and ``false_parts``, parts that touch none. NaN where something is undefined; what was not
        found has a volume and a diameter of 0.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    one, other = _masks(found, reference)
    voxel = float(abs(np.linalg.det(affine[:3, :3])))
    sizes = [_sizes(parts, hu, affine, edition) for parts in (found, reference)]
    volumes = [sum(part.voxels for part in parts) * voxel for parts in (found, reference)]
    values = {
        "dice": dice(one, other),
        "hd95_mm": hausdorff_mm(one, other, spacing.tolist()),
        "surface_dice": surface_dice(one, other, spacing.tolist()),
    }
    for name, unit, (own, wanted) in (("volume", "mm3", volumes), ("diameter", "mm", [size[0] for size in sizes])):
        values |= {f"{name}_{unit}": own, f"reference_{name}_{unit}": wanted}
        values |= {f"{name}_error_{unit}": abs(own - wanted), f"{name}_bias_{unit}": own - wanted}
    touched = [[overlap(part, lesion) > 0 for part in found] for lesion in reference]
    values |= {
        "t_exact": float(sizes[0][1] == sizes[1][1]) if reference else float("nan"),
        "lesions": float(len(reference)),
        "found": float(np.mean([any(row) for row in touched])) if reference else float("nan"),
        "false_parts": float(sum(not any(row[place] for row in touched) for place in range(len(found)))),
    }
    return values


def _sizes(parts: Sequence[Part], hu: npt.NDArray[np.int16], affine: Affine, edition: str) -> tuple[float, str]:
    """Diameter in mm and T by size of the first part; 0 and nothing where there is none."""
    if not parts:
        return 0.0, ""
    part = parts[0]
    measured = measure_lesion(part.mask, affine, hu[part.box], edition=edition)
    return measured.diameter_3d_mm, measured.size_t.measured


def _masks(found: Sequence[Part], reference: Sequence[Part]) -> tuple[Mask, Mask]:
    """Both as masks of the smallest box that holds them: distances need no more of the scan."""
    parts = [*found, *reference]
    if not parts:
        return np.zeros((1, 1, 1), dtype=bool), np.zeros((1, 1, 1), dtype=bool)
    low = np.min([part.corner for part in parts], axis=0)
    high = np.max([[span.stop for span in part.box] for part in parts], axis=0)
    masks = []
    for own in (found, reference):
        mask = np.zeros(high - low, dtype=bool)
        for part in own:
            box = tuple(slice(span.start - first, span.stop - first) for span, first in zip(part.box, low, strict=True))
            mask[box] |= part.mask
        masks.append(mask)
    return masks[0], masks[1]
