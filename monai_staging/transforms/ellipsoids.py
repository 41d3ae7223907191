"""Lesions of which only the box is known, drawn as the ellipsoid that fills it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def ellipsoid_share(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Of each cell of a grid the part that lies in the ellipsoid of a box.

    The surface is a ramp one cell wide in place of the exact share. Of a grid that is one cell deep along an axis, the
    cut through the cells' middle is drawn. A lesion smaller than a cell is one cell.

    Args:
        boxes: (N, 6) corners in cells, along the cells' edges: cell i covers i to i + 1.
        size: cells (X, Y, Z).

    Returns:
        (X, Y, Z) float32 in 0..1 on the boxes' device; where ellipsoids meet, the larger share.
    """
    share = torch.zeros(tuple(size), device=boxes.device)
    wide = [axis for axis in range(3) if size[axis] > 1] or [0, 1, 2]
    middles = [torch.arange(count, device=boxes.device) + 0.5 for count in size]
    for box in boxes.float():
        center, half = (box[:3] + box[3:]) / 2, ((box[3:] - box[:3]) / 2).clamp(min=0.5)
        a, b, c = (((middles[axis] - center[axis]) / half[axis]) ** 2 for axis in range(3))
        distance = (a[:, None, None] + b[None, :, None] + c).sqrt()
        share = torch.maximum(share, ((1 - distance) * half[wide].min() + 0.5).clamp(0, 1))
    return share
