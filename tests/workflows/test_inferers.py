"""Reduced precision through the inferer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from monai_staging.errors import UsageError
from monai_staging.workflows.inferers import AutocastInferer, reduced_precision_pays


@pytest.mark.parametrize(("amp", "dtype"), [(True, torch.bfloat16), ("true", torch.bfloat16), (False, torch.float32)])
def test_the_network_computes_in_the_asked_precision(amp: bool | str, dtype: torch.dtype) -> None:
    output = AutocastInferer("cpu", amp)(torch.rand(2, 3), nn.Linear(3, 4))
    assert output.dtype == dtype


@pytest.mark.parametrize(
    ("capabilities", "pays"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True, "avx512_bf16": False}, True),
        ({"bf16": True}, True),
        ({"avx2": True, "avx512_f": True, "amx_bf16": False}, False),
        ({}, False),
    ],
)
def test_auto_follows_the_processor(capabilities: dict[str, bool], pays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert reduced_precision_pays("cpu") is pays
    inferer = AutocastInferer("cpu", "auto")
    assert inferer.enabled is pays
    assert inferer(torch.rand(2, 3), nn.Linear(3, 4)).dtype == (torch.bfloat16 if pays else torch.float32)
    assert not AutocastInferer("meta").enabled


def test_a_torch_that_says_nothing_of_the_processor_means_full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not AutocastInferer("cpu").enabled


@pytest.mark.parametrize(
    ("available", "native", "emulated", "pays"),
    [(True, True, True, True), (True, False, True, False), (False, True, True, False)],
    ids=["from Ampere on", "older: emulated only", "no driver"],
)
def test_auto_follows_the_gpu(
    available: bool, native: bool, emulated: bool, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: emulated if including_emulation else native
    )
    assert AutocastInferer("cuda:0").enabled is pays
    # The processor's instructions are another matter.
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"bf16": not pays}, raising=False)
    assert AutocastInferer("cuda:0").enabled is pays


@pytest.mark.parametrize(
    ("build", "kernel", "stride", "sizes"),
    [
        (nn.Conv2d, 7, 2, [(2, 1), (4, 1), (5, 1)]),
        (nn.Conv3d, 1, 2, [(1, 1, 1), (4, 4, 2)]),
        (nn.Conv3d, 3, 1, [(2, 2, 1), (2, 1, 2), (2, 4, 5)]),
        (nn.Conv3d, 3, 2, [(1, 2, 1), (3, 1, 5), (5, 4, 1)]),
        (nn.Conv3d, 5, 1, [(1, 1, 1), (3, 3, 3), (4, 4, 4)]),
        (nn.ConvTranspose3d, 3, 1, [(2, 1, 4), (2, 5, 5)]),
        (nn.ConvTranspose3d, 3, (2, 2, 2), [(1, 2, 1), (2, 1, 5), (3, 4, 1)]),
    ],
)
def test_gradients_of_maps_of_few_cells_are_those_of_full_precision(
    build: Callable[..., nn.Module], kernel: int, stride: int | tuple[int, ...], sizes: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(0)
    convolution = build(16, 32, kernel, stride=stride, padding=kernel // 2)
    for size in sizes:
        image = torch.randn(2, 16, *size)
        found = []
        for amp in (False, True):
            convolution.zero_grad()
            output = AutocastInferer("cpu", amp)(image, convolution)
            output.float().square().mean().backward()
            found.append([output.detach().float(), *(weights.grad for weights in convolution.parameters())])
        for right, value in zip(*found, strict=True):
            torch.testing.assert_close(value, right, rtol=0.02, atol=0.02 * float(right.abs().max()))


def test_larger_maps_stay_in_reduced_precision() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, stride=2, padding=1))
    assert AutocastInferer("cpu", True)(torch.rand(1, 1, 5, 5), network).dtype == torch.bfloat16
    assert AutocastInferer("cpu", True)(torch.rand(1, 1, 4, 4), network).dtype == torch.float32
    half = network.bfloat16()
    assert AutocastInferer("cpu", True)(torch.rand(1, 1, 4, 4), half).dtype == torch.bfloat16


def test_nonsense_is_refused() -> None:
    with pytest.raises(UsageError, match="'perhaps'"):
        AutocastInferer("cpu", "perhaps")
