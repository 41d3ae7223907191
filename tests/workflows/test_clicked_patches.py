"""Patches around lesions that are clicked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_staging.errors import DataError, UsageError
from monai_staging.transforms.click import ClickedViews, Clicks
from monai_staging.transforms.rand_views import RandViews
from monai_staging.workflows.chest_data import ChestCase
from monai_staging.workflows.chest_patches import NEAR_MM
from monai_staging.workflows.clicked_patches import ClickedPatches
from monai_staging.workflows.segmentation import SegmentationPrepareBatch

AFFINE = np.array([[-4.5, 0, 0, 160.0], [0, -4.5, 0, 130.0], [0, 0, 7.0, -140.0], [0, 0, 0, 1.0]])
VIEWS = ClickedViews((3.0, 3.0, 5.0), ["lung"])
SIZE = (24, 24, 16)
BOXES = {1: ((14, 20, 15), (24, 30, 22)), 2: ((25, 20, 15), (28, 23, 17))}


@pytest.fixture(scope="module")
def case(chest_with: Callable[..., ChestCase], tmp_path_factory: pytest.TempPathFactory) -> ChestCase:
    """A chest with a large lesion and, 4.5 mm beside it, a small one."""
    return chest_with(tmp_path_factory.mktemp("chest"), BOXES, AFFINE)


def voxels(points: np.ndarray) -> np.ndarray:
    return np.linalg.solve(AFFINE[:3, :3], (points - AFFINE[:3, 3]).T).T


def away_mm(points: np.ndarray, label: int) -> np.ndarray:
    """Distance of points (N, 3) in RAS mm from the centres of a lesion's voxels."""
    low, high = (np.array(corner) for corner in BOXES[label])
    index = voxels(np.asarray(points))
    gap = np.maximum(np.maximum(low - index, index - (high - 1)), 0)
    return np.linalg.norm(gap * [4.5, 4.5, 7.0], axis=1)


def test_the_places_of_clicks(case: ChestCase, tmp_path: Path) -> None:
    for _ in range(2):  # looked for, and from the cache
        (places,) = ClickedPatches([case], VIEWS, SIZE, cache=tmp_path).places
        for label, middle, near in zip(case.labels, places.middles, places.nearby, strict=True):
            low, high = (np.array(corner) for corner in BOXES[label])
            depth = np.minimum(voxels(middle[None])[0] - low + 1, high - voxels(middle[None])[0]) * [4.5, 4.5, 7.0]
            assert min(depth) == pytest.approx(min((high - low + 1) // 2 * [4.5, 4.5, 7.0]), abs=1e-3)
            distance = away_mm(near, label)
            assert len(near) > 50 and (distance > 4).all() and (distance <= NEAR_MM + 1e-3).all()


def test_a_patch_shows_its_clicks_and_one_lesion(case: ChestCase, tmp_path: Path) -> None:
    patches = ClickedPatches([case], VIEWS, SIZE, count=60, outside_fraction=0.5, nothing_fraction=0.0, cache=tmp_path)
    torch.manual_seed(1)
    items = [patches[index] for index in range(len(patches))]
    image = torch.stack([item["image"] for item in items]).float() / 255
    share = torch.stack([item["share"] for item in items])[:, 0].float() / 255
    assert image.shape == (60, 3, *SIZE) and items[0]["image"].dtype == torch.uint8
    # The nearest voxel to a click may be half a voxel's diagonal off.
    lowest = np.exp(-0.5 * (1.5**2 * 2 + 2.5**2) / 3**2) - 0.01
    assert (image[:, 1].flatten(1).amax(dim=1) >= lowest).all()
    outside = image[:, 2].flatten(1).amax(dim=1)
    assert 0.25 < (outside > 0).float().mean() < 0.75
    # Whichever lesion is meant, the other is no part of it.
    sizes = share.sum(dim=(1, 2, 3)) * 45 / (4.5 * 4.5 * 7.0)
    large, small = 10 * 10 * 7, 3 * 3 * 2
    is_small = sizes < 1.6 * small
    assert 0.3 < is_small.float().mean() < 0.7 and (sizes < 1.2 * large).all()
    for own, where in zip(share, image[:, 1], strict=True):
        assert own[where == where.max()].max() > 0.2
    for own, where in zip(share, image[:, 2], strict=True):
        if (where > 0.8).any():
            assert own[where == where.max()].max() < 0.6
    torch.manual_seed(1)
    assert torch.equal(patches[0]["image"], items[0]["image"])


def test_clicks_are_of_the_lesion_and_beside_it(case: ChestCase, tmp_path: Path) -> None:
    patches = ClickedPatches([case], VIEWS, SIZE, outside_fraction=1.0, cache=tmp_path)
    middle = patches.places[0].middles[0]
    drawn = [patches.clicks(0, 0, middle, middle) for _ in range(80)]
    assert {len(clicks.inside) for clicks in drawn} == {1, 2, 3} and {len(clicks.outside) for clicks in drawn} == {1, 2}
    first = np.array([clicks.inside[0] for clicks in drawn]) - middle
    # A tenth of the distance from the first voxel to the last one, and 1 mm more.
    np.testing.assert_allclose(first.std(axis=0), np.array([9, 9, 6]) * [4.5, 4.5, 7.0] / 10 + 1, rtol=0.35)
    assert away_mm(np.concatenate([clicks.inside[1:] for clicks in drawn if clicks.inside[1:]]), 1).max() < 1e-3
    assert away_mm(np.concatenate([clicks.outside for clicks in drawn]), 1).min() > 4
    # Where the middle lies outside of the patch, a click is at what the patch was drawn around.
    anchor = patches.places[0].lesions[0][0]
    far = patches.clicks(0, 0, anchor, middle + np.array([60.0, 0, 0]))
    assert far.inside[0] == tuple(anchor.tolist())


def test_a_click_at_nothing_has_nothing_to_outline(case: ChestCase, tmp_path: Path) -> None:
    patches = ClickedPatches([case], VIEWS, SIZE, count=200, nothing_fraction=0.6, cache=tmp_path)
    torch.manual_seed(3)
    items = [patches[index] for index in range(len(patches))]
    nothing = [item for item in items if not item["share"].any()]
    # The nearest voxel to a click may be half a voxel's diagonal off.
    lowest = 255 * (np.exp(-0.5 * (1.5**2 * 2 + 2.5**2) / 3**2) - 0.01)
    # Not where a lesion is near, of which a small chest has much.
    assert 0.2 < len(nothing) / len(items) < 0.62
    for item in nothing:
        assert item["image"][1].max() >= lowest and not item["image"][2].any()
    places = patches.places[0]
    item = patches.read_nothing(0, places.elsewhere[:1], [0.5, 0.5, 0.5])
    where = np.argwhere(item["image"][1].numpy() == item["image"][1].max().item()).mean(axis=0)
    # The patch is around the click, to a voxel.
    np.testing.assert_allclose(where, (np.array(SIZE) - 1) / 2, atol=1)


def test_augmentation_moves_clicks_and_does_not_recolour_them(case: ChestCase, tmp_path: Path) -> None:
    patches = ClickedPatches([case], VIEWS, SIZE, cache=tmp_path)
    middle = patches.places[0].middles[0]
    clicks = Clicks.of((middle + [9.0, 6.0, 10.0])[None], (middle - [15.0, 0.0, 10.0])[None])
    item = patches.read_clicked(0, 0, middle, clicks)
    batch = {name: item[name][None].repeat(24, 1, 1, 1, 1) for name in ("image", "share")}
    augment = RandViews(image_channels=VIEWS.colours, rotate=False, shift_pixels=0.0, scale=0.0)
    torch.manual_seed(0)
    image, share, *_ = SegmentationPrepareBatch(augment)(batch)
    plain, own = item["image"].float() / 255, item["share"].float() / 255
    seen = set()
    for one, outline in zip(image, share, strict=True):
        flips = [
            axes
            for axes in ([], [1], [2], [3], [1, 2], [1, 3], [2, 3], [1, 2, 3])
            if torch.allclose(one[-2:], plain[-2:].flip(axes), atol=1e-4)
        ]
        assert len(flips) == 1
        torch.testing.assert_close(outline, own.flip(flips[0]), atol=1e-4, rtol=0)
        assert (one[:1] - plain[:1].flip(flips[0])).abs().max() > 0.01
        seen.add(tuple(flips[0]))
    assert len(seen) > 4


def test_what_cannot_be_clicked_is_refused(case: ChestCase, tmp_path: Path) -> None:
    empty = replace(case, labels=())
    with pytest.raises(DataError, match="a scan with a lesion is needed; found none in 1"):
        ClickedPatches([empty], VIEWS, cache=tmp_path)
    with pytest.raises(UsageError, match="outside_fraction of 0 to 1 and .* are needed; found 2 and 0.2"):
        ClickedPatches([case], VIEWS, outside_fraction=2, cache=tmp_path)
    with pytest.raises(UsageError, match="found 0.5 and 1"):
        ClickedPatches([case], VIEWS, nothing_fraction=1, cache=tmp_path)
