"""Inferers that bundles share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from monai.inferers import SimpleInferer
from torch import Tensor
from torch.overrides import TorchFunctionMode

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


_CONVOLUTIONS = (torch.conv2d, torch.conv3d, torch.conv_transpose2d, torch.conv_transpose3d)


class SmallMapsInSinglePrecision(TorchFunctionMode):
    """Convolutions of maps hardly larger than their kernel are computed in float32, whatever autocast asks for.

    In bfloat16 on CPUs, oneDNN (v3.12, of PyTorch 2.13) leaves gradients of such convolutions' weights unwritten,
    writes past their end, and gives wrong maps where a strided convolution leaves one cell of the last axis
    (https://github.com/pytorch/pytorch/issues/169688): anything from a tenth to 1e38 is learned from then on, at a
    loss that looks right. Every case found has an axis of no more cells than kernel and stride together less one; where
    all axes have more, gradients agree with float32 to bfloat16's own 0.4 %. Such maps are small: little time is lost.
    Not healed: a convolution of 7 x 7 x 7 with a stride of 2, on eight slices or fewer, whose gradients are wrong in
    float32 too.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The call as it is, under autocast or not."""
        kwargs = kwargs or {}
        if func not in _CONVOLUTIONS or not _hardly_larger(*args, **kwargs):
            return func(*args, **kwargs)
        image, weight, *others = args
        with torch.autocast(image.device.type, enabled=False):
            # Autocast makes maps bfloat16, and leaves a network's weights as they are.
            return func(image.to(weight.dtype), weight, *others, **kwargs)


def _hardly_larger(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    *args: Any,
    **kwargs: Any,
) -> bool:
    """Whether a convolution's map has an axis of no more cells than kernel and stride together less one."""
    axes, kernel = image.shape[2 - weight.ndim :], weight.shape[2:]
    strides = [stride] * len(axes) if isinstance(stride, int) else list(stride) * (len(axes) // len(stride))
    return any(cells < size + step for cells, size, step in zip(axes, kernel, strides, strict=True))


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
        careful = self.enabled and self.device.type == "cpu"
        small = SmallMapsInSinglePrecision() if careful else nullcontext()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.enabled), small:
            return super().__call__(inputs, network, *args, **kwargs)
