"""The scanner's geometry with a network that finds what is bright, and a network that has learned to."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.cohort.volume import Volume
from monai_staging.detection import Detector
from monai_staging.detection.patch_boxes import boxes_to_grid
from monai_staging.detection.retinanet import RetinaNetScanner
from monai_staging.errors import DataError, UsageError
from monai_staging.networks.retinanet import AnchorDetector, build_detector, build_retinanet
from monai_staging.transforms.grid import Grid


class Bright(AnchorDetector):
    """In place of a network: one box around all that is above the middle of the window."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.size_divisible = (16,) * 3
        self.target_box_key, self.pred_score_key = "boxes", "labels_scores"
        self.seen: tuple[int, ...] = ()

    def set_sliding_window_inferer(self, *args, **kwargs) -> None:
        pass

    def set_box_selector_parameters(self, *args, **kwargs) -> None:
        pass

    def forward(self, images, targets=None, use_inferer=False):
        self.seen = tuple(images.shape[2:])
        places = torch.nonzero(images[0, 0] > 0.5)
        if not len(places):
            return [{"boxes": torch.zeros(0, 6), "labels_scores": torch.zeros(0)}]
        box = torch.cat([places.amin(dim=0), places.amax(dim=0) + 1]).float()
        return [{"boxes": box[None], "labels_scores": torch.tensor([0.5])}]


def turned(order: tuple[int, ...], signs: tuple[int, ...], spacing: tuple[float, ...]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign, step) in enumerate(zip(order, signs, spacing, strict=True)):
        affine[world, axis] = sign * step
    return affine


@settings(max_examples=25)
@given(
    st.sampled_from(list(permutations(range(3)))),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.tuples(*[st.floats(0.5, 3.0)] * 3),
    st.tuples(*[st.floats(-300, 300)] * 3),
    st.integers(0, 1000),
)
def test_boxes_are_where_the_bright_voxels_are_in_the_world(order, signs, spacing, origin, seed) -> None:
    affine = turned(order, signs, spacing)
    affine[:3, 3] = origin
    random = np.random.default_rng(seed)
    shape = random.integers(24, 40, 3)
    low = [int(random.integers(2, n - 14)) for n in shape]
    high = [start + int(random.integers(8, 12)) for start in low]
    hu = np.full(shape, -900, np.int16)
    hu[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 300
    ends = np.array([np.array(low) - 0.5, np.array(high) - 0.5]) @ affine[:3, :3].T + affine[:3, 3]
    truth = np.concatenate([ends.min(axis=0), ends.max(axis=0)])
    scanner = RetinaNetScanner(Bright(), spacing_mm=1.25, size=32, region="scan")
    found = scanner.detect(Volume(np.asfortranarray(hu), affine), "case-1")
    assert found.cases == ("case-1",) and found.scores.tolist() == [0.5]
    # An edge is found to the voxel of the coarser of both grids that it goes through.
    reach = np.tile(np.maximum(1.25, np.linalg.norm(affine[:3, :3], axis=1)), 2)
    assert (np.abs(found.boxes_mm[0] - truth) <= reach).all()
    assert all(side % 16 == 0 and side >= 32 for side in scanner.detector.seen)


def chest() -> np.ndarray:
    """Two lungs of air in a body, 2 mm voxels, with something bright in one and outside of the body."""
    hu = np.full((150, 110, 100), -1000, np.int16)
    x, y, z = np.meshgrid(*[np.arange(n) for n in hu.shape], indexing="ij")
    hu[((x - 75) / 65) ** 2 + ((y - 55) / 45) ** 2 < 1] = 40
    for middle in (45, 105):
        hu[((x - middle) / 22) ** 2 + ((y - 55) / 30) ** 2 + ((z - 50) / 40) ** 2 < 1] = -850
    return hu


def test_only_where_lungs_are_is_looked_at() -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    scanners = {region: RetinaNetScanner(Bright(), 2.0, 32, [(900, 800)], region) for region in ("scan", "lungs")}

    def found(*bright: slice) -> dict[str, list[list[float]]]:
        hu = chest()
        hu[bright] = 1300
        volume = Volume(np.asfortranarray(hu), affine)
        return {name: scanner.detect(volume, "a").boxes_mm.tolist() for name, scanner in scanners.items()}

    for box in found(slice(100, 106), slice(50, 56), slice(45, 51)).values():
        np.testing.assert_allclose(box, [[199, 99, 89, 211, 111, 101]], atol=2)
    assert np.prod(scanners["lungs"].detector.seen) < 0.8 * np.prod(scanners["scan"].detector.seen)
    # In front of the chest, within the box around the lungs' bound; and behind it, on the table.
    for outside in ((slice(16, 19), slice(16, 19), slice(45, 51)), (slice(70, 80), slice(101, 109), slice(45, 51))):
        boxes = found(*outside)
        assert len(boxes["scan"]) == 1 and not boxes["lungs"]


def test_a_scan_without_lungs_is_refused() -> None:
    with pytest.raises(DataError, match="300 ml of air"):
        RetinaNetScanner(Bright(), size=32).detect(Volume(np.full((40, 40, 40), 40, np.int16), np.eye(4)), "a")


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"size": 40}, "size must be a multiple of 16 for this network, found 40"),
        ({"size": 32, "region": "heart"}, "region must be one of lungs, scan; found 'heart'"),
        ({"size": 32, "overlap": 1.0}, "overlap must be at least 0 and below 1, found 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings_: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RetinaNetScanner(Bright(), **settings_)


def sphere(random: np.random.Generator, affine: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright sphere of 14 to 20 mm; HU, and the sphere's box in the world."""
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    world = places @ affine[:3, :3].T + affine[:3, 3]
    low, high = world.reshape(-1, 3).min(axis=0), world.reshape(-1, 3).max(axis=0)
    radius = random.uniform(7, 10)
    center = random.uniform(low + radius, high - radius)
    hu = random.normal(-850, 60, shape)
    hu[((world - center) ** 2).sum(axis=-1) < radius**2] = 30
    return hu.astype(np.int16), np.concatenate([center - radius, center + radius])


def test_a_trained_network_finds_a_sphere_in_noise_in_a_scan_of_any_orientation() -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    network = build_retinanet(width=0.125, channels=8)
    detector = build_detector(network, anchor_sizes=(2.5, 4.0))
    assert isinstance(scanner := RetinaNetScanner(detector, 3.0, 32, region="scan", score=0.01), Detector)
    grid = Grid((32,) * 3, (3.0,) * 3, (0.0,) * 3)
    optimizer = torch.optim.AdamW(network.parameters())
    steps = 80
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    losses = []
    for _ in range(steps):
        images, targets = [], []
        for _ in range(4):
            hu, box = sphere(random, grid.affine, grid.size)
            images.append(scanner.windows(torch.from_numpy(hu)[None]))
            boxes = torch.from_numpy(boxes_to_grid(box[None], grid.affine)).float()
            targets.append({"boxes": boxes, "labels": torch.zeros(1, dtype=torch.long)})
        parts = detector.train()(torch.stack(images), targets)
        loss = sum(parts.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])
    affine = turned((2, 0, 1), (-1, 1, -1), (2.0, 1.5, 4.0))
    affine[:3, 3] = 120.0, -80.0, 40.0
    distances = []
    for _ in range(5):
        hu, box = sphere(random, affine, (60, 60, 24))
        found = scanner.detect(Volume(np.asfortranarray(hu), affine), "a")
        distances.append(np.linalg.norm(found.centers_mm[found.scores.argmax()] - (box[:3] + box[3:]) / 2))
    # Random places would be some 50 mm off.
    assert max(distances) < 6, distances
    assert detector.training
