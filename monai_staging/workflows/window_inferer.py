"""A network over a whole scan in windows that overlap, only where a bound says that something can be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from torch import Tensor, nn

from monai_staging.errors import DataError, UsageError
from monai_staging.workflows.inferers import AutocastInferer

MULTIPLE = 8
"""Of a window's sizes: networks halve them three times."""
MIRRORS = {1: (), 2: (0,), 4: (0, 1), 8: (0, 1, 2)}
"""Number of views to the axes that are mirrored in them."""


class BoundedWindowInferer(AutocastInferer):
    """Windows with Gaussian weights over a scan, as those of MONAI's ``SlidingWindowInferer(mode="gaussian")``.

    Along each axis windows are made as long as a scan wants it: over 180 voxels three of 96 with a quarter of overlap
    look at 288, but three of 72 at 216. Windows
    without a voxel of the bound are left out. Within the bound the log-odds are those that MONAI has with windows of
    :meth:`window_size`, to rounding; beyond it, where the remaining windows reach, some that MONAI averages over are
    missing. Besides the scan there are two scalar volumes of its size and one batch of windows in memory.

    Args:
        device: where the network runs, see :class:`~monai_staging.workflows.inferers.AutocastInferer`; the scan stays
            where it is.
        size: largest window, voxels along each axis.
        overlap: of neighbouring windows, as a part of a window.
        batch_size: windows at a time.
        views: 1, 2, 4 or 8: log-odds are averaged over mirror images along no, the first, the first two or all axes.
        amp: see ``AutocastInferer``.
        fitted: make windows as long as a scan wants it. Without, they are of ``size`` and lie as MONAI's do: that costs
            time, and gives what MONAI gives where a network's answer depends on where a window ends.

    Raises:
        UsageError: a setting out of range.
    """

    def __init__(
        self,
        device: str | torch.device,
        size: Sequence[int] = (128, 128, 96),
        overlap: float = 0.25,
        batch_size: int = 1,
        views: int = 1,
        amp: bool | str = "auto",
        fitted: bool = True,
    ) -> None:
        super().__init__(device, amp)
        if min(size) < 1 or not 0 <= overlap < 1 or batch_size < 1:
            raise UsageError(
                "BoundedWindowInferer: sizes and batches of at least 1 and an overlap of 0 to below 1 are needed; "
                f"found {list(size)}, {batch_size} and {overlap}"
            )
        if views not in MIRRORS:
            raise UsageError(f"BoundedWindowInferer: views must be 1, 2, 4 or 8; found {views}")
        self.size = tuple(int(length) for length in size)
        self.overlap = overlap
        self.batch_size = batch_size
        self.mirrors = MIRRORS[views]
        self.fitted = fitted

    def window_size(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Voxels of a scan's windows along each axis: those that see the fewest voxels in all."""
        return tuple(self._fitted(length, largest) for length, largest in zip(shape, self.size, strict=True))

    def windows(self, bound: Tensor) -> list[tuple[slice, ...]]:
        """The windows of a scan that have a voxel of its bound, bool ``(*spatial)``."""
        shape = tuple(bound.shape)
        size = self.window_size(shape)
        steps = [self._step(own) for own in size]
        return [window for window in dense_patch_slices(shape, size, steps) if bool(bound[window].any())]

    def _fitted(self, length: int, largest: int) -> int:
        if length <= largest or not self.fitted:
            return min(length, largest)
        # From half of the largest on: what a window does not see around a voxel is missing.
        choices = [largest, *range(-(-largest // (2 * MULTIPLE)) * MULTIPLE, largest, MULTIPLE)]
        return min(choices, key=lambda own: ((1 + math.ceil((length - own) / self._step(own))) * own, -own))

    def _step(self, size: int) -> int:
        return max(1, int(size * (1 - self.overlap)))

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Probabilities ``(1, 1, *spatial)`` of a scan ``(1, C, *spatial)``, 0 where no window is.

        Args:
            inputs: one scan.
            network: windows ``(B, C, *size)`` to log-odds ``(B, 1, *size)``.
            args: for the network.
            kwargs: ``bound``, bool ``(*spatial)``, all of the scan where it is left out; the rest is the network's.

        Raises:
            DataError: more than one scan, or a bound of another shape.
        """
        shape = inputs.shape[2:]
        bound: Tensor = kwargs.pop("bound", None)
        if bound is None:
            bound = torch.ones(shape, dtype=torch.bool, device=inputs.device)
        if len(inputs) != 1 or bound.shape != shape:
            raise DataError(
                "BoundedWindowInferer: one scan at a time with a bound of its size is needed; found "
                f"{tuple(inputs.shape)} and {tuple(bound.shape)}"
            )
        windows = self.windows(bound)
        total = torch.zeros(shape, device=inputs.device)
        weights = torch.zeros(shape, device=inputs.device)
        if windows:
            size = tuple(part.stop - part.start for part in windows[0])
            importance = compute_importance_map(size, mode="gaussian", device=inputs.device)
        for start in range(0, len(windows), self.batch_size):
            chosen = windows[start : start + self.batch_size]
            batch = torch.stack([inputs[0][(slice(None), *window)] for window in chosen])
            batch = batch.to(self.device, memory_format=memory_format(network))
            found = self._seen(batch, network, *args, **kwargs).to(inputs.device)
            for window, logits in zip(chosen, found[:, 0], strict=True):
                total[window] += logits * importance
                weights[window] += importance
        nowhere = weights == 0
        return total.div_(weights).sigmoid_().masked_fill_(nowhere, 0.0)[None, None]

    def _seen(self, batch: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """Mean log-odds over the mirror images."""
        total: Tensor | None = None
        choices = list(product((False, True), repeat=len(self.mirrors)))
        for choice in choices:
            axes = [2 + axis for axis, mirrored in zip(self.mirrors, choice, strict=True) if mirrored]
            logits = super().__call__(batch.flip(axes), network, *args, **kwargs).float().flip(axes)
            total = logits if total is None else total.add_(logits)
        assert total is not None
        return total.div_(len(choices))


def memory_format(network: Callable[..., Any]) -> torch.memory_format:
    """That of a network's weights in three dimensions: images in another one are converted layer by layer."""
    weights = network.parameters() if isinstance(network, nn.Module) else ()
    wide = (own for own in weights if own.dim() == 5 and min(own.shape[:2]) > 1)
    last = any(own.is_contiguous(memory_format=torch.channels_last_3d) and not own.is_contiguous() for own in wide)
    return torch.channels_last_3d if last else torch.contiguous_format
