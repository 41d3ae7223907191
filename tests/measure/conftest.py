"""Shapes of known size on any grid, and the digital phantom of the Image Biomarker Standardisation Initiative."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

Ellipsoid = Callable[..., np.ndarray]


def grid(spacing_mm: Sequence[float], degrees: Sequence[float] = (0, 0, 0), origin_mm: Sequence[float] = (0, 0, 0)):
    """A grid's affine: spacing along its axes, turned by angles about x, y and z."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing_mm
    affine[:3, 3] = origin_mm
    return affine


@pytest.fixture(scope="session")
def make_grid():
    return grid


@pytest.fixture(scope="session")
def ellipsoid() -> Ellipsoid:
    """Makes the mask of an ellipsoid with semi-axes along world x, y, z in the middle of a grid of that affine."""

    def make(affine: np.ndarray, semiaxes_mm: Sequence[float], shift: Sequence[float] = (0, 0, 0)) -> np.ndarray:
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        shape = (2 * np.ceil(max(semiaxes_mm) / spacing) + 5).astype(int)
        middle = (shape - 1) / 2 + shift
        world = (np.moveaxis(np.indices(shape), 0, -1) - middle) @ affine[:3, :3].T
        return ((world / semiaxes_mm) ** 2).sum(axis=-1) <= 1

    return make


@pytest.fixture(scope="session")
def ibsi_phantom() -> np.ndarray:
    """The mask of the IBSI digital phantom: 5 x 4 x 4 voxels (x, y, z) of 2 mm, 74 of them marked.

    Rebuilt from the figure of the reference manual (arXiv 1612.07003, "Digital phantom"; the data set,
    github.com/theibsi/data_sets, is CC BY 4.0).
    """
    mask = np.ones((5, 4, 4), np.uint8)
    mask[0, 1, 1] = mask[2, 2, 1] = 0
    mask[3:, 2:, 3] = 0
    return mask
