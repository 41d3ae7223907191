"""Scores of segmentations, a nodule at a time, beside how well its readers agree with each other.

Voxels are never pooled over nodules: a large nodule has a thousand times the voxels of a small one. Distances are
MONAI's, in millimetres.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monai_staging.errors import DataError
from monai_staging.metrics.intervals import Estimate, FloatArray, patient_bootstrap

if TYPE_CHECKING:
    from torch import Tensor

Mask = NDArray[np.bool_]
Spacing = Sequence[float]

TOLERANCE_MM = 2.0
PERCENTILE = 95.0


def dice(one: Mask, other: Mask) -> float:
    """Twice the common voxels over the voxels of both; NaN where both are empty.

    Raises:
        DataError: masks of different shapes.
    """
    _check(one, other)
    total = int(one.sum()) + int(other.sum())
    return 2.0 * int((one & other).sum()) / total if total else float("nan")


def hausdorff_mm(one: Mask, other: Mask, spacing_mm: Spacing, percentile: float = PERCENTILE) -> float:
    """Distance in mm within which a percentage of each mask's edge voxels lies from the other's edge.

    The larger of both directions. NaN where a mask is empty.

    Args:
        one: (D, H, W).
        other: likewise.
        spacing_mm: of the voxels.
        percentile: 100 is the Hausdorff distance itself.
    """
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    _check(one, other)
    if not one.any() or not other.any():
        return float("nan")
    with _quiet():
        found = compute_hausdorff_distance(
            *_batches(one, other), include_background=True, percentile=percentile, spacing=_lengths(spacing_mm)
        )
    return float(found)


def surface_dice(one: Mask, other: Mask, spacing_mm: Spacing, tolerance_mm: float = TOLERANCE_MM) -> float:
    """Share of both surfaces that lies within a tolerance of the other (Nikolov et al. 2021, 10.2196/26151).

    Surfaces run between voxels and count by their area. 0 where one mask is empty, NaN where both are.

    Args:
        one: (D, H, W).
        other: likewise.
        spacing_mm: of the voxels.
        tolerance_mm: see above.
    """
    from monai.metrics.surface_dice import compute_surface_dice

    _check(one, other)
    if not one.any() or not other.any():
        return 0.0 if one.any() or other.any() else float("nan")
    with _quiet():
        found = compute_surface_dice(
            *_batches(one, other),
            [tolerance_mm],
            include_background=True,
            spacing=_lengths(spacing_mm),
            use_subvoxels=True,
        )
    return float(found)


def axial_diameter_mm(mask: Mask, spacing_mm: Spacing) -> float:
    """The longest diameter on a slice in mm, see :func:`monai_staging.measure.diameters.axial_diameters`.

    Args:
        mask: (D, H, W); 0 of an empty one.
        spacing_mm: of slices, rows and columns.
    """
    from monai_staging.measure.diameters import axial_diameters

    if not mask.any():
        return 0.0
    # Slices, rows and columns run along z, y and x.
    return axial_diameters(mask, np.diag([*spacing_mm, 1.0])[[2, 1, 0, 3]]).longest_mm


def agreement(outlines: Mask, consensus: Callable[[Mask], Mask], mask: Mask | None = None) -> dict[str, float]:
    """How well a nodule's readers agree, and how well a mask agrees with them, on the same terms.

    Args:
        outlines: (R, D, H, W), one reader each; with fewer than two nothing is known.
        consensus: of some readers.
        mask: (D, H, W) to be set beside them.

    Returns:
        ``reader_dice``, over all pairs of readers, and ``reader_others_dice``, of each reader with the consensus of the
        others; of a mask ``model_reader_dice``, with each reader, and ``model_others_dice``, with each of those
        consensuses. All are means of Dice; NaN where they are unknown.
    """
    readers = range(len(outlines))
    pairs, alone, others = [], [], []
    beside: list[float] = []
    if len(outlines) > 1:
        pairs = [dice(outlines[one], outlines[other]) for one, other in combinations(readers, 2)]
        rest = [consensus(np.delete(outlines, reader, axis=0)) for reader in readers]
        alone = [dice(outlines[reader], rest[reader]) for reader in readers]
        if mask is not None:
            beside = [dice(mask, outline) for outline in outlines]
            others = [dice(mask, agreed) for agreed in rest]
    found = {"reader_dice": _mean(pairs), "reader_others_dice": _mean(alone)}
    return found if mask is None else {**found, "model_reader_dice": _mean(beside), "model_others_dice": _mean(others)}


def nodule_scores(mask: Mask, reference: Mask, spacing_mm: Spacing) -> dict[str, float]:
    """Scores of one nodule's mask.

    Args:
        mask: (D, H, W).
        reference: likewise.
        spacing_mm: of slices, rows and columns.

    Returns:
        ``dice``, ``hd95_mm``, ``surface_dice``, ``volume_mm3`` and ``diameter_mm`` of the mask, the same of the
        reference as ``reference_*``, and of each the ``*_error`` (without a sign) and ``*_bias`` (with one).
    """
    voxel = float(np.prod(spacing_mm))
    sizes = {
        "volume_mm3": (float(mask.sum() * voxel), float(reference.sum() * voxel)),
        "diameter_mm": (axial_diameter_mm(mask, spacing_mm), axial_diameter_mm(reference, spacing_mm)),
    }
    values = {
        "dice": dice(mask, reference),
        "hd95_mm": hausdorff_mm(mask, reference, spacing_mm),
        "surface_dice": surface_dice(mask, reference, spacing_mm),
    }
    for name, (found, wanted) in sizes.items():
        quantity, unit = name.split("_")
        values |= {name: found, f"reference_{name}": wanted}
        values |= {f"{quantity}_error_{unit}": abs(found - wanted), f"{quantity}_bias_{unit}": found - wanted}
    return values


def mean_estimate(values: FloatArray, patients: Sequence[str], *, seed: int = 0, n_boot: int = 1000) -> Estimate:
    """Mean over nodules with its interval over patients; what is NaN is left out, and its patients with it.

    Args:
        values: (nodules).
        patients: (nodules) whose each is.
        seed: of the resampling.
        n_boot: how many resamples.
    """
    known = ~np.isnan(values)
    if not known.any():
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    return patient_bootstrap(
        _weighted_mean, np.asarray(patients)[known], values[known], n=n_boot, seed=seed, weighted=True
    )


def _weighted_mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    means: FloatArray = weights @ values / weights.sum(axis=1)
    return means


def _mean(values: Sequence[float]) -> float:
    return float(np.nanmean(values)) if len(values) and not np.isnan(values).all() else float("nan")


def _check(one: Mask, other: Mask) -> None:
    if one.shape != other.shape:
        raise DataError(f"Masks that are compared are of one shape; found {one.shape} and {other.shape}")


def _lengths(spacing_mm: Spacing) -> list[float]:
    """MONAI refuses whole numbers among others."""
    return [float(step) for step in spacing_mm]


@contextmanager
def _quiet() -> Iterator[None]:
    """MONAI 1.6 passes itself an argument that it has deprecated."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
        yield


def _batches(one: Mask, other: Mask) -> tuple[Tensor, Tensor]:
    """(1, 1, D, H, W) tensors with a margin, so that what touches the edge has a surface there."""
    import torch

    return torch.from_numpy(np.pad(one, 1))[None, None], torch.from_numpy(np.pad(other, 1))[None, None]
