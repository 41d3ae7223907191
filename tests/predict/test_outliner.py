from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from monai_staging.cohort.lesions import Part
from monai_staging.cohort.volume import Volume
from monai_staging.predict.outliner import LesionOutliner, same_lesion, without_repeats
from monai_staging.transforms.chest_view import ChestViews
from monai_staging.transforms.lesion_parts import LesionParts

LUNGS = np.array([[-100.0, -100.0, -100.0], [100.0, 100.0, 100.0]])


class Dense(nn.Module):
    """Takes for a lesion whatever is dense: log-odds of the first window."""

    def forward(self, x: Tensor) -> Tensor:
        return 20 * (x[:, :1] - 0.5)


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
    return LesionOutliner(Dense(), ChestViews((1.0, 1.0, 1.0), [[-480.0, 1040.0]]), LesionParts(), amp=False)


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
