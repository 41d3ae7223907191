"""What a loss divides by, counted over the batches of all processes of a distributed training."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor


def of_all(count: Tensor, total: Tensor, least: float = 0.0) -> Tensor:
    """The mean of ``count`` over all processes, while ``total``, what it divides, learns; else ``count`` itself.

    ``DistributedDataParallel`` averages gradients. A loss that is a sum over the batch by a number counted in the batch
    is not a mean of the processes' losses, unless all of them divide by the same number; with this one the average is
    the loss of all their batches as one. Each process calls it as often, whatever is in its batch.

    Args:
        count: without a gradient, any shape.
        total: with a gradient in training, without one in an evaluation, where processes do not wait for each other.
        least: what is counted in all batches together is taken for no less.
    """
    if not (total.requires_grad and dist.is_available() and dist.is_initialized()):
        return count.clamp(min=least)
    sums = count.detach().to(total.dtype, copy=True)
    dist.all_reduce(sums)
    return sums.clamp(min=least) / dist.get_world_size()
