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


def test_auto_follows_the_hardware() -> None:
    assert AutocastInferer("cpu").enabled == reduced_precision_pays("cpu")
    assert not AutocastInferer("meta").enabled


def test_nonsense_is_refused() -> None:
    with pytest.raises(UsageError, match="'perhaps'"):
        AutocastInferer("cpu", "perhaps")
