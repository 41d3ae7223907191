from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.errors import UsageError
from monai_staging.transforms.chest_view import ChestViews
from monai_staging.transforms.click import ClickedViews, Clicks, click_map
from monai_staging.transforms.grid import Grid

GRID = Grid((9, 8, 7), (1.5, 1.5, 2.5), (-12.0, 30.0, 100.0))
LUNGS = np.array([[-100.0, -100.0, -100.0], [100.0, 100.0, 100.0]])
MM = st.floats(-20, 20)


def formula(grid: Grid, points: list[tuple[float, float, float]], sigma: float) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, grid.size), indexing="ij"), axis=-1)
    world = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    away = np.linalg.norm(world[..., None, :] - np.array(points), axis=-1)
    return np.exp(-(away**2) / (2 * sigma**2)).max(axis=-1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(MM, MM, MM), min_size=1, max_size=4), st.floats(0.5, 8))
def test_a_map_is_the_largest_of_the_gaussians(offsets: list[tuple[float, float, float]], sigma: float) -> None:
    points = [tuple(np.add(offset, (-6.0, 35.0, 107.0)).tolist()) for offset in offsets]
    found = click_map(GRID, points, sigma)
    assert found.shape == GRID.size and found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), formula(GRID, points, sigma), atol=1e-5)


def test_a_map_is_one_at_the_click_and_nothing_without_any() -> None:
    at = (GRID.affine @ [4, 3, 2, 1])[:3]
    found = click_map(GRID, [at, at + [1.5, 0, 0]])
    assert found[4, 3, 2] == found[5, 3, 2] == 1 == found.max()
    assert found[6, 3, 2] == pytest.approx(np.exp(-0.5 * (1.5 / 3) ** 2))
    assert not click_map(GRID, []).any() and not click_map(GRID, [(1000.0, 0.0, 0.0)]).any()


def test_views_end_with_the_clicks() -> None:
    volume, affine = np.full((30, 30, 30), 40, np.int16), np.diag([1.5, 1.5, 2.5, 1.0])
    grid = Grid((8, 8, 8), (1.5, 1.5, 2.5), (6.0, 6.0, 10.0))
    inside, outside = [(10.0, 10.0, 20.0)], [(14.0, 8.0, 22.0), (6.0, 6.0, 10.0)]
    for place in (False, True):
        views, plain = ClickedViews(place=place, sigma_mm=2.0), ChestViews(place=place)
        seen = views.look(volume, affine, grid, LUNGS, Clicks.of(inside, outside))
        assert len(seen) == views.channels == plain.channels + 2 and views.colours == plain.colours
        torch.testing.assert_close(seen[:-2], plain.look(volume, affine, grid, LUNGS))
        torch.testing.assert_close(seen[-2], click_map(grid, inside, 2.0))
        torch.testing.assert_close(seen[-1], click_map(grid, outside, 2.0))
        assert not views.look(volume, affine, grid, LUNGS)[-2:].any()


def test_what_is_no_click_is_refused() -> None:
    for points in ([1.0, 2.0, 3.0], [(1.0, 2.0)], [(1.0, 2.0, float("nan"))]):
        with pytest.raises(UsageError, match="points of three finite numbers"):
            Clicks.of(points)
    with pytest.raises(UsageError, match="above 0 mm is needed; found 0"):
        click_map(GRID, [], 0.0)
    with pytest.raises(UsageError, match="above 0 mm is needed; found -1"):
        ClickedViews(sigma_mm=-1)
