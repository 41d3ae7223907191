"""Batch norms taken into the convolutions before them: the same answers from a network that has less to do."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from monai_staging.errors import UsageError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
Place = tuple[nn.Module, str, nn.Module]


def fold_norms(network: nn.Module) -> nn.Module:
    """A copy of a network for inference, in which batch norms that follow a convolution are a part of it.

    Only in sequences (MONAI's blocks are) is it known what follows what; other norms stay. Log-odds are the same but
    for rounding. In two and three dimensions a norm costs about as much as a convolution of few channels.

    Args:
        network: in evaluation mode; it is left as it is.

    Raises:
        UsageError: it is being trained, so that its norms follow the batch.
    """
    if network.training:
        raise UsageError("fold_norms: a network in evaluation mode is needed, found one in training")
    folded = copy.deepcopy(network)
    sequences = [own for own in folded.modules() if isinstance(own, nn.Sequential)]
    for sequence in sequences:
        for (parent, name, first), (holder, place, second) in pairwise(list(_leaves(sequence))):
            # A sequence within another is seen twice; then there is nothing left to fold.
            first = getattr(parent, name)
            if isinstance(first, CONVOLUTIONS) and isinstance(second, _BatchNorm) and getattr(holder, place) is second:
                transposed = isinstance(first, CONVOLUTIONS[3:])
                setattr(parent, name, fuse_conv_bn_eval(first, second, transpose=transposed))
                setattr(holder, place, nn.Identity())
    return folded


def _leaves(sequence: nn.Sequential) -> Iterator[Place]:
    """The modules that are called one after the other, with where they hang."""
    for name, own in sequence.named_children():
        if isinstance(own, nn.Sequential) and len(own):
            yield from _leaves(own)
        else:
            yield sequence, name, own
