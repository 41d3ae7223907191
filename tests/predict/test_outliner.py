from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from monai_staging.cohort.lesions import Part
from monai_staging.cohort.volume import Volume
from monai_staging.errors import UsageError
from monai_staging.predict.outliner import LesionOutliner, same_lesion, without_repeats
from monai_staging.transforms.click import ClickedViews, Clicks
from monai_staging.transforms.lesion_parts import LesionParts

LUNGS = np.array([[-100.0, -100.0, -100.0], [100.0, 100.0, 100.0]])


class Dense(nn.Module):
    """Takes for a lesion whatever is dense: log-odds of the first window; nothing next to clicks outside."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = x
        return 20 * (x[:, :1] - 0.5) - 40 * x[:, 2:]


def ball(shape: tuple[int, int, int], center: tuple[float, float, float], radius: float) -> np.ndarray:
    grids = np.meshgrid(*map(np.arange, shape), indexing="ij")
    away = np.stack(grids, axis=-1) - center
    return np.linalg.norm(away, axis=-1) <= radius


@pytest.fixture
def volume() -> Volume:
    """Air with a ball of 10 mm radius and, 40 mm away, one of 6 mm; a voxel is 1 mm, index and RAS mm are the same."""
    array = np.full((100, 90, 80), -1000, dtype=np.int16)
    array[ball(array.shape, (30, 45, 40), 10)] = 40
    array[ball(array.shape, (70, 45, 40), 6)] = 40
    return Volume(array, np.eye(4))


@pytest.fixture
def outliner() -> LesionOutliner:
    return LesionOutliner(Dense(), ClickedViews((1.0, 1.0, 1.0), [[-480.0, 1040.0]]), LesionParts(), amp=False)


def box(center: tuple[float, float, float], half: float) -> list[float]:
    return [*(value - half for value in center), *(value + half for value in center)]


def test_the_lesion_in_the_box_whole(volume: Volume, outliner: LesionOutliner) -> None:
    # The first box holds a part of its lesion only; between both lesions lies nothing.
    boxes = np.array([box((25, 45, 40), 5), box((70, 45, 40), 8), box((50, 45, 40), 5)])
    large, small, none = outliner(volume, boxes, LUNGS)
    assert none is None
    for part, radius, center in ((large, 10, (30, 45, 40)), (small, 6, (70, 45, 40))):
        assert part is not None
        true = ball(volume.shape, center, radius)
        painted = np.zeros(volume.shape, dtype=bool)
        painted[part.box] = part.mask
        assert 2 * (painted & true).sum() / (painted.sum() + true.sum()) > 0.99


def test_a_large_box_is_seen_whole(outliner: LesionOutliner) -> None:
    array = np.full((160, 160, 160), -1000, dtype=np.int16)
    array[ball(array.shape, (80, 80, 80), 60)] = 40
    (part,) = outliner(Volume(array, np.eye(4)), np.array([box((80, 80, 80), 60)]), LUNGS)
    assert part is not None
    assert min(part.mask.shape) >= 119  # a tip of one voxel may be averaged away


def test_turned_scans_are_outlined_where_they_are(volume: Volume, outliner: LesionOutliner) -> None:
    affine = np.array([[-1.0, 0, 0, 99], [0, -1, 0, 89], [0, 0, 1, 0], [0, 0, 0, 1]])
    turned = Volume(np.asfortranarray(volume.array[::-1, ::-1]), affine)
    places = np.array([box((70, 45, 40), 8)])
    (straight,), (other,) = outliner(volume, places, LUNGS), outliner(turned, places, LUNGS)
    assert straight is not None and other is not None
    assert np.array_equal(straight.mask, other.mask[::-1, ::-1])


def test_a_box_is_clicked_in_its_middle_or_where_one_says(volume: Volume, outliner: LesionOutliner) -> None:
    # Index and RAS mm are the same, and so are voxels and mm.
    def clicked(channel: int) -> list[float]:
        (found,) = (outliner.network.seen[0, channel] == 1).nonzero().tolist()
        return found

    places = np.array([box((31.5, 46.5, 40.5), 4)])
    outliner(volume, places, LUNGS)
    origin = np.array([31.5, 46.5, 40.5]) - (np.array([64, 64, 40]) - 1) / 2
    seen = outliner.network.seen[0]
    assert seen.shape == (3, 64, 64, 40) and not seen[2].any()
    peak = np.array(np.unravel_index(int(seen[1].argmax()), seen[1].shape))
    assert np.abs(origin + peak - [31.5, 46.5, 40.5]).max() <= 0.5
    outliner(volume, places, LUNGS, [Clicks.of([(30.0, 44.0, 39.0)], [(36.0, 40.0, 42.0)])])
    np.testing.assert_allclose(origin + clicked(1), (30, 44, 39))
    np.testing.assert_allclose(origin + clicked(2), (36, 40, 42))


def test_clicks_choose_the_lesion(volume: Volume, outliner: LesionOutliner) -> None:
    # The box holds most of the large lesion, and the click is at the small one.
    places, small = np.array([box((45, 45, 40), 30)]), Clicks(((70.0, 45.0, 40.0),))
    (by_box,), (by_click,) = outliner(volume, places, LUNGS), outliner(volume, places, LUNGS, [small])
    assert by_box is not None and by_box.voxels == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.05)
    assert by_click is not None and by_click.voxels == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.05)
    alone = outliner.clicked(volume, small, LUNGS)
    assert alone is not None and alone.corner == by_click.corner and np.array_equal(alone.mask, by_click.mask)
    less = outliner.clicked(volume, Clicks(small.inside, ((75.0, 45.0, 40.0),)), LUNGS)
    assert less is not None and 0 < less.voxels < alone.voxels
    assert outliner.clicked(volume, Clicks(((50.0, 45.0, 10.0),)), LUNGS) is None
    with pytest.raises(UsageError, match="a click inside of the lesion is needed"):
        outliner.clicked(volume, Clicks((), small.inside), LUNGS)
    with pytest.raises(UsageError, match="clicks for each of 1 boxes are needed; found 2"):
        outliner(volume, places, LUNGS, [small, small])


def test_repeats() -> None:
    whole = Part((0, 0, 0), np.ones((10, 10, 10), dtype=bool))
    piece = Part((5, 5, 5), np.ones((4, 4, 4), dtype=bool))
    beside = Part((9, 9, 9), np.ones((4, 4, 4), dtype=bool))
    assert same_lesion(whole, piece) and same_lesion(piece, whole)
    assert not same_lesion(whole, beside) and not same_lesion(whole, Part((20, 0, 0), whole.mask))
    assert without_repeats([piece, None, whole, beside]) == ([0, 3], {2: 0})


def test_the_network_is_not_trained(volume: Volume, outliner: LesionOutliner) -> None:
    before = torch.is_grad_enabled()
    outliner(volume, np.zeros((0, 6)), LUNGS)
    assert torch.is_grad_enabled() == before
