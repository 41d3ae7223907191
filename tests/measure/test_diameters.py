"""Diameters against every pair of points, exact figures, IBSI and SimpleITK."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation
from skimage.measure import find_contours

from monai_staging.errors import UsageError
from monai_staging.measure.diameters import TIE_MM, axial_axis, axial_diameters, longest_diameter_mm
from monai_staging.measure.mesh import surface

MASKS = arrays(np.bool_, st.tuples(*[st.integers(1, 6)] * 3)).filter(np.any)
SPACINGS = st.tuples(*[st.sampled_from([0.5, 0.7, 0.83, 1.0, 2.5])] * 3)
ANGLES = st.tuples(*[st.floats(-30, 30)] * 3)


def affine_of(spacing: tuple[float, ...], degrees: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing
    affine[:3, 3] = 110, -60, -520
    return affine


def longest(mask: np.ndarray, affine: np.ndarray) -> float:
    return longest_diameter_mm(surface(mask)[0], affine)


def outline_points(mask: np.ndarray, axes: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    """Half a voxel from every marked centre towards every neighbour that is not marked, along some of the axes."""
    padded = np.pad(mask != 0, 1)
    points = []
    for index in np.argwhere(padded):
        for axis, sign in itertools.product(axes, (1, -1)):
            step = sign * np.eye(3, dtype=int)[axis]
            if not padded[tuple(index + step)]:
                points.append(index - 1 + step / 2)
    return np.array(points)


def test_the_ibsi_phantom(ibsi_phantom: np.ndarray) -> None:
    # L0JK: 13.1 mm, tolerance 0.1, consensus "strong".
    assert longest(ibsi_phantom, np.diag([2.0, 2, 2, 1])) == pytest.approx(13.1, abs=0.1)


@given(MASKS, SPACINGS, ANGLES)
def test_longest_of_every_pair(mask: np.ndarray, spacing: tuple[float, ...], degrees: tuple[float, ...]) -> None:
    affine = affine_of(spacing, degrees)
    expected = pdist(outline_points(mask) @ affine[:3, :3].T).max()
    assert longest(mask, affine) == pytest.approx(expected, rel=1e-9)


@given(MASKS, SPACINGS, ANGLES)
def test_longest_on_a_slice_of_every_pair(
    mask: np.ndarray, spacing: tuple[float, ...], degrees: tuple[float, ...]
) -> None:
    affine = affine_of(spacing, degrees)
    found = axial_diameters(mask, affine)
    in_plane = tuple(axis for axis in range(3) if axis != found.axis)
    points = outline_points(mask, in_plane)
    slices = points[:, found.axis]
    of_slice = {k: pdist(points[slices == k] @ affine[:3, :3].T).max() for k in np.unique(slices)}
    assert found.longest_mm == pytest.approx(max(of_slice.values()), rel=1e-9)
    assert of_slice[found.slice_index] >= found.longest_mm - TIE_MM
    assert 0 < found.perpendicular_mm <= found.longest_mm + 1e-9
    assert found.longest_mm <= longest(mask, affine) + 1e-9


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(3, 9))
@example(1, 3)
@example(3, 32)
def test_perpendicular_of_many_lines(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    plane = rng.random((size, size)) < rng.choice([0.3, 0.7, 0.95])
    plane[0, 0] = plane[-1, 1] = True
    spacing = np.array([0.7, 0.9])
    found = axial_diameters(plane[..., None], np.diag([0.7, 0.9, 2, 1]))
    contours = [c * spacing for c in find_contours(np.pad(plane, 1).astype(float), 0.5, fully_connected="high")]
    points = np.concatenate(contours)
    apart = np.linalg.norm(points[:, None] - points, axis=-1)
    best = 0.0
    for a, b in np.argwhere(apart > apart.max() - TIE_MM):
        along = (points[b] - points[a]) / apart[a, b]
        across = np.array([-along[1], along[0]])
        corners = points @ along
        stations = np.concatenate([np.linspace(corners.min(), corners.max(), 2001), corners])
        high, low = np.full(len(stations), -np.inf), np.full(len(stations), np.inf)
        for contour in contours:
            for start, end in itertools.pairwise(contour):
                u, v = np.array([start, end]) @ along, np.array([start, end]) @ across
                own = (stations >= u.min() - 1e-9) & (stations <= u.max() + 1e-9)
                # An edge that runs across is met as a whole, by the line along it.
                levels = [v[0], v[1]]
                if abs(u[0] - u[1]) > 1e-9:
                    levels = [v[0] + (stations[own] - u[0]) / (u[1] - u[0]) * (v[1] - v[0])]
                for level in levels:
                    high[own], low[own] = np.maximum(high[own], level), np.minimum(low[own], level)
        best = max(best, np.max(high - low))
    # Lines drawn at intervals miss the longest by a little, and never find a longer one.
    assert best <= found.perpendicular_mm + 1e-6
    assert found.perpendicular_mm <= best + 0.05


@pytest.mark.parametrize("degrees", [0, 27])
@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5, 2.0), (0.4, 0.6, 1.0)])
def test_an_ellipse_has_its_axes(ellipsoid, make_grid, spacing_mm, degrees) -> None:
    affine = make_grid(spacing_mm, (0, 0, degrees))
    found = axial_diameters(ellipsoid(affine, (20, 12, 9)), affine)
    # A row of voxels whose outermost centres are on the ellipse is a voxel longer than it.
    voxel_mm = max(spacing_mm[:2]) + 1e-9
    assert found.longest_mm == pytest.approx(40, abs=voxel_mm)
    assert found.perpendicular_mm == pytest.approx(24, abs=voxel_mm)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (15, -25, 60)])
@pytest.mark.parametrize("spacing_mm", [(0.5, 0.5, 0.5), (0.6, 0.8, 1.2)])
def test_ellipsoids_on_any_grid(ellipsoid, make_grid, spacing_mm, degrees) -> None:
    affine = make_grid(spacing_mm, degrees, (300, -200, -900))
    assert longest(ellipsoid(affine, (15, 9, 7)), affine) == pytest.approx(30, abs=max(spacing_mm))


def test_rows_slabs_and_one_voxel() -> None:
    affine = np.diag([0.7, 0.8, 2.5, 1])
    row = axial_diameters(np.ones((9, 1, 1)), affine)
    assert (row.longest_mm, row.perpendicular_mm) == pytest.approx((9 * 0.7, 0.8))
    assert longest(np.ones((9, 1, 1)), affine) == pytest.approx(9 * 0.7)
    one = axial_diameters(np.ones((1, 1, 1)), affine)
    assert (one.longest_mm, one.perpendicular_mm) == pytest.approx((0.8, 0.7))
    assert longest(np.ones((1, 1, 1)), affine) == pytest.approx(2.5)
    # A slab's outline has cut corners: half-way points of opposite sides are furthest apart.
    slab = axial_diameters(np.ones((10, 4, 1)), np.eye(4))
    assert slab.longest_mm == pytest.approx(np.hypot(10, 3))


def test_what_is_not_marked_in_between_does_not_matter() -> None:
    ring = np.ones((9, 5, 1), bool)
    ring[1:-1, 1:-1] = False
    for affine in (np.eye(4), np.diag([0.7, 0.9, 1, 1])):
        hollow, full = axial_diameters(ring, affine), axial_diameters(np.ones((9, 5, 1)), affine)
        assert hollow == full


def test_of_equal_diameters_the_one_with_the_longest_perpendicular() -> None:
    mask = np.zeros((9, 7, 3), bool)
    mask[:, 3, :] = True
    mask[4, 2:5, 1] = True
    mask[4, :, 2] = True
    found = axial_diameters(mask, np.eye(4))
    assert (found.longest_mm, found.perpendicular_mm, found.slice_index) == pytest.approx((9, 7, 2))
    assert axial_diameters(mask[:, :, ::-1], np.eye(4)).slice_index == 0


@given(MASKS, SPACINGS)
def test_simpleitk_measures_between_centres(mask: np.ndarray, spacing: tuple[float, ...]) -> None:
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8).T)
    image.SetSpacing(spacing)
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.ComputeFeretDiameterOn()
    shape.Execute(image)
    feret = shape.GetFeretDiameter(1)
    own = longest(mask, np.diag([*spacing, 1]))
    # From centres to the outline is half a voxel at either end, at most the longest edge in all.
    assert feret - 1e-6 <= own <= feret + max(spacing) + 1e-6


@given(MASKS, SPACINGS, st.tuples(*[st.sampled_from([1, -1])] * 3), st.permutations([0, 1]))
def test_mirrored_moved_and_with_other_in_plane_axes(
    mask: np.ndarray, spacing: tuple[float, ...], signs: tuple[int, ...], order: list[int]
) -> None:
    affine = affine_of(spacing)
    before = axial_diameters(mask, affine), longest(mask, affine)
    axes = [*order, 2]
    turned = mask.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    moved = np.pad(turned, ((1, 0), (0, 2), (3, 1)))
    to = affine.copy()
    to[:3, :3] = affine[:3, :3][:, axes] * signs
    after = axial_diameters(moved, to), longest(moved, to)
    assert after[1] == pytest.approx(before[1], rel=1e-9)
    assert after[0].longest_mm == pytest.approx(before[0].longest_mm, rel=1e-9)
    assert after[0].perpendicular_mm == pytest.approx(before[0].perpendicular_mm, abs=TIE_MM)


@given(MASKS, st.permutations([0, 1, 2]), SPACINGS)
def test_axial_is_the_patients_not_the_files(mask: np.ndarray, order: list[int], spacing: tuple[float, ...]) -> None:
    affine = affine_of(spacing, (8, -5, 20))
    stored = affine[:, [*order, 3]]
    before, after = axial_diameters(mask, affine), axial_diameters(mask.transpose(order), stored)
    assert (before.axis, after.axis) == (2, order.index(2))
    assert after.longest_mm == pytest.approx(before.longest_mm, rel=1e-9)
    assert after.perpendicular_mm == pytest.approx(before.perpendicular_mm, abs=TIE_MM)


@pytest.mark.parametrize(
    ("degrees", "axis"), [((0, 0, 0), 2), ((44, 0, 0), 2), ((46, 0, 0), 1), ((0, 80, 0), 0), ((180, 0, 30), 2)]
)
def test_axial_slices_are_those_nearest_to_it(degrees: tuple[float, ...], axis: int) -> None:
    assert axial_axis(affine_of((0.7, 0.7, 5), degrees)) == axis


def test_sheared_slices_keep_their_lengths() -> None:
    # A gantry tilt shifts slices against each other; on the slice nothing changes.
    affine = np.diag([0.7, 0.7, 3, 1])
    affine[1, 2] = 1.2
    disc = (np.indices((31, 31, 1)) - np.array([15, 15, 0]).reshape(3, 1, 1, 1)) ** 2
    found = axial_diameters(disc.sum(axis=0) <= 14**2, affine)
    assert (found.longest_mm, found.axis) == (pytest.approx(0.7 * 29), 2)


def test_large_lesions_are_measured_in_blocks(ellipsoid, make_grid) -> None:
    affine = make_grid((0.7, 0.7, 0.7))
    mask = ellipsoid(affine, (45, 45, 45))
    assert longest(mask, affine) == pytest.approx(90, abs=0.7)
    assert axial_diameters(mask, affine).perpendicular_mm == pytest.approx(90, abs=0.7)


def test_what_is_no_mask() -> None:
    with pytest.raises(UsageError, match="marks a voxel"):
        axial_diameters(np.zeros((3, 3, 3)), np.eye(4))
