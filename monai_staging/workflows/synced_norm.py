"""Batch norm over the batches of all processes, as if they were one batch, for the time of a training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def sync_batch_norm(network: nn.Module) -> list[_BatchNorm]:
    """Lets each batch norm of ``network`` average over all processes while it trains; undone by `unsync_batch_norm`.

    The modules stay the same ones, whoever holds them, and so do their names and states: only what they compute in
    training mode changes. On a GPU that is `torch.nn.SyncBatchNorm`'s; torch has none for the CPU, where it is computed
    here, from operations.

    Returns:
        The batch norms.
    """
    found = list(_batch_norms(network))
    for module in found:
        module.__dict__["forward"] = _Synced(module)
    return found


def unsync_batch_norm(modules: list[_BatchNorm]) -> None:
    """Gives each of them its own ``forward`` back."""
    for module in modules:
        module.__dict__.pop("forward", None)


def _batch_norms(network: nn.Module) -> Iterator[_BatchNorm]:
    for module in network.modules():
        # InstanceNorm is of the same base elsewhere in torch, and knows no batch.
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            yield module


class _Sum(torch.autograd.Function):
    """The sum over all processes. Each of them hands back the gradient of its own loss; all of those count."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _sum_of_all(own: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(own)  # type: ignore[no-untyped-call]
    return total


class _Synced:
    """A batch norm's ``forward``: its own in evaluation, over all processes in training."""

    def __init__(self, module: _BatchNorm) -> None:
        self.module = module
        self.on_gpu: nn.Module | None = None

    def __call__(self, input: Tensor) -> Tensor:
        module = self.module
        if not module.training:
            return type(module).forward(module, input)
        if not input.is_cuda:
            return batch_norm_of_all(module, input)
        if self.on_gpu is None:
            # It takes over the very parameters and statistics, so that they learn and move as ever.
            self.on_gpu = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        self.on_gpu.training = True
        output: Tensor = self.on_gpu(input)
        return output


def batch_norm_of_all(module: _BatchNorm, input: Tensor) -> Tensor:
    """What ``module`` makes of this process's part (B, C, ...) of a batch in training, its statistics included.

    Mean and biased variance are of all parts together; gradients go back to all of them.
    """
    axes = [axis for axis in range(input.ndim) if axis != 1]
    shape = [1, -1] + [1] * (input.ndim - 2)
    values = input.to(torch.promote_types(input.dtype, torch.float32))
    own = values.new_full((1,), values.numel() // values.shape[1])
    parts = _sum_of_all(torch.cat([values.sum(axes), own]))
    count = parts[-1].detach()
    mean = parts[:-1] / count
    # From the mean, in a second round: a sum of squares would lose what a large mean takes.
    centred = values - mean.view(shape)
    variance = _sum_of_all((centred * centred).sum(axes)) / count
    output = centred * torch.rsqrt(variance + module.eps).view(shape)
    if module.affine:
        output = output * module.weight.view(shape) + module.bias.view(shape)
    if module.track_running_stats and module.running_mean is not None and module.running_var is not None:
        with torch.no_grad():
            assert module.num_batches_tracked is not None
            module.num_batches_tracked.add_(1)
            share = module.momentum if module.momentum is not None else 1 / float(module.num_batches_tracked)
            unbiased = variance * (count / (count - 1).clamp(min=1))
            module.running_mean.lerp_(mean.to(module.running_mean.dtype), share)
            module.running_var.lerp_(unbiased.to(module.running_var.dtype), share)
    return output.to(input.dtype)
