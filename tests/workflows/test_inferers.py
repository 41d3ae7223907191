"""Reduced precision through the inferer."""

from __future__ import annotations

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


def test_nonsense_is_refused() -> None:
    with pytest.raises(UsageError, match="'perhaps'"):
        AutocastInferer("cpu", "perhaps")
