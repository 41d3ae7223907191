"""The bound of the lungs: on drawn chests, flipped and diseased ones, and on a real CT."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_staging.cohort.dicom import load_series
from monai_staging.errors import DataError
from monai_staging.transforms.grid import Grid
from monai_staging.transforms.lung_mask import LungBound, lung_bound

SHAPE = (100, 80, 60)
SPACING_MM = np.array([3.6, 3.6, 5.0])
AFFINE = np.diag([*SPACING_MM, 1.0])
AFFINE[:3, 3] = -0.5 * SPACING_MM * (np.array(SHAPE) - 1)


def ball(center_mm: tuple[float, float, float], radii_mm: tuple[float, float, float]) -> np.ndarray:
    axes = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1) * SPACING_MM + AFFINE[:3, 3]
    return (((axes - center_mm) / radii_mm) ** 2).sum(axis=-1) <= 1


RIGHT = ball((70.0, 0.0, 0.0), (50.0, 70.0, 110.0))
LEFT = ball((-70.0, 0.0, 0.0), (50.0, 70.0, 110.0))


def chest() -> np.ndarray:
    """An elliptic body on a table, with two lungs and gas in the stomach."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[ball((0.0, 0.0, 0.0), (160.0, 110.0, 1e6))] = 40
    hu[20:-20, 3:5] = 300
    hu[RIGHT | LEFT] = -850
    hu[ball((-60.0, 30.0, -135.0), (20.0, 20.0, 12.0))] = -950
    return hu


def inside(found: LungBound, region: np.ndarray, affine: np.ndarray = AFFINE) -> float:
    """The part of a region that lies in the bound."""
    points = np.argwhere(region) @ affine[:3, :3].T + affine[:3, 3]
    index = np.rint((points - found.grid.origin_mm) / found.grid.spacing_mm).astype(int)
    index = np.clip(index, 0, np.array(found.bound.shape) - 1)
    return float(found.bound[tuple(index.T)].mean())


def test_the_lungs_are_the_air_within_the_body() -> None:
    found = lung_bound(chest(), AFFINE)
    voxel_ml = float(np.prod(found.grid.spacing_mm)) / 1000
    wanted_ml = float((RIGHT | LEFT).sum() * np.prod(SPACING_MM)) / 1000
    assert found.lungs.sum() * voxel_ml == pytest.approx(wanted_ml, rel=0.06)  # no room, no table, no stomach
    assert inside(found, RIGHT | LEFT) == 1
    assert found.bound.mean() < 0.6


@pytest.mark.parametrize(
    "disease",
    [
        pytest.param(ball((105.0, 10.0, 20.0), (34.0, 34.0, 34.0)), id="a tumour that has grown into the chest wall"),
        pytest.param(ball((10.0, 0.0, 0.0), (45.0, 45.0, 45.0)), id="a tumour that has grown into the mediastinum"),
        pytest.param(LEFT, id="a lung without any air"),
        pytest.param(RIGHT & (np.arange(SHAPE[2]) < 26), id="a lower lobe without any air"),
        pytest.param(RIGHT & (np.arange(SHAPE[2]) > 42), id="a tumour of the apex"),
    ],
)
def test_what_has_no_air_is_within_the_bound(disease: np.ndarray) -> None:
    hu = chest()
    hu[disease] = 40
    within = disease & ball((0.0, 0.0, 0.0), (160.0, 110.0, 1e6))
    assert inside(lung_bound(hu, AFFINE), within) == 1


def test_the_bound_is_the_same_whatever_the_orientation() -> None:
    hu = chest()
    hu[ball((90.0, 10.0, 20.0), (40.0, 40.0, 40.0))] = 40
    expected = lung_bound(hu, AFFINE)
    turned, affine = hu[::-1, :, ::-1].transpose(2, 0, 1), np.eye(4)
    affine[:3, :3] = np.array([[0, -SPACING_MM[0], 0], [0, 0, SPACING_MM[1]], [-SPACING_MM[2], 0, 0]])
    affine[:3, 3] = [-AFFINE[0, 3], AFFINE[1, 3], -AFFINE[2, 3]]
    found = lung_bound(turned, affine)
    np.testing.assert_array_equal(found.bound, expected.bound)
    np.testing.assert_allclose(found.grid.origin_mm, expected.grid.origin_mm)


def test_the_bound_on_another_grid() -> None:
    found = lung_bound(chest(), AFFINE)
    x, y, z = found.grid.origin_mm
    part = Grid((10, 12, 14), found.grid.spacing_mm, (x + 40.0, y + 80.0, z + 20.0))
    np.testing.assert_array_equal(found.on(part).numpy(), found.bound[10:20, 20:32, 5:19])
    assert not found.on(Grid((4, 4, 4), (4.0, 4.0, 4.0), (x - 500.0, y, z))).any()


def test_without_lungs_there_is_no_bound() -> None:
    hu = chest()
    hu[RIGHT | LEFT] = 40
    with pytest.raises(DataError, match=r"300 ml of air .* largest found has \d+ ml"):
        lung_bound(hu, AFFINE)


def test_the_nodule_of_a_real_ct_is_within_the_bound(lidc_series: Path, shared_data: Path) -> None:
    volume = load_series(lidc_series)
    found = lung_bound(volume.array, volume.affine)
    litres = found.lungs.sum() * np.prod(found.grid.spacing_mm) / 1e6
    assert 2.0 < litres < 7.0
    center = json.loads((shared_data / "lidc_idri_0314" / "nodule.json").read_text())["luna16"]["world_lps_mm"]
    index = np.rint((np.array(center) * [-1, -1, 1] - found.grid.origin_mm) / found.grid.spacing_mm).astype(int)
    assert found.bound[tuple(index)]
    heights = np.flatnonzero(found.lungs.any(axis=(0, 1)))
    assert np.ptp(heights) * found.grid.spacing_mm[2] > 180  # from apex to base
    assert found.bound.mean() < 0.5
