"""A convolution by transforms is the convolution."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from monai_staging.errors import UsageError
from monai_staging.networks import large_kernel
from monai_staging.networks.large_kernel import LargeKernelConv2d


@pytest.mark.parametrize(("size", "rows", "columns", "batch"), [(5, 64, 50, 2), (16, 40, 100, 1), (32, 80, 33, 3)])
def test_it_gives_what_the_direct_one_gives(size: int, rows: int, columns: int, batch: int, monkeypatch) -> None:
    torch.manual_seed(0)
    layer = LargeKernelConv2d(3, 7, size).eval()
    image = torch.randn(batch, 3, rows, columns)
    monkeypatch.setattr(large_kernel, "WORTH", 0)
    # Kernels in several chunks.
    monkeypatch.setattr(large_kernel, "CHUNK_VALUES", 2 * 3 * (2 * size) * (size + 1))
    direct = functional.conv2d(image.double(), layer.weight.double(), layer.bias.double())
    with torch.inference_mode():
        found = layer(image)
    torch.testing.assert_close(found.double(), direct, rtol=1e-4, atol=1e-5)


def test_a_kernel_as_large_as_a_tile_is_transformed(monkeypatch) -> None:
    layer = LargeKernelConv2d(2, 3, 64).eval()
    image = torch.randn(1, 2, 200, 200)
    monkeypatch.setattr(functional, "conv2d", lambda *_, **__: pytest.fail("the direct convolution was asked"))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(image.bfloat16())
    assert found.shape == (1, 3, 137, 137)
    # As exact as its input, whatever the autocast.
    assert found.dtype == torch.float32


def test_a_training_and_a_tile_take_the_direct_one() -> None:
    layer = LargeKernelConv2d(2, 3, 64)
    image = torch.randn(1, 2, 200, 200, requires_grad=True)
    layer(image)[0, 0, 5, 5].backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    with torch.inference_mode():
        tile = layer.eval()(image[..., :64, :64])
    torch.testing.assert_close(tile, functional.conv2d(image[..., :64, :64], layer.weight, layer.bias))


def test_its_weights_are_those_of_a_convolution() -> None:
    layer = LargeKernelConv2d(2, 3, 4)
    torch.nn.Conv2d(2, 3, 4).load_state_dict(layer.state_dict())


def test_a_kernel_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 1 is needed, found 0"):
        LargeKernelConv2d(1, 1, 0)
