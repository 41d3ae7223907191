"""Weights of one network made to fit another that differs in its input: channels, and 2D to 3D."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def change_channels(weight: Tensor, channels: int) -> Tensor:
    """A first convolution's weight for another number of input channels, which leaves grey images as they are.

    With the same image in every channel, the activations are those of the original with that image in every channel of
    its own: channels that are too many are added to those that stay, channels that are missing are copies, each with
    its part of the weight. From 3 to 1 that is the sum, from 1 to n the n-th part.

    Args:
        weight: (out, in, *kernel).
        channels: how many the new input has.

    Returns:
        (out, channels, *kernel).
    """
    before = weight.shape[1]
    if channels <= before:
        return torch.stack([weight[:, index::channels].sum(dim=1) for index in range(channels)], dim=1)
    origin = torch.arange(channels, device=weight.device) % before
    copies = torch.bincount(origin, minlength=before)[origin]
    return weight[:, origin] / copies.reshape(1, -1, *[1] * (weight.dim() - 2)).to(weight.dtype)


def inflate(weight: Tensor, depth: int) -> Tensor:
    """A 2D convolution's weight for 3D (I3D; Carreira and Zisserman 2017, arXiv:1705.07750).

    The kernel is repeated along the depth and divided by it: a volume that does not change along its depth gives the
    activations of its slice (away from the ends, where the padding's zeros are seen). Depth is the last axis, because
    volumes here have their slices there.

    Args:
        weight: (out, in, x, y).
        depth: of the new kernel.

    Returns:
        (out, in, x, y, depth).
    """
    return weight.unsqueeze(-1).repeat(1, 1, 1, 1, depth) / depth


def changes(found: Sequence[int], needed: Sequence[int], first: bool) -> list[str] | None:
    """What must be done to a weight of shape ``found`` for one of shape ``needed``; None if nothing will do.

    Args:
        found: shape in the file.
        needed: shape in the network.
        first: it is the weight of the first convolution, whose channels are the image's.

    Returns:
        What `adapted` does, in words; empty for the same shape.
    """
    shape, done = list(found), []
    if len(shape) == 4 and len(needed) == 5:
        shape.append(needed[4])
        done.append(f"2D to 3D, depth {needed[4]}")
    if first and len(shape) == len(needed) and shape[1] != needed[1]:
        done.append(f"{shape[1]} to {needed[1]} channels")
        shape[1] = needed[1]
    return done if shape == list(needed) else None


def adapted(weight: Tensor, needed: Sequence[int]) -> Tensor:
    """The weight in the shape ``needed``, where `changes` finds a way."""
    if weight.dim() == 4 and len(needed) == 5:
        weight = inflate(weight, needed[4])
    if weight.dim() > 1 and weight.shape[1] != needed[1]:
        weight = change_channels(weight, needed[1])
    return weight
