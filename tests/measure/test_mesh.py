"""Surfaces and volumes against IBSI's published values, exact solids and SimpleITK."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monai_staging.errors import UsageError
from monai_staging.measure.mesh import check_affine, check_mask, mesh_volume_mm3, surface, voxel_volume_mm3

MASKS = arrays(np.bool_, st.tuples(*[st.integers(1, 5)] * 3)).filter(np.any)
UNIT = np.eye(4)


def volume(mask: np.ndarray, affine: np.ndarray = UNIT) -> float:
    return mesh_volume_mm3(*surface(mask), affine)


def test_the_ibsi_phantom(ibsi_phantom: np.ndarray) -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    vertices, faces = surface(ibsi_phantom)
    # Published values and tolerances, consensus "very strong" for each: RNU0, YEKZ, C0JK.
    assert mesh_volume_mm3(vertices, faces, affine) == pytest.approx(556, abs=4)
    assert voxel_volume_mm3(ibsi_phantom, affine) == pytest.approx(592, abs=4)
    a, b, c = np.moveaxis(2 * vertices[faces], 1, 0)
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 == pytest.approx(388, abs=3)


def test_one_voxel_is_an_octahedron() -> None:
    vertices, faces = surface(np.ones((1, 1, 1)))
    assert len(vertices) == 6
    assert len(faces) == 8
    assert np.allclose(np.abs(vertices).sum(axis=1), 0.5)
    assert volume(np.ones((1, 1, 1)), np.diag([0.7, 0.7, 3, 1])) == pytest.approx(0.7 * 0.7 * 3 / 6)


@given(st.tuples(*[st.integers(1, 6)] * 3))
def test_boxes_lose_edges_and_corners(shape: tuple[int, int, int]) -> None:
    # Along an edge a prism of 1/8 is cut off; of a corner's eighth of a voxel, a tetrahedron of 1/48 is left.
    expected = np.prod(shape) - sum(n - 1 for n in shape) * 4 / 8 - 8 * (1 / 8 - 1 / 48)
    assert volume(np.ones(shape)) == pytest.approx(expected, rel=1e-6)


@given(MASKS)
def test_surfaces_are_closed_and_face_one_way(mask: np.ndarray) -> None:
    _, faces = surface(mask)
    edges = Counter(map(tuple, np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).tolist()))
    assert all(edges[(b, a)] == count for (a, b), count in edges.items())


@given(MASKS, st.sampled_from(list(itertools.permutations(range(3)))), st.tuples(*[st.sampled_from([1, -1])] * 3))
def test_volume_is_the_same_mirrored_and_turned(
    mask: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    turned = mask.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    assert volume(turned) == pytest.approx(volume(mask), rel=1e-6)


@given(MASKS, st.tuples(*[st.integers(0, 3)] * 6))
def test_the_border_of_the_array_is_no_border(mask: np.ndarray, pads: tuple[int, ...]) -> None:
    padded = np.pad(mask, (pads[:2], pads[2:4], pads[4:]))
    assert volume(padded) == pytest.approx(volume(mask), rel=1e-6)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (20, -35, 50)])
@pytest.mark.parametrize("semiaxes_mm", [(12, 12, 12), (16, 10, 7)])
@pytest.mark.parametrize("spacing_mm", [(0.7, 0.7, 0.7), (0.6, 0.8, 1.5)])
def test_ellipsoids_on_any_grid(ellipsoid, make_grid, spacing_mm, semiaxes_mm, degrees) -> None:
    affine = make_grid(spacing_mm, degrees, (-120, 80, -600))
    mask = ellipsoid(affine, semiaxes_mm, (0.2, 0.3, 0.1))
    exact = 4 / 3 * np.pi * np.prod(semiaxes_mm)
    assert volume(mask, affine) == pytest.approx(exact, rel=0.02)
    assert voxel_volume_mm3(mask, affine) == pytest.approx(exact, rel=0.02)
    # The mesh cuts corners, so it holds less than the voxels.
    assert volume(mask, affine) < voxel_volume_mm3(mask, affine)


@given(MASKS)
def test_voxels_are_counted_as_simpleitk_does(mask: np.ndarray) -> None:
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8).T)
    image.SetSpacing((0.7, 0.8, 2.5))
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.Execute(image)
    own = voxel_volume_mm3(mask, np.diag([-0.7, -0.8, 2.5, 1]))
    assert own == pytest.approx(shape.GetPhysicalSize(1))


@pytest.mark.parametrize("mask", [np.zeros((3, 3, 3)), np.ones((3, 3))])
def test_what_is_no_mask(mask: np.ndarray) -> None:
    with pytest.raises(UsageError, match="three dimensions and marks a voxel at least; found (2 dim|nothing marked)"):
        check_mask(mask)


@pytest.mark.parametrize(
    "affine",
    [
        np.eye(3),
        np.diag([1.0, 1, 0, 1]),
        np.diag([1.0, np.nan, 1, 1]),
        np.array([[1.0, 2, 0, 0], [0, 0, 1, 0], [2, 4, 0, 0], [0, 0, 0, 1]]),
    ],
)
def test_what_is_no_affine(affine: np.ndarray) -> None:
    with pytest.raises(UsageError, match="An affine"):
        check_affine(affine)


def test_small_voxels_are_voxels() -> None:
    check_affine(np.diag([1e-3, 1e-3, 1e-3, 1]))
