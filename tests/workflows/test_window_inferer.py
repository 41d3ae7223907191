"""Windows where a bound is, against MONAI's sliding windows over everything."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from monai_staging.errors import DataError, UsageError
from monai_staging.networks.segmentation import build_segmenter
from monai_staging.workflows.window_inferer import BoundedWindowInferer, memory_format

SHAPE = (36, 30, 26)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """Of random weights; its answer at a voxel depends on what the window ends at."""
    torch.manual_seed(0)
    return build_segmenter("attention_unet", spatial_dims=3, in_channels=2, width=0.5).eval()


@pytest.fixture(scope="module")
def scan() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(1, 2, *SHAPE)


@pytest.fixture(scope="module")
def bound() -> Tensor:
    """A slanted slab: some windows have nothing of it."""
    place = torch.stack(torch.meshgrid(*map(torch.arange, SHAPE), indexing="ij")).float()
    return (place[0] - place[1]).abs() < 5


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("size", [(12, 12, 12), (20, 16, 26), SHAPE])
def test_within_the_bound_the_result_is_monais(
    network: nn.Module, scan: Tensor, bound: Tensor, size: tuple[int, int, int], overlap: float
) -> None:
    inferer = BoundedWindowInferer("cpu", size, overlap, batch_size=3, amp=False)
    monai = SlidingWindowInferer(inferer.window_size(SHAPE), sw_batch_size=1, overlap=overlap, mode="gaussian")
    with torch.inference_mode():
        found = inferer(scan, network, bound=bound)
        expected = monai(scan, network).sigmoid()
    assert found.shape == (1, 1, *SHAPE)
    torch.testing.assert_close(found[0, 0][bound], expected[0, 0][bound], atol=1e-5, rtol=1e-4)


def test_unfitted_windows_are_monais_own(network: nn.Module, scan: Tensor, bound: Tensor) -> None:
    size = (20, 16, 12)
    inferer = BoundedWindowInferer("cpu", size, 0.25, amp=False, fitted=False)
    assert inferer.window_size(SHAPE) == size and BoundedWindowInferer("cpu", size).window_size(SHAPE) != size
    monai = SlidingWindowInferer(size, sw_batch_size=1, overlap=0.25, mode="gaussian")
    with torch.inference_mode():
        found, expected = inferer(scan, network, bound=bound), monai(scan, network).sigmoid()
    torch.testing.assert_close(found[0, 0][bound], expected[0, 0][bound], atol=1e-5, rtol=1e-4)


def test_windows_lie_in_memory_as_the_weights_do(scan: Tensor) -> None:
    network = build_segmenter("attention_unet", spatial_dims=3, in_channels=2, width=0.5).eval()
    assert memory_format(network) is torch.contiguous_format is memory_format(lambda image: image)
    last = network.to(memory_format=torch.channels_last_3d)
    assert memory_format(last) is torch.channels_last_3d
    seen = []
    last.register_forward_pre_hook(lambda _, images: seen.append(images[0].stride(1)))
    with torch.inference_mode():
        BoundedWindowInferer("cpu", (20, 16, 16), amp=False)(scan, last)
    assert set(seen) == {1}


@settings(max_examples=200)
@given(length=st.integers(1, 400), largest=st.integers(16, 160), overlap=st.sampled_from([0.0, 0.25, 0.5]))
def test_windows_fit_the_scan(length: int, largest: int, overlap: float) -> None:
    inferer = BoundedWindowInferer("cpu", (largest, 1, 1), overlap)
    size, *_ = inferer.window_size((length, 1, 1))
    line = torch.ones(length, 1, 1, dtype=torch.bool)
    spans = [window[0] for window in inferer.windows(line)]
    assert {span.stop - span.start for span in spans} == {size} and size <= min(largest, length)
    assert min(span.start for span in spans) == 0 and max(span.stop for span in spans) == length
    starts = sorted(span.start for span in spans)
    assert all(after - before <= max(1, size * (1 - overlap)) for before, after in pairwise(starts))
    # Never more to look at than with the largest windows.
    step = max(1, int(largest * (1 - overlap)))
    plain = 1 + math.ceil(max(0, length - largest) / step)
    assert len(spans) * size <= plain * max(largest, 1) and (length <= largest or size >= largest / 2)


def test_windows_without_the_bound_are_not_looked_at(network: nn.Module, scan: Tensor, bound: Tensor) -> None:
    seen = []

    def counting(x: Tensor) -> Tensor:
        seen.append(len(x))
        return network(x)

    inferer = BoundedWindowInferer("cpu", (12, 12, 12), 0.25, batch_size=4, amp=False)
    everywhere = inferer.windows(torch.ones(SHAPE, dtype=torch.bool))
    with torch.inference_mode():
        found = inferer(scan, counting, bound=bound)
    assert sum(seen) == len(inferer.windows(bound)) < len(everywhere) and max(seen) == 4
    outside = torch.ones(SHAPE, dtype=torch.bool)
    for window in inferer.windows(bound):
        assert bound[window].any()
        outside[window] = False
    assert outside.any() and (found[0, 0][outside] == 0).all()
    with torch.inference_mode():
        nothing = inferer(scan, counting, bound=torch.zeros(SHAPE, dtype=torch.bool))
    assert sum(seen) == len(inferer.windows(bound)) and not nothing.any()


@pytest.mark.parametrize("views", [2, 4, 8])
def test_mirror_images_are_averaged(network: nn.Module, scan: Tensor, views: int) -> None:
    scan = scan[..., :20, :16, :12]
    with torch.inference_mode():
        found = BoundedWindowInferer("cpu", views=views, amp=False)(scan, network)
        axes = {2: [[], [2]], 4: [[], [2], [3], [2, 3]]}.get(
            views, [[], [2], [3], [4], [2, 3], [2, 4], [3, 4], [2, 3, 4]]
        )
        logits = torch.stack([network(scan.flip(own)).flip(own) for own in axes]).mean(dim=0)
    torch.testing.assert_close(found, logits.sigmoid(), atol=1e-5, rtol=1e-4)


def test_a_short_scan_makes_short_windows(network: nn.Module, scan: Tensor) -> None:
    with torch.inference_mode():
        found = BoundedWindowInferer("cpu", amp=False)(scan, network)
        torch.testing.assert_close(found, network(scan).sigmoid(), atol=1e-5, rtol=1e-4)


def test_what_is_out_of_range_is_refused(network: nn.Module, scan: Tensor) -> None:
    for wrong in ({"size": (0, 8, 8)}, {"overlap": 1.0}, {"batch_size": 0}, {"views": 3}):
        with pytest.raises(UsageError, match="found"):
            BoundedWindowInferer("cpu", **wrong)
    inferer = BoundedWindowInferer("cpu")
    with pytest.raises(DataError, match="one scan at a time"):
        inferer(scan.repeat(2, 1, 1, 1, 1), network)
    with pytest.raises(DataError, match="bound of its size"):
        inferer(scan, network, bound=torch.ones(3, 3, 3, dtype=torch.bool))
