"""Both stages' geometry with stand-ins for their networks, and how their scores come together."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from torch import nn

from monai_staging.cohort.volume import Volume
from monai_staging.detection import Detections, Detector
from monai_staging.detection.candidates import CandidateRules
from monai_staging.detection.slice_scanner import SliceScanner
from monai_staging.detection.two_stage import (
    CandidateClassifier,
    CandidateCubes,
    Remembering,
    TwoStageDetector,
    pooled,
)
from monai_staging.errors import UsageError

WINDOW = ((0.0, 2000.0),)


class Threshold(nn.Module):
    """In place of a segmentation network: sure where the middle slice is bright. Says what it was given."""

    def __init__(self, level: float = 0.5) -> None:
        super().__init__()
        self.level = level
        self.seen: list[torch.Tensor] = []

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        self.seen.append(slices)
        middle = slices[:, slices.shape[1] // 2, None]
        return 20 * (middle - self.level)


class Brightest(nn.Module):
    """In place of a classifier: the log-odds are the middle voxel's brightness."""

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        middle = [size // 2 for size in views.shape[3:]]
        return 4 * (views[:, 0, 0, middle[0], middle[1], middle[2]] - 0.5)[:, None]


def turned(order: tuple[int, ...], signs: tuple[int, ...], spacing: tuple[float, ...], origin) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign, step) in enumerate(zip(order, signs, spacing, strict=True)):
        affine[world, axis] = sign * step
    affine[:3, 3] = origin
    return affine


def world(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """(I, J, K, 3) RAS mm of each voxel."""
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) @ affine[:3, :3].T + affine[:3, 3]


GEOMETRY = (
    st.sampled_from(list(permutations(range(3)))),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.tuples(*[st.floats(0.9, 2.5)] * 3),
    st.tuples(*[st.floats(-300, 300)] * 3),
    st.integers(0, 1000),
)


@settings(max_examples=15)
@given(*GEOMETRY)
def test_spheres_are_found_where_they_are_in_the_world(order, signs, spacing, origin, seed) -> None:
    affine = turned(order, signs, spacing, origin)
    shape = tuple(round(96 / step) for step in spacing)
    random = np.random.default_rng(seed)
    points = world(shape, affine)
    low = points.reshape(-1, 3).min(axis=0)
    # One in each corner of a cross, so that they never touch.
    centers = low + np.array([[24, 24, 24], [72, 24, 60], [24, 72, 72]]) + random.uniform(-6, 6, (3, 3))
    radii = random.uniform(5, 12, 3)
    hu = np.full(shape, -1000, np.int16)
    for center, radius in zip(centers, radii, strict=True):
        hu[((points - center) ** 2).sum(axis=-1) < radius**2] = 1000
    scanner = SliceScanner(Threshold(), (1.3, 1.1, 2.0), windows=WINDOW, region="scan")
    found = scanner.detect(Volume(np.asfortranarray(hu), affine), "case-1")
    assert found.cases == ("case-1",) * 3 and isinstance(scanner, Detector)
    order_of = [int(np.linalg.norm(found.centers_mm - center, axis=1).argmin()) for center in centers]
    assert sorted(order_of) == [0, 1, 2]
    # To the voxel of the coarser of both grids that an edge goes through.
    reach = np.maximum((1.3, 1.1, 2.0), np.abs(affine[:3, :3]).sum(axis=1))
    for place, center, radius in zip(order_of, centers, radii, strict=True):
        assert (np.abs(found.centers_mm[place] - center) <= reach).all()
        assert (np.abs(found.sizes_mm[place] - 2 * radius) <= 2 * reach).all()


def test_a_slice_is_seen_between_its_neighbours_and_the_surest_stay() -> None:
    hu = np.full((30, 30, 9), -1000, np.int16)
    hu += (np.arange(9) * 50).astype(np.int16)
    hu[4:8, 4:8, 4], hu[20:24, 20:24, 4] = 600, 1000
    network = Threshold()
    scanner = SliceScanner(network, (1.0, 1.0, 1.0), windows=WINDOW, region="scan", batch_size=4)
    volume = Volume(np.asfortranarray(hu), np.eye(4))
    found = scanner.detect(volume, "a")
    assert found.centers_mm.tolist() == [[21.5, 21.5, 4.0], [5.5, 5.5, 4.0]]
    assert found.scores.tolist() == pytest.approx([expit(10), expit(6)], abs=1e-4)
    stacks = torch.cat(network.seen)
    assert stacks.shape == (9, 3, 30, 30)
    slices = (torch.arange(9) * 50 / 2000).clamp(0, 1)
    wanted = torch.stack([slices[[max(0, k - 1), k, min(8, k + 1)]] for k in range(9)])
    torch.testing.assert_close(stacks[:, :, 0, 0], wanted)
    scanner = SliceScanner(network, (1.0, 1.0, 1.0), windows=WINDOW, region="scan", most=1)
    assert scanner.detect(volume, "a").centers_mm.tolist() == [[21.5, 21.5, 4.0]]
    assert network.training


def chest() -> np.ndarray:
    """Two lungs of air in a body, 2 mm voxels."""
    hu = np.full((150, 110, 100), -1000, np.int16)
    x, y, z = np.meshgrid(*map(np.arange, hu.shape), indexing="ij")
    hu[((x - 75) / 65) ** 2 + ((y - 55) / 45) ** 2 < 1] = -300
    for middle in (45, 105):
        hu[((x - middle) / 22) ** 2 + ((y - 55) / 30) ** 2 + ((z - 50) / 40) ** 2 < 1] = -850
    return hu


def test_only_where_lungs_are_is_looked_at() -> None:
    scanners = [SliceScanner(Threshold(), (2.0,) * 3, windows=WINDOW, region=name) for name in ("scan", "lungs")]
    hu = chest()
    hu[100:106, 50:56, 45:51] = hu[16:19, 16:19, 45:51] = 1000  # in a lung, and in front of the chest
    volume = Volume(np.asfortranarray(hu), np.diag([2.0, 2.0, 2.0, 1.0]))
    everywhere, within = (scanner.detect(volume, "a") for scanner in scanners)
    assert len(everywhere) == 2
    np.testing.assert_allclose(within.boxes_mm, [[199, 99, 89, 211, 111, 101]], atol=2)


@settings(max_examples=20)
@given(*GEOMETRY)
def test_cubes_lie_in_the_world_with_slices_first(order, signs, spacing, origin, seed) -> None:
    affine = turned(order, signs, spacing, origin)
    shape = tuple(round(60 / step) for step in spacing)
    points = world(shape, affine)
    # HU that say where in the world a voxel is, each axis in a window of its own.
    low = points.reshape(-1, 3).min(axis=0)
    center = low + np.random.default_rng(seed).uniform(22, 34, 3)
    for axis, name in enumerate("xyz"):
        hu = np.rint((points[..., axis] - center[axis]) * 20).astype(np.int16)
        cubes = CandidateCubes(9, 2.0, [(0.0, 510.0)])(Volume(np.asfortranarray(hu), affine), center[None])
        assert cubes.shape == (1, 1, 9, 9, 9) and cubes.dtype == torch.uint8
        along = cubes[0, 0].float().mean(dim=[place for place in range(3) if place != "zyx".index(name)])
        expected = torch.arange(-4.0, 5.0) * 2.0 * 20 / 510 * 255 + 127.5
        torch.testing.assert_close(along, expected, atol=1.5, rtol=0)


class Given:
    """Candidates that were found before."""

    def __init__(self, found: Detections) -> None:
        self.found = found
        self.asked: list[str] = []

    def detect(self, volume: Volume, case: str) -> Detections:
        self.asked.append(case)
        return self.found


def boxes_at(*centers: tuple[float, float, float]) -> np.ndarray:
    points = np.array(centers, dtype=float).reshape(-1, 3)
    return np.concatenate([points - 2, points + 2], axis=1)


def test_each_candidate_is_judged_where_it_is_and_the_scores_come_together() -> None:
    hu = np.full((40, 40, 40), -1000, np.int16)
    hu[10, 10, 10], hu[30, 20, 10] = 1000, 500
    volume = Volume(np.asfortranarray(hu), np.eye(4))
    candidates = Detections.of_case("a", boxes_at((5, 5, 30), (10, 10, 10), (30, 20, 10), (11, 10, 10)), np.ones(4) / 2)
    judge = CandidateClassifier(Brightest(), batch_size=3)
    second = judge(CandidateCubes(5, 1.0, WINDOW)(volume, candidates.centers_mm))
    np.testing.assert_allclose(second, expit([-2, 2, 1, -2]), atol=2e-3)
    detector = TwoStageDetector(Given(candidates), CandidateCubes(5, 1.0, WINDOW), judge, weight=0.5)
    found = detector.detect(volume, "a")
    # Half of the log-odds, as the candidates are at even odds; the last overlaps the surest and is dropped.
    assert found.centers_mm.tolist() == [[10, 10, 10], [30, 20, 10], [5, 5, 30]]
    np.testing.assert_allclose(found.scores, expit([1, 0.5, -1]), atol=2e-3)
    sure = TwoStageDetector(Given(candidates), CandidateCubes(5, 1.0, WINDOW), judge, score=0.6)
    assert (sure.detect(volume, "a").scores >= 0.6).all()
    empty = TwoStageDetector(Given(Detections.none()), CandidateCubes(5, 1.0, WINDOW), judge)
    assert len(empty.detect(volume, "a")) == 0 and judge.network.training


class Corner(nn.Module):
    """The first voxel: sees which way a cube lies."""

    def forward(self, cubes: torch.Tensor) -> torch.Tensor:
        return cubes[:, 0, 0, 0, 0, :1]


@pytest.mark.parametrize(("flips", "axes"), [(2, (-1,)), (4, (-1, -2)), (8, (-1, -2, -3))])
def test_flips_are_the_mean_log_odds_of_all_mirror_images(flips: int, axes: tuple[int, ...]) -> None:
    cubes = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 1, 4, 4, 4), dtype=np.uint8))
    found = CandidateClassifier(Corner(), amp=False, flips=flips)(cubes)
    corners = cubes[(slice(None), 0, *(slice(None, None, 3) if axis in axes else 0 for axis in (-3, -2, -1)))]
    np.testing.assert_allclose(found, expit(corners.reshape(3, -1).double().mean(dim=1) / 255), rtol=1e-6)


def test_other_numbers_of_flips_are_refused() -> None:
    with pytest.raises(UsageError, match="flips must be 1, 2, 4 or 8; found 3"):
        CandidateClassifier(Corner(), flips=3)


@given(st.lists(st.tuples(st.floats(0.001, 0.999), st.floats(0.001, 0.999)), min_size=1), st.floats(0, 1))
def test_the_pool_is_the_weighted_mean_of_log_odds(pairs, weight) -> None:
    first, second = np.array(pairs).T
    expected = expit(weight * logit(first) + (1 - weight) * logit(second))
    np.testing.assert_allclose(pooled(first, second, weight), expected, rtol=1e-9)


def test_certainty_of_one_is_not_the_last_word() -> None:
    found = pooled(np.array([1.0, 0.0]), np.array([0.5, 0.5]), 0.5)
    assert ((found > 0) & (found < 1)).all() and found[0] == pytest.approx(1 - found[1])


def test_each_case_is_looked_at_once() -> None:
    given_ = Given(Detections.of_case("a", boxes_at((1, 1, 1)), np.array([0.5])))
    remembering = Remembering(given_)
    volume = Volume(np.zeros((2, 2, 2), np.int16), np.eye(4))
    assert [remembering.detect(volume, case) for case in ("a", "b", "a")] == [given_.found] * 3
    assert given_.asked == ["a", "b"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SliceScanner(Threshold(), slices=2), "slices must be an odd number, found 2"),
        (lambda: SliceScanner(Threshold(), region="heart"), "region must be one of lungs, scan; found 'heart'"),
        (lambda: CandidateCubes(0), "size and spacing_mm must be above 0; found 0"),
        (lambda: TwoStageDetector(None, None, None, weight=1.5), "weight is 0 to 1, found 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(make, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_rules_reach_the_scan() -> None:
    hu = np.full((20, 20, 5), -1000, np.int16)
    hu[5:7, 5:7, 2], hu[10:12, 5:7, 2] = 1000, 1000
    volume = Volume(np.asfortranarray(hu), np.eye(4))
    for merge_mm, count in ((4.0, 2), (6.0, 1)):
        rules = CandidateRules(merge_mm=merge_mm)
        scanner = SliceScanner(Threshold(), (1.0,) * 3, windows=WINDOW, region="scan", rules=rules)
        assert len(scanner.detect(volume, "a")) == count
