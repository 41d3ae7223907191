"""Damage for a network to undo: intensities bent, blocks shuffled, cells masked (Models Genesis, arXiv:1908.06912).

Everything works on a whole batch at once, on the device it lies on: ``(B, C, *spatial)`` of float in [0, 1], two or
three spatial axes. All channels of an image are damaged alike. The same generator state gives the same damage.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from monai_staging.errors import UsageError

# Points a curve is computed at, and levels it is tabulated at: 8-bit images have no more.
_POINTS = 128
_LEVELS = 256


def monotone_warp(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Bends each image's intensities along a random cubic Bezier curve that never falls.

    The curve goes from (0, 0) to (1, 1); its inner control points are uniform in the unit square, which keeps both
    coordinates from falling: of two voxels the brighter one stays at least as bright. Models Genesis also inverts; in
    CT what is air and what is bone is not a matter of taste.

    Args:
        images: ``(B, C, *spatial)`` in [0, 1].
        generator: of the curves, on the images' device.
    """
    batch = len(images)
    t = torch.linspace(0, 1, _POINTS, device=images.device)
    control = torch.rand(2, batch, 2, 1, generator=generator, device=images.device)
    first, second, last = 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
    x, y = control[:, :, 0] * first + control[:, :, 1] * second + last
    # Rounding must not make the curve fall either.
    x, y = x.cummax(dim=1).values.contiguous(), y.cummax(dim=1).values
    level = torch.linspace(0, 1, _LEVELS, device=images.device).expand(batch, -1).contiguous()
    right = torch.searchsorted(x, level).clamp(1, _POINTS - 1)
    x0, x1, y0, y1 = (c.gather(1, index) for c in (x, y) for index in (right - 1, right))
    table = torch.lerp(y0, y1, ((level - x0) / (x1 - x0).clamp(min=1e-6)).clamp(0, 1))
    position = images.flatten(1).float().clamp(0, 1) * (_LEVELS - 1)
    low = position.long().clamp(max=_LEVELS - 2)
    bent = torch.lerp(table.gather(1, low), table.gather(1, low + 1), position - low)
    return bent.view(images.shape).to(images.dtype)


def local_shuffle(
    images: Tensor, block: int = 4, share: float = 0.5, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Puts the voxels of some blocks into a random order, each block by itself.

    Args:
        images: ``(B, C, *spatial)``.
        block: edge of a block, voxels. What is left over at the far edges is not shuffled.
        share: probability that a block is shuffled.
        generator: of blocks and orders, on the images' device.

    Returns:
        The images, and where blocks were shuffled, ``(B, 1, *spatial)`` bool.
    """
    spatial = images.shape[2:]
    counts = [size // block for size in spatial]
    if not all(counts):
        return images.clone(), images.new_zeros((len(images), 1, *spatial), dtype=torch.bool)
    dims = len(spatial)
    inner = (slice(None), slice(None), *(slice(0, count * block) for count in counts))
    # (B, C, n0, b, n1, b, ...) to (B, C, n0, n1, ..., b * b * ...)
    split = images[inner].reshape(*images.shape[:2], *(v for count in counts for v in (count, block)))
    blocks = split.permute(0, 1, *range(2, 2 + 2 * dims, 2), *range(3, 3 + 2 * dims, 2)).flatten(2 + dims)
    drawn = torch.rand(len(images), 1, *counts, generator=generator, device=images.device) < share
    shape = (len(images), 1, *counts, block**dims)
    order = torch.rand(shape, generator=generator, device=images.device).argsort(dim=-1)
    still = torch.arange(block**dims, device=images.device).expand(shape)
    order = torch.where(drawn[..., None], order, still)
    blocks = blocks.gather(-1, order.expand(-1, images.shape[1], *([-1] * (dims + 1))))
    back = blocks.view(*images.shape[:2], *counts, *([block] * dims))
    axes = [axis for i in range(dims) for axis in (2 + i, 2 + dims + i)]
    shuffled = images.clone()
    shuffled[inner] = back.permute(0, 1, *axes).reshape(*images.shape[:2], *(c * block for c in counts))
    return shuffled, _spread(drawn, block, spatial)


def mask_cells(
    images: Tensor, cell: int = 8, share: float = 0.4, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Covers some cells of a grid, each with one random grey.

    Args:
        images: ``(B, C, *spatial)``.
        cell: edge of a cell, voxels.
        share: probability that a cell is covered.
        generator: of cells and greys, on the images' device.

    Returns:
        The images, and what is covered, ``(B, 1, *spatial)`` bool.
    """
    spatial = images.shape[2:]
    grid = [-(-size // cell) for size in spatial]
    drawn = torch.rand(len(images), 1, *grid, generator=generator, device=images.device) < share
    grey = _spread(torch.rand(drawn.shape, generator=generator, device=images.device), cell, spatial)
    mask = _spread(drawn, cell, spatial)
    return torch.where(mask, grey.to(images.dtype), images), mask


def _spread(cells: Tensor, edge: int, spatial: torch.Size) -> Tensor:
    """Each cell's value in all of its voxels; what the grid does not reach is 0."""
    for axis, size in enumerate(spatial, start=2):
        cells = cells.repeat_interleave(edge, dim=axis).narrow(axis, 0, min(size, cells.shape[axis] * edge))
    missing = [(0, size - have) for size, have in zip(spatial, cells.shape[2:], strict=True)]
    if any(right for _, right in missing):
        cells = functional.pad(cells, [pad for pair in reversed(missing) for pad in pair])
    return cells


@dataclass(frozen=True)
class Corrupt:
    """Bends, shuffles and masks the images of a batch, each of the three with a probability of its own.

    Attributes:
        warp: probability that an image's intensities are bent.
        shuffle: probability that blocks of an image are shuffled.
        mask: probability that cells of an image are masked.
        block: edge of a shuffled block, voxels.
        block_share: of an image's blocks that are shuffled.
        cell: edge of a masked cell, voxels.
        cell_share: of an image's cells that are masked.

    Raises:
        UsageError: an edge below 1, or a probability or share that is not in [0, 1].
    """

    warp: float = 0.9
    shuffle: float = 0.5
    mask: float = 0.9
    block: int = 4
    block_share: float = 0.5
    cell: int = 8
    cell_share: float = 0.4

    def __post_init__(self) -> None:
        if min(self.block, self.cell) < 1:
            raise UsageError(f"Corrupt: block and cell must be at least 1, found {self.block} and {self.cell}")
        for name in ("warp", "shuffle", "mask", "block_share", "cell_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"Corrupt: {name} must be in [0, 1], found {getattr(self, name)}")

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The damaged images.

        Args:
            images: ``(B, C, *spatial)`` in [0, 1]; left as they are.
            generator: on the images' device; torch's own of that device where it is left out.
        """
        # As many draws whatever is drawn, so that the random state does not depend on it.
        chance = torch.rand(3, len(images), *([1] * (images.dim() - 1)), generator=generator, device=images.device)
        damaged = torch.where(chance[0] < self.warp, monotone_warp(images, generator), images)
        shuffled, _ = local_shuffle(damaged, self.block, self.block_share, generator)
        damaged = torch.where(chance[1] < self.shuffle, shuffled, damaged)
        masked, _ = mask_cells(damaged, self.cell, self.cell_share, generator)
        return torch.where(chance[2] < self.mask, masked, damaged)
