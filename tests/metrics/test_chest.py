"""Scores of whole scans, against the masks of the whole scan."""

from __future__ import annotations

import math

import numpy as np
import pytest
from monai.metrics import compute_hausdorff_distance

from monai_staging.cohort.lesions import Part, part_of_mask
from monai_staging.measure.lesion import measure_lesion
from monai_staging.metrics.chest import scan_scores

SHAPE = (60, 50, 30)
AFFINE = np.array([[-0.9, 0, 0, 20.0], [0, -0.9, 0, 10.0], [0, 0, 2.0, -30.0], [0, 0, 0, 1.0]])
SPACING_MM = (0.9, 0.9, 2.0)
HU = np.full(SHAPE, 30, np.int16)
VOXEL_MM3 = 0.9 * 0.9 * 2.0


def ball(center: tuple[int, int, int], radius_mm: float) -> Part:
    axes = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1) - center
    part = part_of_mask(((axes * SPACING_MM) ** 2).sum(axis=-1) <= radius_mm**2)
    assert part is not None
    return part


def whole(parts: list[Part]) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    for part in parts:
        mask[part.box] |= part.mask
    return mask


TUMOUR, NODULE = ball((20, 20, 10), 9.0), ball((45, 40, 22), 4.0)
FOUND = [ball((21, 20, 10), 8.0), ball((50, 10, 5), 3.0)]


def test_overlap_is_of_all_lesions_and_size_of_the_largest() -> None:
    scores = scan_scores(FOUND, [TUMOUR, NODULE], HU, AFFINE)
    one, other = whole(FOUND), whole([TUMOUR, NODULE])
    assert scores["dice"] == pytest.approx(2 * (one & other).sum() / (one.sum() + other.sum()))
    distance = compute_hausdorff_distance(
        one[None, None], other[None, None], include_background=True, percentile=95, spacing=list(SPACING_MM)
    )
    assert scores["hd95_mm"] == pytest.approx(float(distance), abs=1e-4)
    assert scores["volume_bias_mm3"] == pytest.approx((int(one.sum()) - int(other.sum())) * VOXEL_MM3)
    found, wanted = (measure_lesion(part.mask, AFFINE).diameter_3d_mm for part in (FOUND[0], TUMOUR))
    assert (scores["diameter_mm"], scores["reference_diameter_mm"]) == (found, wanted)
    assert scores["diameter_error_mm"] == -scores["diameter_bias_mm"] == pytest.approx(wanted - found)
    assert (scores["lesions"], scores["found"], scores["false_parts"]) == (2, 0.5, 1)
    assert scores["t_exact"] == 1  # both of 10 to 20 mm: T1b


def test_a_size_on_the_other_side_of_a_limit_is_not_exact() -> None:
    smaller = ball((20, 20, 10), 3.5)
    assert scan_scores([smaller], [TUMOUR], HU, AFFINE)["t_exact"] == 0
    assert scan_scores([smaller], [TUMOUR], HU, AFFINE, edition="7")["t_exact"] == 1  # T1a up to 20 mm
    ground_glass = np.full(SHAPE, -650, np.int16)
    assert scan_scores([TUMOUR], [TUMOUR], ground_glass, AFFINE)["t_exact"] == 1
    # The solid part counts, not the whole.
    with_core = ground_glass.copy()
    with_core[NODULE.box][NODULE.mask] = 40
    assert scan_scores([TUMOUR], [NODULE], with_core, AFFINE)["t_exact"] == 0


def test_what_is_not_found_has_no_size() -> None:
    scores = scan_scores([], [TUMOUR], HU, AFFINE)
    assert (scores["dice"], scores["surface_dice"], scores["found"], scores["t_exact"]) == (0, 0, 0, 0)
    assert scores["volume_error_mm3"] == pytest.approx(TUMOUR.voxels * VOXEL_MM3)
    assert scores["diameter_mm"] == 0 and math.isnan(scores["hd95_mm"])


def test_a_healthy_scan_has_no_lesion_to_find() -> None:
    clean, wrong = scan_scores([], [], HU, AFFINE), scan_scores(FOUND, [], HU, AFFINE)
    assert math.isnan(clean["dice"]) and wrong["dice"] == 0
    assert clean["false_parts"] == 0 and wrong["false_parts"] == 2
    assert math.isnan(clean["t_exact"]) and math.isnan(wrong["found"])
