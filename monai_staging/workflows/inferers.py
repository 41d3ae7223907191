"""Inferers that bundles share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import Tensor

from monai_staging.errors import UsageError


def reduced_precision_pays(device: torch.device | str) -> bool:
    """Whether bfloat16 is faster than float32 on ``device``: CUDA from Ampere on, CPUs with bfloat16 instructions."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
    return False


class AutocastInferer(SimpleInferer):
    """Runs the network under ``torch.autocast`` in bfloat16, on CPU and GPU alike.

    MONAI's engines know automatic mixed precision for CUDA only, through ``amp=True``; bfloat16 needs no gradient
    scaler, so an inferer is enough, and one config key serves every device.

    Args:
        device: where the network runs.
        amp: ``True``, ``False`` or ``"auto"``: on where the hardware gains from it.
    """

    def __init__(self, device: str | torch.device, amp: bool | str = "auto") -> None:
        super().__init__()
        self.device = torch.device(device)
        if isinstance(amp, str):
            choice = {"auto": reduced_precision_pays(self.device), "true": True, "false": False}.get(amp.lower())
            if choice is None:
                raise UsageError(f"amp must be true, false or auto; found {amp!r}.")
            amp = choice
        self.enabled = bool(amp)

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Network output, computed in bfloat16 where that is enabled."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.enabled):
            return super().__call__(inputs, network, *args, **kwargs)
